#!/usr/bin/env bash
# Installs what is missing, builds QLLaMA and opens its window on the demo model. Without a display
# it generates in the terminal instead. Arguments go to qllama (see `packaging/run.sh --help`).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# has_argument NAME...: whether one of them (or NAME=...) is among the arguments of the script.
has_argument() {
    local name argument
    for name in "$@"; do
        for argument in "${arguments[@]}"; do
            [[ $argument == "$name" || $argument == "$name="* ]] && return 0
        done
    done
    return 1
}

arguments=("$@")
install_missing "${build_packages[@]}" "${run_packages[@]}"
build_preset release qllama

if ! "$root/build/release/qllama" --check-display "${arguments[@]}"; then
    say "Generating in the terminal instead."
    arguments+=(--headless)
    has_argument --prompt --prompt-file || arguments+=(--prompt "Once upon a time")
fi
exec "$root/build/release/qllama" "${arguments[@]}"
