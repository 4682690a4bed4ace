#!/usr/bin/env bash
# Checks who includes whom, as ARCHITECTURE.md draws it: rooms look downwards only, and each outside
# library has one place. Prints every violation as FILE:LINE and fails if there is one.
#   packaging/check_includes.sh [ROOT]
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}"

# room: the rooms it may include besides itself (longest matching path counts)
rooms='
engine/common:
engine/tensor:          engine/common
engine/quant:           engine/tensor engine/common
engine/checkpoint:      engine/tensor engine/common
engine/tokenizer:       engine/common
engine/backend:         engine/quant engine/checkpoint engine/tensor engine/common
engine/sampling:        engine/tokenizer engine/common
engine/model:           engine/backend engine/quant engine/checkpoint engine/tensor engine/common
engine/session:         engine
gui/terminal:           gui engine
gui/window:             gui engine
gui:                    engine
gui/main.cpp:           gui gui/terminal gui/window engine
'

# included header (regular expression): the only paths that may include it (regular expression)
libraries='
^CL/                                   ^engine/backend/opencl/
^hwy/                                  ^engine/backend/cpu/
^sentencepiece                         ^engine/tokenizer/
^quazip/|^unzip\.h                     ^engine/checkpoint/quazip_
^Q[A-Z]|^Qt[A-Z]                       ^gui/|^engine/checkpoint/(quazip_|params\.cpp)
^QtWidgets|^QtGui|^Q.*Widget|^QApplication|^QMainWindow|^QDialog   ^gui/window/
^iostream                              ^$
'

find engine gui -name '*.h' -o -name '*.cpp' | LC_ALL=C sort |
    xargs grep --line-number --with-filename --extended-regexp '^[[:space:]]*#[[:space:]]*include' |
    rooms="$rooms" libraries="$libraries" awk '
    BEGIN {
        split(ENVIRON["rooms"], lines, "\n")
        for (i in lines) {
            colon = index(lines[i], ":")
            if (colon) allowed[substr(lines[i], 1, colon - 1)] = substr(lines[i], colon + 1)
        }
        count = split(ENVIRON["libraries"], lines, "\n")
        for (i = 1; i <= count; i++)
            if (split(lines[i], columns, /[[:space:]]+/) == 2) place[columns[1]] = columns[2]
    }
    # The most particular room that a path lies in; "" outside of all.
    function room_of(path,    room, best) {
        for (room in allowed)
            if ((path == room || index(path, room "/") == 1) && length(room) > length(best)) best = room
        return best
    }
    # A room named gui stands for the files right in it, engine for everything below.
    function may_include(room, target,    names, i, n) {
        if (target == room) return 1
        n = split(allowed[room], names, /[[:space:]]+/)
        for (i = 1; i <= n; i++)
            if (target == names[i] || (names[i] == "engine" && target ~ /^engine\//)) return 1
        return 0
    }
    function report(reason) {
        print place_text ": " reason
        failures++
    }
    {
        split($0, parts, ":")
        file = parts[1]
        place_text = file ":" parts[2]
        match($0, /[<"][^>"]*[>"]/)
        header = substr($0, RSTART + 1, RLENGTH - 2)
        target = room_of(header)
        if (target != "" && !may_include(room_of(file), target))
            report(room_of(file) " may not include " target " (" header ")")
        for (pattern in place)
            if (target == "" && header ~ pattern && file !~ place[pattern])
                report(header " may not be included here")
    }
    END {
        if (failures) exit 1
    }' || { echo "The include rules are broken; see ARCHITECTURE.md." >&2; exit 1; }
