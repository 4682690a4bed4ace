// Top-k: only the k most likely tokens stay.
#include <algorithm>

#include "engine/sampling/sampler_table.h"

namespace qllama {
namespace {

constexpr std::string_view kKey = "top-k";

// Up to so many, a heap of the best that hardly any token enters is several times faster than
// partitioning a copy of the vocabulary.
constexpr std::size_t kFewTokens = 256;

class TopK final : public Sampler {
public:
    explicit TopK(std::size_t count) : m_count(count) {}

    void apply(TokenLogits& tokens, std::span<const TokenId>) override {
        if (m_count >= tokens.size()) return;
        if (m_count <= kFewTokens) {
            m_scratch.resize(m_count);
            std::partial_sort_copy(tokens.begin(), tokens.end(), m_scratch.begin(), m_scratch.end(),
                                   ranksBefore);
            return keepUpTo(tokens, m_scratch.back());
        }
        m_scratch = tokens;
        const auto last = m_scratch.begin() + static_cast<std::ptrdiff_t>(m_count - 1);
        std::nth_element(m_scratch.begin(), last, m_scratch.end(), ranksBefore);
        keepUpTo(tokens, *last);
    }

private:
    std::size_t m_count;
    TokenLogits m_scratch;
};

constexpr SamplerParameter kParameters[] = {
    {.key = kKey,
     .label = "Top-k",
     .help = "Draws only among the k most likely tokens. 0 means all.",
     .defaultValue = 40,
     .minimum = 0,
     .maximum = 1'000'000,
     .step = 1,
     .decimals = 0,
     .neutral = 0},
};

std::unique_ptr<Sampler> create(const SamplerSettings& settings) {
    const double count = settings.value(kKey);
    if (count < 1) return nullptr;
    return std::make_unique<TopK>(static_cast<std::size_t>(count));
}

}  // namespace

constinit const SamplerDescriptor kTopK{"top-k", kParameters, create};

}  // namespace qllama
