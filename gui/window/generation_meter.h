// The numbers of the run that is going on, added up from what the engine measured.
#pragma once

#include <QList>
#include <cstdint>

#include "engine/session/generation_types.h"

namespace qllama {

class GenerationMeter {
public:
    // Everything starts over; `contextLength` is the model's.
    void reset(std::int64_t contextLength);
    void promptStarted(std::int64_t tokenCount, std::uint64_t seed);
    void promptProgress(std::int64_t doneTokens);
    void addTokens(const QList<TokenChunk>& chunks);
    void finish(const GenerationStatistics& statistics);

    // As far as known: means over the tokens after the first, as GenerationStatistics has them; the
    // first one's when there is no other yet; 0 for none.
    [[nodiscard]] const GenerationStatistics& statistics() const { return m_statistics; }

private:
    GenerationStatistics m_statistics;
    std::int64_t m_promptTokens = 0;
    double m_laterMs = 0;  // of the tokens after the first
};

}  // namespace qllama
