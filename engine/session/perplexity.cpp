#include "engine/session/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

#include "engine/session/odd_logits.h"

namespace qllama {
namespace {

// Predictions compared at a time: the reference's logits wait in memory for the model's.
constexpr std::size_t kPortion = 128;

// Logits as a distribution: log p = logit - logSum.
struct Distribution {
    std::span<const float> logits;
    double logSum = 0;
    std::size_t top = 0;

    explicit Distribution(std::span<const float> values) : logits(values) {
        top = static_cast<std::size_t>(std::max_element(values.begin(), values.end()) -
                                       values.begin());
        double sum = 0;
        for (const float logit : values)
            sum += std::exp(static_cast<double>(logit) - values[top]);
        logSum = std::log(sum) + values[top];
    }
    [[nodiscard]] double logProbability(std::size_t token) const {
        return static_cast<double>(logits[token]) - logSum;
    }
};

double klDivergence(const Distribution& reference, const Distribution& model) {
    double sum = 0;
    for (std::size_t token = 0; token < reference.logits.size(); ++token) {
        const double expected = reference.logProbability(token);
        sum += std::exp(expected) * (expected - model.logProbability(token));
    }
    return sum;
}

class PerplexityRun {
public:
    PerplexityRun(LoadedModel& model, LoadedModel* reference, std::vector<TokenId> tokens,
                  const std::function<void(std::int64_t, std::int64_t)>& progress,
                  std::stop_token stop)
        : m_model(*model.transformer),
          m_reference(reference != nullptr ? reference->transformer.get() : nullptr),
          m_tokens(std::move(tokens)),
          m_progress(progress),
          m_stop(std::move(stop)),
          m_vocabulary(static_cast<std::size_t>(m_model.config().vocabularySize)),
          m_info(model.info) {}

    Result<PerplexityReport> go();

private:
    [[nodiscard]] std::vector<Transformer*> models() const {
        if (m_reference == nullptr) return {&m_model};
        return {m_reference, &m_model};
    }
    Result<void> readWindow(std::size_t begin, std::size_t end);
    Result<void> predictPortion(std::span<const TokenId> inputs, const TokenId* targets);
    void take(std::span<const float> logits, TokenId target, std::size_t row);

