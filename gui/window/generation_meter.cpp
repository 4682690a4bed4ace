#include "gui/window/generation_meter.h"

namespace qllama {

void GenerationMeter::reset(std::int64_t contextLength) {
    m_statistics = {};
    m_statistics.contextLength = contextLength;
    m_laterMs = 0;
}

void GenerationMeter::promptStarted(std::int64_t tokenCount, std::uint64_t seed) {
    m_promptTokens = tokenCount;
    m_statistics.seed = seed;
}

void GenerationMeter::promptProgress(std::int64_t doneTokens) {
    m_statistics.contextUsed = doneTokens;
}

void GenerationMeter::addTokens(const QList<TokenChunk>& chunks) {
    for (const TokenChunk& chunk : chunks) {
        if (m_statistics.tokenCount++ > 0) m_laterMs += chunk.ms;
    }
    m_statistics.contextUsed = m_promptTokens + m_statistics.tokenCount;
    if (m_statistics.tokenCount < 2 || m_laterMs <= 0) return;
    m_statistics.msPerToken = m_laterMs / static_cast<double>(m_statistics.tokenCount - 1);
    m_statistics.tokensPerSecond = 1000 / m_statistics.msPerToken;
}

void GenerationMeter::finish(const GenerationStatistics& statistics) {
    m_statistics = statistics;
}

}  // namespace qllama
