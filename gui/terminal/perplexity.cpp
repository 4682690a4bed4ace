#include "engine/session/perplexity.h"

#include <unistd.h>

#include "gui/prompt_file.h"
#include "gui/terminal/answer.h"
#include "gui/terminal/json_object.h"
#include "gui/terminal/load_request.h"
#include "gui/terminal/measured_model.h"
#include "gui/terminal/output.h"
#include "gui/terminal/perplexity.h"
#include "gui/terminal/progress_line.h"
#include "gui/terminal/text_table.h"

namespace qllama {
namespace {

struct Measured {
    ModelInfo model;
    PerplexityReport report;
};

std::string jsonLine(const Measured& measured) {
    const PerplexityReport& report = measured.report;
    JsonObject object;
    object.add("event", "perplexity");
    addModel(object, measured.model);
    object.add("tokens", report.tokens)
        .add("windows", report.windows)
        .add("window_length", report.windowLength)
        .add("perplexity", report.perplexity)
        .add("ms", report.ms);
    if (const auto& comparison = report.comparison) {
        object.add("reference", JsonObject()
                                    .add("precision", comparison->precision)
                                    .add("perplexity", comparison->perplexity)
                                    .add("mean_kl_divergence", comparison->meanKlDivergence)
                                    .add("top_1_agreement", comparison->topAgreement));
    } else {
        object.addNull("reference");
    }
    addPlacement(object, measured.model);
    return object.text() + "\n";
}

std::string plainText(const Measured& measured) {
    const PerplexityReport& report = measured.report;
    std::vector<TextRow> rows;
    rows.push_back({"Model", measured.model.name + ", " + measured.model.precision + ", " +
                                 devicesOf(measured.model)});
    rows.push_back({"Text", std::to_string(report.tokens) + " tokens, windows of " +
                                std::to_string(report.windowLength)});
    rows.push_back({"Perplexity", number(report.perplexity, 4)});
    if (const auto& comparison = report.comparison) {
        rows.push_back({"Reference", comparison->precision + ", perplexity " +
                                         number(comparison->perplexity, 4)});
        rows.push_back(
            {"KL divergence", number(comparison->meanKlDivergence, 6) + " nats a token"});
        rows.push_back({"Agreement",
                        number(comparison->topAgreement * 100, 2) + " % of the likeliest tokens"});
    }
    return textTable(rows);
}

Result<std::string> measure(const CommandLine& commandLine, const std::string& text,
                            std::stop_token stop) {
    ProgressLine line(!commandLine.quiet && !commandLine.json && isSmartTerminal(STDERR_FILENO));
    QLLAMA_TRY(LoadRequest load, completeLoadRequest(commandLine, stop));
    QLLAMA_TRY(const auto model, loadMeasured(commandLine, load, line, stop));
    std::unique_ptr<LoadedModel> reference;
    if (commandLine.referencePrecision) {
        load.precision = *commandLine.referencePrecision;
        QLLAMA_TRY(reference, loadMeasured(commandLine, load, line, stop));
    }
    const auto reading = [&line](std::int64_t done, std::int64_t total) {
        line.show("Reading the text", done, total);
    };
    QLLAMA_TRY(PerplexityReport report,
               measurePerplexity(*model, reference.get(), text, reading, stop));
    const Measured measured{model->info, std::move(report)};
    return commandLine.json ? jsonLine(measured) : plainText(measured);
}

}  // namespace

int runPerplexity(const CommandLine& commandLine) {
    // Before Ctrl-C only asks: here it shall end the program, which may be waiting for standard input.
    const Result<std::string> text = readPromptFile(*commandLine.perplexityPath);
    if (!text) return printAnswer(commandLine.json, text);
    return printAnswerOf(commandLine.json, [&](std::stop_token stop) {
        return measure(commandLine, text.value(), std::move(stop));
    });
}

}  // namespace qllama
