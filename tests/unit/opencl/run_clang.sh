#!/usr/bin/env bash
# Compiles every kernel file with Clang's warnings, above all for variables that may be used before they
# have a value: what the compiler makes of one may hide it from run_memcheck.sh. Once for an x86
# processor with AVX2 and once for the intermediate language that drivers of cards take, in each format
# of weights and of the cache.
#   run_clang.sh KERNELS
set -euo pipefail
compiler=$(command -v clang-15 || command -v clang) || { echo "Install clang-15 to run this test." >&2; exit 1; }
targets=("-target x86_64-linux-gnu -mavx2 -mfma -mf16c" "-target spir64")
formats=("-DBITS=8 -DWEIGHT=16 -DKV=16" "-DBITS=4 -DWEIGHT=17 -DKV=32" "-DBITS=8 -DWEIGHT=32 -DKV=16 -DLANES=16")
failed=0
for kernel in "$1"/*.cl; do
    for target in "${targets[@]}"; do
        for format in "${formats[@]}"; do
            # shellcheck disable=SC2086  # the options are words
            "$compiler" -x cl -cl-std=CL1.2 $target -Xclang -finclude-default-header -fsyntax-only \
                -Wall -Wextra -Wconditional-uninitialized -Werror -Wno-unused-parameter \
                -I "$1" $format "$kernel" || failed=1
        done
    done
done
exit $failed
