#!/usr/bin/env bash
# Installs what is missing and checks everything: format, includes, and every test in a release and
# an AddressSanitizer build, those of threads under ThreadSanitizer too.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

sources() {
    find engine gui tests -name '*.h' -o -name '*.cpp' | sort
}

run_tests() {
    local preset=$1
    shift
    say "Testing build/$preset"
    ctest --preset "$preset" --parallel "$(nproc)" "$@"
}

install_missing "${build_packages[@]}" "${run_packages[@]}" "${test_packages[@]}"

say "Checking the format"
sources | xargs clang-format --dry-run -Werror
packaging/check_includes.sh

build_preset release
run_tests release
build_preset asan
run_tests asan
build_preset tsan qllama_thread_tests
run_tests tsan --label-regex '^threads$'
