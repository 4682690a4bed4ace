// What a run's speed was, token by token, and the figures that sum it up. No widgets.
#pragma once

#include <QList>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/session/generation_types.h"

namespace qllama {

// Facts about the model that turn times into bytes a second.
struct SpeedFacts {
    std::int64_t weightBytesPerToken = 0;
    double contextBytesPerToken = 0;  // keys and values that one position of context adds
    std::int64_t contextLength = 0;
};

// 0 stands for "not known (yet)" everywhere. Times are the engine's own measurements.
struct SpeedFigures {
    double tokensPerSecond = 0;  // of late: over the last second or so
    double medianMs = 0;         // of the run, without its first token (its time is the prompt's)
    double percentile95Ms = 0;
    double firstTokenMs = 0;  // from the request to the first token
    std::int64_t promptTokens = 0;
    std::int64_t promptDone = 0;
    double promptTokensPerSecond = 0;
    double promptSecondsLeft = 0;
    std::int64_t contextUsed = 0;
    std::int64_t contextLength = 0;
    double bytesPerSecond = 0;  // read for the tokens of late: weights, keys and values
};

class SpeedHistory {
public:
    void reset(const SpeedFacts& facts);  // a new run
    void promptStarted(std::int64_t tokenCount);
    // `elapsedMs` since promptStarted(). The first call says how many tokens the engine still knew
    // from an earlier run: they took no time, so the speed is that of the others.
    void promptProgress(std::int64_t done, double elapsedMs);
    void promptInterrupted();  // nobody knows any longer when it will be done
    void promptDone(const PromptStatistics& statistics);
    void addTokens(const QList<TokenChunk>& chunks);
    void finish(const GenerationStatistics& statistics);

    // The times of the tokens after the first, in order.
    [[nodiscard]] const std::vector<double>& tokenMs() const { return m_tokenMs; }
    // Looks at all tokens: for views that refresh some times a second.
    [[nodiscard]] SpeedFigures figures() const;

private:
    [[nodiscard]] double lateMsPerToken() const;
    [[nodiscard]] double percentile(double share) const;

    SpeedFacts m_facts;
    SpeedFigures m_figures;
    std::optional<std::int64_t> m_promptReused;
    bool m_firstTokenSeen = false;
    std::vector<double> m_tokenMs;
};

}  // namespace qllama
