// Times a whole model on an OpenCL device and on the CPU engine, loaded side by side and measured in
// turns, so that a busy machine slows both. Prints medians of ms/token and of the prompt's tokens/s,
// and the median of the ratios of neighbouring turns.
//   bench_opencl_model MODEL [DEVICE [PRECISION [ROUNDS [PROMPT [TOKENS]]]]]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "engine/session/model_loader.h"

using namespace qllama;

namespace {

std::unique_ptr<LoadedModel> load(const std::string& path, const std::string& device,
                                  Precision precision) {
    LoadRequest request;
    request.location.model = path;
    request.device = device;
    request.precision = precision;
    request.needsTokenizer = false;
    request.mayUseCpu = false;
    auto model = loadModel(request, {}, {});
    if (!model.ok()) {
        std::fprintf(stderr, "%s\n", model.error().text().c_str());
        std::exit(1);
    }
    return std::move(model).value();
}

double seconds(Transformer& transformer, const std::vector<std::int32_t>& tokens) {
    const auto start = std::chrono::steady_clock::now();
    const auto done = transformer.forward(tokens, {}, {});
    if (!done.ok()) {
        std::fprintf(stderr, "%s\n", done.error().text().c_str());
        std::exit(1);
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

struct Series {
    std::vector<double> prefill;  // tokens/s
    std::vector<double> decode;   // ms/token
};

void measure(Transformer& transformer, const std::vector<std::int32_t>& prompt, int tokens,
             Series& series) {
    transformer.truncate(0);
    series.prefill.push_back(static_cast<double>(prompt.size()) / seconds(transformer, prompt));
    double sum = 0;
    for (int i = 0; i < tokens; ++i)
        sum += seconds(transformer, {prompt[static_cast<std::size_t>(i) % prompt.size()]});
    series.decode.push_back(sum * 1000 / tokens);
}

double medianRatio(const std::vector<double>& a, const std::vector<double>& b) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < a.size(); ++i)
        ratios.push_back(a[i] / b[i]);
    return median(ratios);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) return 2;
    const std::string device = argc > 2 ? argv[2] : "opencl:0";
    const auto precision = precisionFromKey(argc > 3 ? argv[3] : "source");
    const int rounds = argc > 4 ? std::atoi(argv[4]) : 5;
    const int length = argc > 5 ? std::atoi(argv[5]) : 128;
    const int tokens = argc > 6 ? std::atoi(argv[6]) : 16;
    if (!precision || rounds < 1 || length < 1 || tokens < 1) return 2;
    const auto cpu = load(argv[1], "cpu", *precision);
    const auto other = load(argv[1], device, *precision);
    std::vector<std::int32_t> prompt;
    for (int i = 0; i < length; ++i)
        prompt.push_back((i * 7919 + 13) % static_cast<int>(cpu->info.config.vocabularySize));
    Series ofCpu;
    Series ofOther;
    for (int round = 0; round < rounds; ++round) {
        measure(*cpu->transformer, prompt, tokens, ofCpu);
        measure(*other->transformer, prompt, tokens, ofOther);
    }
    std::printf("%s, %s beside cpu: decode %.1f beside %.1f ms/token, %.3f times as long; ",
                std::string(keyOf(*precision)).c_str(), device.c_str(), median(ofOther.decode),
                median(ofCpu.decode), medianRatio(ofOther.decode, ofCpu.decode));
    std::printf("prompt of %d %.1f beside %.1f tokens/s, %.3f times as long\n", length,
                median(ofOther.prefill), median(ofCpu.prefill),
                medianRatio(ofCpu.prefill, ofOther.prefill));
    return 0;
}