    Transformer& m_model;
    Transformer* m_reference;
    std::vector<TokenId> m_tokens;  // BOS, then the text
    const std::function<void(std::int64_t, std::int64_t)>& m_progress;
    std::stop_token m_stop;
    std::size_t m_vocabulary;
    const ModelInfo& m_info;
    std::size_t m_predicted = 0;           // tokens of the text
    std::vector<float> m_referenceLogits;  // [portion, vocabulary]
    double m_loss = 0;
    double m_referenceLoss = 0;
    double m_divergence = 0;
    std::int64_t m_agreements = 0;
};

void PerplexityRun::take(std::span<const float> logits, TokenId target, std::size_t row) {
    const auto token = static_cast<std::size_t>(target);
    const Distribution model(logits);
    m_loss -= model.logProbability(token);
    if (m_reference == nullptr) return;
    const std::span<const float> expected(m_referenceLogits);
    const Distribution reference(expected.subspan(row * m_vocabulary, m_vocabulary));
    m_referenceLoss -= reference.logProbability(token);
    m_divergence += klDivergence(reference, model);
    if (reference.top == model.top) ++m_agreements;
}

// `targets`: the token that follows each of the inputs.
Result<void> PerplexityRun::predictPortion(std::span<const TokenId> inputs,
                                           const TokenId* targets) {
    if (m_reference != nullptr) {
        m_referenceLogits.clear();
        QLLAMA_CHECK(m_reference->forwardAll(
            inputs,
            [this](std::int64_t, std::span<const float> rows) {
                m_referenceLogits.insert(m_referenceLogits.end(), rows.begin(), rows.end());
            },
            m_stop));
    }
    return m_model.forwardAll(
        inputs,
        [&](std::int64_t first, std::span<const float> rows) {
            for (auto row = static_cast<std::size_t>(first); !rows.empty(); ++row) {
                take(rows.first(m_vocabulary), targets[row], row);
                rows = rows.subspan(m_vocabulary);
            }
        },
        m_stop);
}

// Predicts what is new in tokens [begin, end) of the text from BOS and those before.
Result<void> PerplexityRun::readWindow(std::size_t begin, std::size_t end) {
    std::vector<TokenId> inputs = {m_tokens.front()};
    const auto text = m_tokens.begin() + 1;
    inputs.insert(inputs.end(), text + static_cast<std::ptrdiff_t>(begin),
                  text + static_cast<std::ptrdiff_t>(end) - 1);
    const std::size_t known = m_predicted - begin;
    for (Transformer* model : models()) {
        model->truncate(0);
        if (known > 0) QLLAMA_CHECK(model->forward(std::span(inputs).first(known), {}, m_stop));
    }
    for (std::size_t done = known; done < inputs.size();) {
        const std::size_t count = std::min(kPortion, inputs.size() - done);
        QLLAMA_CHECK(predictPortion(std::span(inputs).subspan(done, count),
                                    m_tokens.data() + 1 + begin + done));
        done += count;
        m_predicted += count;
        // Each sum has every logit in it.
        if (!std::isfinite(m_loss + m_referenceLoss + m_divergence))
            return oddLogits(m_info,
                             "before token " + std::to_string(m_predicted) + " of the text");
        if (m_progress)
            m_progress(static_cast<std::int64_t>(m_predicted),
                       static_cast<std::int64_t>(m_tokens.size()) - 1);
    }
    return {};
}

Result<PerplexityReport> PerplexityRun::go() {
    const auto start = std::chrono::steady_clock::now();
    const auto window = static_cast<std::size_t>(m_model.contextLength());
    const std::size_t stride = std::max<std::size_t>(window / 2, 1);
    const std::size_t count = m_tokens.size() - 1;
    PerplexityReport report;
    for (std::size_t begin = 0; m_predicted < count; begin += stride) {
        QLLAMA_CHECK(readWindow(begin, std::min(begin + window, count)));
        ++report.windows;
    }
    for (Transformer* model : models())
        model->truncate(0);
    const auto total = static_cast<double>(count);
    report.perplexity = std::exp(m_loss / total);
    report.tokens = static_cast<std::int64_t>(count);
    report.windowLength = m_model.contextLength();
    if (m_reference != nullptr)
        report.comparison = {{.precision = {},
                              .perplexity = std::exp(m_referenceLoss / total),
                              .meanKlDivergence = m_divergence / total,
                              .topAgreement = static_cast<double>(m_agreements) / total}};
    report.ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    return report;
}

}  // namespace

Result<PerplexityReport> measurePerplexity(
    LoadedModel& model, LoadedModel* reference, std::string_view text,
    const std::function<void(std::int64_t, std::int64_t)>& progress, std::stop_token stop) {
    std::vector<TokenId> tokens = model.tokenizer->encode(text, stop);
    if (stop.stop_requested()) return cancelledError();
    if (tokens.size() < 2)
        return Error{ErrorCode::InvalidRequest,
                     "The text is empty; a perplexity needs some tokens to predict.",
                     {}};
    if (reference != nullptr &&
        (reference->transformer->contextLength() < model.transformer->contextLength() ||
         reference->transformer->config().vocabularySize !=
             model.transformer->config().vocabularySize))
        return Error{ErrorCode::InvalidRequest,
                     "The reference is another model than the one to be compared with it.",
                     {}};
    QLLAMA_TRY(PerplexityReport report,
               PerplexityRun(model, reference, std::move(tokens), progress, std::move(stop)).go());
    if (report.comparison) report.comparison->precision = reference->info.precision;
    return report;
}

}  // namespace qllama
