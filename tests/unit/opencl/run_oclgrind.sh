#!/usr/bin/env bash
# Runs a program on Oclgrind's simulated device and fails for anything that it has to report: accesses
# outside of a buffer, races, wrong use of the API. Its check for uninitialised values stays off: in
# Oclgrind 21.10 it takes everything that vstore_half and clEnqueueFillBuffer wrote for uninitialised,
# stops at instructions that the compiler makes of optimised kernels, and finds nothing in unoptimised
# ones, not even what was left out on purpose. run_memcheck.sh finds those, and run_clang.sh what a
# compiler sees.
#   run_oclgrind.sh PROGRAM
set -euo pipefail
command -v oclgrind >/dev/null || { echo "Install oclgrind to run this test." >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Real drivers stay away: they and the simulator bring different versions of LLVM.
mkdir "$folder/vendors"
XDG_CACHE_HOME=$folder OCL_ICD_VENDORS=$folder/vendors oclgrind --check-api --data-races --log "$folder/log" "$1" || {
    cat "$folder/log" >&2
    exit 1
}
if [[ -s $folder/log ]]; then
    cat "$folder/log" >&2
    exit 1
fi
