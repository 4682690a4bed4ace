// Measures prefill and decode of a loaded model beside the memory bandwidth, in one run.
#pragma once

#include <cstdint>
#include <functional>
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
    std::int64_t bytesPerToken = 0;   // weights, and keys and values at the mean depth
    double bandwidthGbPerSecond = 0;  // median of a probe before each repetition
    double fractionOfBandwidth = 0;   // bytesPerToken / msPerToken.median / bandwidth
};

// Random tokens from a fixed seed, unless there is a prompt text. Leaves the context empty. `progress` gets the number of
// repetitions done. Fails when prompt or depth do not fit the context, and with Cancelled.
Result<BenchmarkReport> benchmark(LoadedModel& model, const BenchmarkOptions& options,
                                  const std::function<void(int)>& progress, std::stop_token stop);

Spread spreadOf(std::vector<double> values);  // of at least one value

}  // namespace qllama
