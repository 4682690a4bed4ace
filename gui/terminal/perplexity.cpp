#include "engine/session/perplexity.h"

#include <unistd.h>

#include <exception>

#include "gui/prompt_file.h"
#include "gui/terminal/exit_code.h"
#include "gui/terminal/interrupt_watcher.h"
#include "gui/terminal/json_object.h"
#include "gui/terminal/load_request.h"
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

Result<Measured> measure(const CommandLine& commandLine, ProgressLine& line, std::stop_token stop) {
    QLLAMA_TRY(const std::string text, readPromptFile(*commandLine.perplexityPath));
    QLLAMA_TRY(LoadRequest load, completeLoadRequest(commandLine, stop));
    const auto loading = [&line](const LoadProgress& progress) {
        line.show("Loading", progress.doneBytes, progress.totalBytes);
    };
    QLLAMA_TRY(const auto model, loadModel(load, loading, stop));
    std::unique_ptr<LoadedModel> reference;
    if (commandLine.referencePrecision) {
        load.precision = *commandLine.referencePrecision;
        QLLAMA_TRY(reference, loadModel(load, loading, stop));
    }
    const auto reading = [&line](std::int64_t done, std::int64_t total) {
        line.show("Reading the text", done, total);
    };
    QLLAMA_TRY(PerplexityReport report,
               measurePerplexity(*model, reference.get(), text, reading, stop));
    return Measured{model->info, std::move(report)};
}

Result<Measured> measureCatching(const CommandLine& commandLine, std::stop_token stop) {
    ProgressLine line(!commandLine.quiet && !commandLine.json && isSmartTerminal(STDERR_FILENO));
    try {
        return measure(commandLine, line, std::move(stop));
    } catch (const std::exception& problem) {
        return Error{ErrorCode::OutOfMemory, std::string("Out of memory: ") + problem.what(), {}};
    }
}

std::string jsonLine(const Measured& measured) {
    const PerplexityReport& report = measured.report;
    JsonObject object;
    object.add("event", "perplexity")
        .add("name", measured.model.name)
        .add("precision", measured.model.precision)
        .add("device", measured.model.device.id)
        .add("threads", measured.model.threadCount)
        .add("tokens", report.tokens)
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
    return object.text() + "\n";
}

std::string number(double value, int decimals) {
    return QString::number(value, 'f', decimals).toStdString();
}

std::string plainText(const Measured& measured) {
    const PerplexityReport& report = measured.report;
    std::vector<TextRow> rows;
    rows.push_back({"Model", measured.model.name + ", " + measured.model.precision});
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

}  // namespace

int runPerplexity(const CommandLine& commandLine) {
    std::stop_source stop;
    StandardOutput output(stop);
    const InterruptWatcher watcher(stop);
    const Result<Measured> measured = measureCatching(commandLine, stop.get_token());
    if (!measured) {
        const std::string message = measured.error().text();
        if (commandLine.json) output.write(jsonErrorLine(message));
        printError(message);
        return kExitFailed;
    }
    output.write(commandLine.json ? jsonLine(measured.value()) : plainText(measured.value()));
    return output.problem().empty() ? kExitDone : kExitFailed;
}

}  // namespace qllama
