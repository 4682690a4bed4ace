#include "engine/session/benchmark.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "engine/sampling/sampler.h"
#include "engine/session/model_speed_probe.h"

namespace qllama {
namespace {

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<TokenId> randomTokens(std::int64_t count, std::int64_t vocabulary) {
    RandomGenerator random(1);
    std::vector<TokenId> tokens(static_cast<std::size_t>(count));
    for (TokenId& token : tokens)
        token = static_cast<TokenId>(random.uniform() * static_cast<double>(vocabulary));
    return tokens;
}

// Generation begins at `start`.
Result<void> checkFits(const Transformer& transformer, std::int64_t promptTokens,
                       std::int64_t start, std::int64_t generatedTokens) {
    const std::int64_t needed = std::max(promptTokens, start + generatedTokens);
    if (needed <= transformer.contextLength()) return {};
    return Error{
        ErrorCode::InvalidRequest,
        "The benchmark needs " + std::to_string(needed) + " positions, but the context holds " +
            std::to_string(transformer.contextLength()) + ". Load the model with a longer context.",
        {}};
}

Result<double> measurePrefill(Transformer& transformer, std::span<const TokenId> tokens,
                              const std::stop_token& stop) {
    transformer.truncate(0);
    const Clock::time_point start = Clock::now();
    QLLAMA_CHECK(transformer.forward(tokens, {}, stop));
    return static_cast<double>(tokens.size()) / secondsSince(start);
}

// Milliseconds a token, one token at a time as in generation (sampling apart).
Result<double> measureDecode(Transformer& transformer, std::int64_t depth,
                             std::span<const TokenId> tokens, const std::stop_token& stop) {
    transformer.truncate(depth);
    const Clock::time_point start = Clock::now();
    for (const TokenId& token : tokens)
        QLLAMA_CHECK(transformer.forward({&token, 1}, {}, stop));
    return secondsSince(start) * 1000.0 / static_cast<double>(tokens.size());
}

}  // namespace

Spread spreadOf(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    const double median =
        values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    return {median, values.front(), values.back()};
}

Result<BenchmarkReport> benchmark(LoadedModel& model, const BenchmarkOptions& options,
                                  const std::function<void(int)>& progress, std::stop_token stop) {
    Transformer& transformer = *model.transformer;
    const std::int64_t vocabulary = transformer.config().vocabularySize;
    const auto prompt = options.promptText.empty() ? randomTokens(options.promptTokens, vocabulary)
                                                   : model.tokenizer->encode(options.promptText);
    const auto past = randomTokens(options.depth, vocabulary);
    const auto generated = randomTokens(options.generatedTokens, vocabulary);

    // Generation goes on from the depth asked for, or from the prompt's end if it is a text.
    const std::int64_t start =
        options.promptText.empty() || options.depth > 0 ? options.depth : std::ssize(prompt);
    QLLAMA_CHECK(checkFits(transformer, std::ssize(prompt), start, options.generatedTokens));
    QLLAMA_TRY(ModelSpeedProbe probe, ModelSpeedProbe::create(model, stop));

    std::vector<double> prefill;
    std::vector<double> decode;
    std::vector<double> bandwidth;
    std::vector<double> fractions;
    std::vector<double> peak;
    const std::int64_t meanDepth = start + options.generatedTokens / 2;
    const std::int64_t bytesPerToken =
        transformer.bytesPerToken() +
        transformer.kvCacheBytes() / transformer.contextLength() * meanDepth;
    // The first round only warms up: it brings the pages in and is not counted.
    for (int repetition = -1; repetition < options.repetitions; ++repetition) {
        if (!prompt.empty()) {
            QLLAMA_TRY(const auto multiplyAdds, probe.measureMultiplyAdds(stop));
            if (multiplyAdds) peak.push_back(*multiplyAdds);
            QLLAMA_TRY(const double speed, measurePrefill(transformer, prompt, stop));
            prefill.push_back(speed);
        }
        if (options.depth > 0) transformer.truncate(0);
        if (!past.empty()) QLLAMA_CHECK(transformer.forward(past, {}, stop));
        // Other programs, and on rented machines neighbours, take bandwidth as they please: it is
        // measured right before and after, and compared repetition by repetition.
        QLLAMA_TRY(const double before, probe.measureGbPerSecond(stop));
        QLLAMA_TRY(const double ms, measureDecode(transformer, start, generated, stop));
        QLLAMA_TRY(const double after, probe.measureGbPerSecond(stop));
        decode.push_back(ms);
        bandwidth.push_back((before + after) / 2);
        fractions.push_back(static_cast<double>(bytesPerToken) / 1e6 / ms / bandwidth.back());
        if (repetition < 0) {
            prefill.clear();
            decode.clear();
            bandwidth.clear();
            fractions.clear();
            peak.clear();
        } else if (progress) {
            progress(repetition + 1);
        }
    }
    transformer.truncate(0);

    BenchmarkReport report;
    if (!peak.empty()) {
        // A position attends to half of the prompt on average.
        const std::int64_t each = transformer.multiplyAdds(std::ssize(prompt) / 2);
        report.gigaMultiplyAdds = spreadOf(prefill).median * static_cast<double>(each) / 1e9;
        report.peakGigaMultiplyAdds = spreadOf(peak).median;
    }
    report.options = options;
    report.promptTokens = static_cast<std::int64_t>(prompt.size());
    if (!prefill.empty()) report.promptTokensPerSecond = spreadOf(prefill);
    report.msPerToken = spreadOf(decode);
    report.bytesPerToken = bytesPerToken;
    report.bandwidthGbPerSecond = spreadOf(bandwidth).median;
    report.fractionOfBandwidth = spreadOf(fractions).median;
    return report;
}

}  // namespace qllama
