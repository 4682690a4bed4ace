// What a tool tip says about one token.
#pragma once

#include <QString>

#include "engine/session/generation_types.h"

namespace qllama {

// The token's probability and the runners-up, as rich text with everything from the model escaped.
QString tokenTipHtml(const TokenChunk& chunk);

// A token as a person can see it: in quotes, line breaks and tabs as signs, broken bytes as U+FFFD.
QString visibleToken(const std::string& text);

}  // namespace qllama
