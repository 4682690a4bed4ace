// Measures prefill and decode of a loaded model beside the memory bandwidth, in one run.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/common/result.h"
#include "engine/session/model_loader.h"

namespace qllama {

struct BenchmarkOptions {
    std::int64_t promptTokens = 512;  // random ones; 0: no prefill measurement
    std::string promptText;           // not empty: this prompt instead
    std::int64_t generatedTokens = 64;
    std::int64_t depth = 0;  // tokens already in the context when decode starts
    int repetitions = 5;
};

struct Spread {
    double median = 0;
    double minimum = 0;
    double maximum = 0;
};

struct BenchmarkReport {
    BenchmarkOptions options;
    std::int64_t promptTokens = 0;
    Spread promptTokensPerSecond;  // zero when not measured
    Spread msPerToken;
    std::int64_t bytesPerToken = 0;  // weights, and keys and values at the mean depth
    double bandwidthGbPerSecond =
        0;  // median over the repetitions, each with a probe before and after
    double fractionOfBandwidth = 0;  // median of bytesPerToken / ms / bandwidth of each repetition
    // Of the prompt, and what the processor could do at best: 10^9 a second. Empty where that is not
    // known, or no prompt was measured.
    std::optional<double> gigaMultiplyAdds;
    std::optional<double> peakGigaMultiplyAdds;  // median of a probe before each repetition
};

// Random tokens from a fixed seed, unless there is a prompt text. Leaves the context empty. `progress`
// gets the number of repetitions done. Bandwidth and peak are those of the model's devices, not of the
// host. Fails when prompt or depth do not fit the context, and with Cancelled.
Result<BenchmarkReport> benchmark(LoadedModel& model, const BenchmarkOptions& options,
                                  const std::function<void(int)>& progress, std::stop_token stop);

Spread spreadOf(std::vector<double> values);  // of at least one value

}  // namespace qllama
