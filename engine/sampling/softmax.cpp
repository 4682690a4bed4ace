#include "engine/sampling/softmax.h"

#include <cassert>

namespace qllama {

Softmax::Softmax(const TokenLogits& tokens) : m_largest(largestLogit(tokens)) {
    assert(!tokens.empty());
    for (const TokenLogit& entry : tokens)
        m_total += weight(entry.logit);
}

}  // namespace qllama
