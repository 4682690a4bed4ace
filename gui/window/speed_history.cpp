#include "gui/window/speed_history.h"

#include <algorithm>
#include <cmath>

namespace qllama {
namespace {

constexpr double kLateMs = 1000;        // "now" is the last second,
constexpr std::size_t kLateTokens = 4;  // or the last few tokens where a token takes long

}  // namespace

void SpeedHistory::reset(const SpeedFacts& facts) {
    *this = {};
    m_facts = facts;
    m_figures.contextLength = facts.contextLength;
}

void SpeedHistory::promptStarted(std::int64_t tokenCount) {
    m_figures.promptTokens = tokenCount;
}

void SpeedHistory::promptProgress(std::int64_t done, double elapsedMs) {
    m_figures.promptDone = m_figures.contextUsed = done;
    if (!m_promptReused) m_promptReused = done;
    const std::int64_t computed = done - *m_promptReused;
    if (computed <= 0 || elapsedMs <= 0) return;
    m_figures.promptTokensPerSecond = static_cast<double>(computed) / elapsedMs * 1000;
    m_figures.promptSecondsLeft =
        static_cast<double>(m_figures.promptTokens - done) / m_figures.promptTokensPerSecond;
}

void SpeedHistory::promptInterrupted() {
    m_figures.promptSecondsLeft = 0;
}

void SpeedHistory::promptDone(const PromptStatistics& statistics) {
    m_figures.promptDone = m_figures.promptTokens;
    m_figures.promptTokensPerSecond = statistics.tokensPerSecond;
    m_figures.promptSecondsLeft = 0;
}

void SpeedHistory::addTokens(const QList<TokenChunk>& chunks) {
    if (!m_firstTokenSeen) m_figures.contextUsed = m_figures.promptTokens;
    for (const TokenChunk& chunk : chunks) {
        ++m_figures.contextUsed;
        if (m_firstTokenSeen) {
            m_tokenMs.push_back(chunk.ms);
            continue;
        }
        m_firstTokenSeen = true;
        m_figures.firstTokenMs = chunk.ms;  // the engine counts it from the request
    }
}

void SpeedHistory::finish(const GenerationStatistics& statistics) {
    promptInterrupted();
    m_figures.contextUsed = statistics.contextUsed;
    if (statistics.firstTokenMs > 0) m_figures.firstTokenMs = statistics.firstTokenMs;
}

SpeedFigures SpeedHistory::figures() const {
    SpeedFigures figures = m_figures;
    if (m_tokenMs.empty()) return figures;
    figures.medianMs = percentile(0.5);
    figures.percentile95Ms = percentile(0.95);
    const double ms = lateMsPerToken();
    if (ms <= 0) return figures;
    figures.tokensPerSecond = 1000 / ms;
    const double bytes = static_cast<double>(m_facts.weightBytesPerToken) +
                         m_facts.contextBytesPerToken * static_cast<double>(figures.contextUsed);
    figures.bytesPerSecond = bytes / ms * 1000;
    return figures;
}

double SpeedHistory::lateMsPerToken() const {
    double ms = 0;
    std::size_t tokens = 0;
    while (tokens < m_tokenMs.size() && (ms < kLateMs || tokens < kLateTokens))
        ms += m_tokenMs[m_tokenMs.size() - ++tokens];
    return ms / static_cast<double>(tokens);
}

// The value that `share` of the times do not exceed (nearest rank).
double SpeedHistory::percentile(double share) const {
    std::vector<double> times = m_tokenMs;
    const auto rank =
        static_cast<std::ptrdiff_t>(std::ceil(share * static_cast<double>(times.size())));
    const auto place = times.begin() + std::max<std::ptrdiff_t>(rank - 1, 0);
    std::nth_element(times.begin(), place, times.end());
    return *place;
}

}  // namespace qllama
