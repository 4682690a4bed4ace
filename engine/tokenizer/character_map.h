// The table by which a sentencepiece model normalises text, checked before the library trusts it.
#pragma once

#include <cstddef>
#include <span>

namespace qllama {

// Sentencepiece follows the table without checking: a damaged one makes it read anywhere. The
// layout of NormalizerSpec.precompiled_charsmap, all numbers little-endian:
//
//   u32 size of the trie in bytes | trie: u32 units of a double array (Darts) | strings, each
//   ending in a zero byte, to which the trie's values are offsets
//
// True when every walk through the trie, whatever the text, stays inside it, ends at strings
// inside the map, and meets no more matches than the library has room for. An empty map is sound.
bool isSoundCharacterMap(std::span<const std::byte> map);

}  // namespace qllama
