#include "gui/window/generation_meter.h"

namespace qllama {

void GenerationMeter::reset(std::int64_t contextLength) {
    m_statistics = {};
    m_statistics.contextLength = contextLength;
    m_laterMs = 0;
}

void GenerationMeter::promptStarted(std::int64_t tokenCount, std::uint64_t seed) {
    m_statistics.seed = seed;
    m_statistics.contextUsed = tokenCount;
}

void GenerationMeter::addTokens(const QList<TokenChunk>& chunks) {
    for (const TokenChunk& chunk : chunks) {
        if (m_statistics.tokenCount++ > 0) m_laterMs += chunk.ms;
        ++m_statistics.contextUsed;
    }
    if (m_statistics.tokenCount < 2 || m_laterMs <= 0) return;
    m_statistics.msPerToken = m_laterMs / static_cast<double>(m_statistics.tokenCount - 1);
    m_statistics.tokensPerSecond = 1000 / m_statistics.msPerToken;
}

void GenerationMeter::finish(const GenerationStatistics& statistics) {
    m_statistics = statistics;
}

}  // namespace qllama
