#!/usr/bin/env bash
# Runs a program on PoCL under Valgrind's memcheck and fails for anything that it has to report: a kernel
# or the host that decides by, or hands on, what nothing wrote, and accesses outside of a buffer. (Oclgrind's
# own check for uninitialised values does not work; see run_oclgrind.sh.)
#   run_memcheck.sh PROGRAM [ARGUMENT]...
set -euo pipefail
command -v valgrind >/dev/null || { echo "Install valgrind to run this test." >&2; exit 1; }
# Once at full speed, where the compiler runs that the kernels in the cache come from. Valgrind shows the
# compiler a processor without AVX-512: where there is AVX-512 that is another one, whose kernels are compiled
# once more, under Valgrind but without its checks, which takes some minutes instead of half an hour.
"$@"
if grep --quiet avx512f /proc/cpuinfo; then
    valgrind --quiet --tool=none "$@"
fi
exec valgrind --quiet --error-exitcode=1 \
    --suppressions="$(dirname "${BASH_SOURCE[0]}")/memcheck_outside.supp" "$@"
