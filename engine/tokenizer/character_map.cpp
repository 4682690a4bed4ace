#include "engine/tokenizer/character_map.h"

#include <cstdint>
#include <utility>
#include <vector>

namespace qllama {
namespace {

// How many matches on one walk sentencepiece's normaliser has room for (kMaxTrieResultsSize).
constexpr int kMaximumMatches = 32;

constexpr std::size_t kLabels = 256;

std::uint32_t littleEndian(const std::byte* bytes) {
    std::uint32_t number = 0;
    for (int index = 3; index >= 0; --index)
        number = number << 8 | std::to_integer<std::uint32_t>(bytes[index]);
    return number;
}

// One cell of the double array. Bit 31 marks a value; else: label in bits 0 to 7, "a value hangs
// here" in bit 8, and the offset to the children in bits 10 and up, times 256 if bit 9 is set.
struct Unit {
    std::uint32_t bits = 0;

    [[nodiscard]] std::uint32_t label() const { return bits & 0x800000FFU; }
    [[nodiscard]] bool hasValue() const { return (bits >> 8 & 1U) != 0; }
    [[nodiscard]] std::uint32_t value() const { return bits & 0x7FFFFFFFU; }
    [[nodiscard]] std::size_t offset() const {
        return std::size_t{bits >> 10} << ((bits & 0x200U) != 0 ? 8 : 0);
    }
};

class TrieCheck {
public:
    TrieCheck(std::span<const std::byte> trie, std::size_t stringBytes)
        : m_units(trie.size() / 4), m_stringBytes(stringBytes), m_mostMatches(m_units.size(), -1) {
        for (std::size_t position = 0; position < m_units.size(); ++position)
            m_units[position].bits = littleEndian(trie.data() + 4 * position);
    }

    bool everyWalkIsSafe() {
        if (m_units.empty()) return false;
        linkChildren();
        if (!enter(0, 0)) return false;
        while (!m_pending.empty()) {
            const auto [base, matches] = m_pending.back();
            m_pending.pop_back();
            for (auto child = m_firstChild[base]; child != kNone; child = m_nextChild[child])
                if (!enter(child, matches)) return false;
        }
        return true;
    }

private:
    static constexpr std::size_t kNone = SIZE_MAX;

    // A unit is the child of the base from which its own label leads to it; so every unit knows
    // the one base that can be its parent.
    void linkChildren() {
        m_firstChild.assign(m_units.size(), kNone);
        m_nextChild.assign(m_units.size(), kNone);
        for (std::size_t position = 0; position < m_units.size(); ++position) {
            const std::uint32_t label = m_units[position].label();
            const std::size_t base = position ^ label;
            if (label >= kLabels || base >= m_units.size()) continue;
            m_nextChild[position] = m_firstChild[base];
            m_firstChild[base] = position;
        }
    }

    // A walk has come to `position` with `matches` behind it. A node is looked at again only when
    // it is reached with more matches, so this ends even if the trie runs in circles.
    bool enter(std::size_t position, int matches) {
        const Unit node = m_units[position];
        const std::size_t base = position ^ node.offset();
        if ((base | (kLabels - 1)) >= m_units.size()) return false;  // some child lies outside
        if (node.hasValue()) {
            if (m_units[base].value() >= m_stringBytes) return false;
            if (++matches > kMaximumMatches) return false;
        }
        if (matches > m_mostMatches[base]) {
            m_mostMatches[base] = matches;
            m_pending.emplace_back(base, matches);
        }
        return true;
    }

    std::vector<Unit> m_units;
    std::size_t m_stringBytes;
    std::vector<int> m_mostMatches;         // by base, -1: not reached
    std::vector<std::size_t> m_firstChild;  // by base, kNone: no child
    std::vector<std::size_t> m_nextChild;   // by position: the next child of the same base
    std::vector<std::pair<std::size_t, int>> m_pending;
};

}  // namespace

bool isSoundCharacterMap(std::span<const std::byte> map) {
    if (map.empty()) return true;
    if (map.size() < 4) return false;
    const std::size_t trieBytes = littleEndian(map.data());
    map = map.subspan(4);
    if (trieBytes % 4 != 0 || trieBytes >= map.size()) return false;
    const auto strings = map.subspan(trieBytes);
    return strings.back() == std::byte{0} &&
           TrieCheck(map.first(trieBytes), strings.size()).everyWalkIsSafe();
}

}  // namespace qllama
