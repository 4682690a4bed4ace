#!/usr/bin/env bash
# The demo model on Mesa's rusticl (llvmpipe, which is this processor), an OpenCL implementation for which
# no kernel here was tuned: its text must be the CPU engine's.
#   run_rusticl.sh QLLAMA MODEL_FOLDER
set -euo pipefail
driver=/etc/OpenCL/vendors/rusticl.icd
[[ -e $driver ]] || { echo "Install mesa-opencl-icd to run this test." >&2; exit 1; }
export RUSTICL_ENABLE=llvmpipe OCL_ICD_VENDORS=$driver

text() {
    "$1" --headless --model "$2" --device "$3" --precision "$4" --prompt "One day, " --temperature 0 \
        --max-tokens 64 --quiet --strict-device
}

for precision in source q8; do
    expected=$(text "$1" "$2" cpu $precision)
    got=$(text "$1" "$2" opencl:0 $precision)
    if [[ -z $expected || $got != "$expected" ]]; then
        printf '%s\nThe CPU engine writes: %s\nrusticl: %s\n' "$precision" "$expected" "$got" >&2
        exit 1
    fi
done
