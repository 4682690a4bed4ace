// Looks at the bytes of a tokenizer file before sentencepiece does: names the usual mix-ups, and
// refuses what the library would accept although it is cut short.
#pragma once

#include <cstddef>
#include <span>

#include "engine/common/result.h"

namespace qllama {

// Error::where is left empty; the caller knows the path.
Result<void> checkTokenizerFile(std::span<const std::byte> bytes);

// True when encoding changes nothing in a text and leaves nothing out: no character map, no white
// space removed, and bytes without a piece are tokens one by one. Of a file that was checked.
bool keepsEveryByte(std::span<const std::byte> bytes);

}  // namespace qllama
