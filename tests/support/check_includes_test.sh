#!/usr/bin/env bash
# The include check must let a sound tree pass and name each violation in a broken one.
#   check_includes_test.sh PATH_OF_THE_CHECK
set -euo pipefail
check=$1
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0

# write FILE LINE...
write() {
    mkdir -p "$tree/$(dirname "$1")"
    printf '%s\n' "${@:2}" >"$tree/$1"
}

# expect_caught FILE INCLUDE: alone in an otherwise sound tree, this must be reported.
expect_caught() {
    local report
    write "$1" '#pragma once' "#include $2"
    if report=$("$check" "$tree" 2>/dev/null) || [[ $report != "$1:2: "* ]]; then
        echo "Not caught: $1 includes $2 (the check said: $report)"
        failures=$((failures + 1))
    fi
    rm "$tree/$1"
}

write engine/common/result.h '#include <string>'
write engine/model/transformer.h '#include "engine/backend/backend.h"'
write engine/backend/opencl/device.cpp '#include <CL/opencl.hpp>' '#include "engine/common/result.h"'
write engine/checkpoint/quazip_archive.cpp '#include <QFile>' '#include <quazip/quazip.h>'
write gui/window/main_window.cpp '#include <QMainWindow>' '#include "engine/session/session.h"'
write gui/main.cpp '#include "gui/window/window.h"' '#include "gui/terminal/terminal.h"'
if ! "$check" "$tree"; then
    echo "A sound tree was refused."
    failures=$((failures + 1))
fi

expect_caught engine/common/a.h '"engine/tensor/dtype.h"'
expect_caught engine/backend/a.h '"engine/model/weights.h"'
expect_caught engine/sampling/a.h '"engine/session/generation_types.h"'
expect_caught engine/session/a.h '"gui/command_line.h"'
expect_caught engine/model/a.h '<QString>'
expect_caught engine/checkpoint/pickle.cpp '<QFile>'
expect_caught engine/backend/a.cpp '<CL/opencl.hpp>'
expect_caught engine/tensor/a.cpp '<hwy/highway.h>'
expect_caught engine/model/a.cpp '<sentencepiece_processor.h>'
expect_caught engine/checkpoint/a.cpp '<quazip/quazip.h>'
expect_caught engine/session/a.cpp '<iostream>'
expect_caught gui/terminal/a.cpp '"gui/window/window.h"'
expect_caught gui/window/a.cpp '"gui/terminal/terminal.h"'
expect_caught gui/terminal/b.cpp '<QWidget>'
exit $((failures > 0))
