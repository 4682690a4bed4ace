#include "gui/terminal/benchmark.h"

#include <unistd.h>

#include "gui/terminal/answer.h"
#include "gui/terminal/json_object.h"
#include "gui/terminal/load_request.h"
#include "gui/terminal/measured_model.h"
#include "gui/terminal/output.h"
#include "gui/terminal/text_table.h"

namespace qllama {
namespace {

struct Measured {
    ModelInfo model;
    BenchmarkReport report;
};

JsonObject spreadObject(const Spread& spread) {
    return JsonObject()
        .add("median", spread.median)
        .add("min", spread.minimum)
        .add("max", spread.maximum);
}

std::string jsonLine(const Measured& measured) {
    const BenchmarkReport& report = measured.report;
    JsonObject object;
    object.add("event", "bench");
    addModel(object, measured.model);
    object.add("prompt_tokens", report.promptTokens)
        .add("generated_tokens", report.options.generatedTokens)
        .add("depth", report.options.depth)
        .add("repetitions", report.options.repetitions);
    if (report.promptTokens > 0) {
        object.add("prompt_tokens_per_second", spreadObject(report.promptTokensPerSecond));
    } else {
        object.addNull("prompt_tokens_per_second");
    }
    object.add("ms_per_token", spreadObject(report.msPerToken))
        .add("bytes_per_token", report.bytesPerToken)
        .add("bandwidth_gb_per_s", report.bandwidthGbPerSecond)
        .add("fraction_of_bandwidth", report.fractionOfBandwidth);
    if (report.peakGigaMultiplyAdds) {
        object.add("prompt_giga_multiply_adds_per_s", *report.gigaMultiplyAdds)
            .add("peak_giga_multiply_adds_per_s", *report.peakGigaMultiplyAdds)
            .add("fraction_of_peak", *report.gigaMultiplyAdds / *report.peakGigaMultiplyAdds);
    }
    addPlacement(object, measured.model);
    return object.text() + "\n";
}

TextRow spreadRow(const char* name, const Spread& spread, const char* unit) {
    return {name, number(spread.median, 2) + " " + unit,
            "(" + number(spread.minimum, 2) + " to " + number(spread.maximum, 2) + ")"};
}

std::string plainText(const Measured& measured) {
    const BenchmarkReport& report = measured.report;
    const double readGbPerSecond =
        static_cast<double>(report.bytesPerToken) / 1e6 / report.msPerToken.median;
    std::vector<TextRow> rows;
    rows.push_back({"Model", measured.model.name + ", " + measured.model.precision + ", " +
                                 devicesOf(measured.model) + ", " +
                                 std::to_string(measured.model.threadCount) + " threads"});
    if (report.promptTokens > 0)
        rows.push_back(spreadRow("Prompt", report.promptTokensPerSecond, "tokens/s"));
    rows.push_back(spreadRow("Generation", report.msPerToken, "ms/token"));
    rows.push_back({"Read", number(static_cast<double>(report.bytesPerToken) / 1e6, 1) +
                                " MB a token, " + number(readGbPerSecond, 1) + " GB/s"});
    rows.push_back({"Bandwidth", number(report.bandwidthGbPerSecond, 1) + " GB/s measured, " +
                                     number(report.fractionOfBandwidth * 100, 1) + " % used"});
    if (report.peakGigaMultiplyAdds)
        rows.push_back(
            {"Arithmetic",
             number(*report.peakGigaMultiplyAdds, 1) + " GMAC/s measured, " +
                 number(*report.gigaMultiplyAdds / *report.peakGigaMultiplyAdds * 100, 1) +
                 " % used by the prompt"});
    return textTable(rows);
}

Result<std::string> measure(const CommandLine& commandLine, std::stop_token stop) {
    ProgressLine line(!commandLine.quiet && !commandLine.json && isSmartTerminal(STDERR_FILENO));
    QLLAMA_TRY(LoadRequest load, completeLoadRequest(commandLine, stop));
    load.needsTokenizer = !commandLine.benchmark.promptText.empty();
    QLLAMA_TRY(const auto model, loadMeasured(commandLine, load, line, stop));
    QLLAMA_TRY(BenchmarkReport report, benchmark(*model, commandLine.benchmark, {}, stop));
    const Measured measured{model->info, std::move(report)};
    return commandLine.json ? jsonLine(measured) : plainText(measured);
}

}  // namespace

int runBenchmark(const CommandLine& commandLine) {
    return printAnswerOf(commandLine.json, [&commandLine](std::stop_token stop) {
        return measure(commandLine, std::move(stop));
    });
}

}  // namespace qllama
