// Measures prefill and decode of a loaded model beside the memory bandwidth, in one run.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>

#include "engine/common/result.h"
#include "engine/session/model_loader.h"

namespace qllama {

struct BenchmarkOptions {
    std::int64_t promptTokens = 512;  // 0: no prefill measurement
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
    Spread promptTokensPerSecond;  // zero when not measured
    Spread msPerToken;
    std::int64_t bytesPerToken = 0;   // weights, and keys and values at the mean depth
    double bandwidthGbPerSecond = 0;  // median of a probe before each repetition
    double fractionOfBandwidth = 0;   // bytesPerToken / msPerToken.median / bandwidth
};

// Random tokens from a fixed seed. Leaves the context empty. `progress` gets the number of
// repetitions done. Fails when prompt or depth do not fit the context, and with Cancelled.
Result<BenchmarkReport> runBenchmark(LoadedModel& model, const BenchmarkOptions& options,
                                     const std::function<void(int)>& progress,
                                     std::stop_token stop);

Spread spreadOf(std::vector<double> values);  // of at least one value

}  // namespace qllama
