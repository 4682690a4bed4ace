// A restricted pickle machine: turns the bytes of a Python pickle (protocols 2 to 5) into plain
// nodes. It never calls, imports or constructs anything; what a pickle wants to have called is only
// written down as a Call node, and only for globals that the caller's allow-list knows.
//
// Format: https://github.com/python/cpython/blob/main/Lib/pickletools.py
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/common/result.h"

namespace qllama {

using PickleId = std::uint32_t;  // index into PickleDocument::nodes
constexpr PickleId kNoPickle = std::numeric_limits<PickleId>::max();

enum class PickleKind : std::uint8_t {
    None,
    Bool,        // integer is 0 or 1
    Int,         // integer
    BigInt,      // text: two's complement, little endian, more than 8 bytes
    Float,       // real
    Text,        // text: UTF-8 as stored, not yet checked
    Bytes,       // text
    Tuple,       // items
    List,        // items
    Dict,        // items: key, value, key, value...; later keys override earlier ones
    Set,         // items
    Global,      // text: module, name
    Call,        // items: callable (a Global), arguments (a Tuple), then what was added to it
    Persistent,  // items: the one persistent identifier
};

struct PickleNode {
    PickleKind kind = PickleKind::None;
    bool isFrozen = false;       // Tuple, frozenset: cannot be added to
    std::uint16_t depth = 0;     // nesting below it
    PickleId state = kNoPickle;  // what BUILD set on it
    std::int64_t integer = 0;
    double real = 0;
    std::string_view text = {};  // into the bytes that were parsed
    std::string_view name = {};
    std::vector<PickleId> items = {};
};

// Nodes may be shared and, in hostile files, contain themselves: whoever walks them limits depth
// and count. Valid as long as the bytes it was parsed from.
struct PickleDocument {
    std::vector<PickleNode> nodes;
    PickleId root = kNoPickle;
    std::size_t sizeBytes = 0;  // consumed, up to and including the STOP

    [[nodiscard]] const PickleNode& at(PickleId id) const { return nodes[id]; }
};

using PickleGlobalFilter = bool (*)(std::string_view module, std::string_view name);

// `label` says where the bytes come from and leads the `where` of every error, with the offset
// (counted from `firstOffset`, for a pickle inside a larger file).
// Fails with InvalidFile for damage, an unknown opcode, exhausted limits, and for a global that
// `isAllowed` refuses (the sentence names it and says that it was not executed); with Unsupported
// for another protocol.
Result<PickleDocument> parsePickle(std::span<const std::byte> bytes, PickleGlobalFilter isAllowed,
                                   const std::string& label, std::size_t firstOffset = 0);

}  // namespace qllama
