#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "gui/terminal/measured_model.h"
#include "gui/terminal/placement_text.h"
#include "gui/terminal/reporter.h"
#include "gui/terminal/text_table.h"

namespace qllama {
namespace {

// rllama's colours: the prompt light blue, a token from green (improbable) to red (certain).
constexpr int kPromptColor[] = {128, 128, 255};

std::string counted(std::int64_t count, const char* noun) {
    return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string promptText(const PromptStatistics& prompt) {
    if (prompt.tokens.empty()) return "prompt not finished";
    return "prompt of " + counted(static_cast<std::int64_t>(prompt.tokens.size()), "token") +
           " in " + number(prompt.ms, 1) + " ms (" + number(prompt.tokensPerSecond, 1) +
           " tokens/s)";
}

std::string statisticsText(const GenerationResult& result) {
    const GenerationStatistics& statistics = result.statistics;
    std::string text = promptText(statistics.prompt) + ", " +
                       counted(statistics.tokenCount, "token") + " generated";
    if (statistics.msPerToken > 0)
        text += " (" + number(statistics.msPerToken, 2) + " ms/token, " +
                number(statistics.tokensPerSecond, 1) + " tokens/s)";
    return text + ", ended by " + std::string(keyOf(result.reason)) + ", context " +
           std::to_string(statistics.contextUsed) + "/" + std::to_string(statistics.contextLength) +
           ", seed " + std::to_string(statistics.seed);
}

}  // namespace

PlainReporter::PlainReporter(StandardOutput& output, const PlainStyle& style)
    : m_output(output),
      m_style(style),
      m_progress(!style.quiet && isSmartTerminal(STDERR_FILENO)) {}

std::string PlainReporter::describe(const ModelInfo& model) const {
    return (m_style.demoModel ? "demo model, " : model.name + ", ") + model.precision + ", " +
           devicesOf(model) + ", " + counted(model.threadCount, "thread");
}

void PlainReporter::planned(const PlacementPlan& plan) {
    m_progress.erase();
    if (m_style.quiet) return;
    printLines(placementTable(plan));
}

void PlainReporter::modelMoved(const ModelInfo& model) {
    m_progress.erase();
    endLine();
    m_model = describe(model);
    if (!m_style.quiet && !model.notes.empty()) printError("Note: " + model.notes.back());
}

void PlainReporter::recomputeProgress(std::int64_t doneTokens, std::int64_t totalTokens) {
    m_progress.show("Computing the text again", doneTokens, totalTokens);
}

void PlainReporter::loadProgress(const LoadProgress& progress) {
    m_progress.showLoading(progress);
}

void PlainReporter::modelReady(const ModelInfo& model, std::uint64_t) {
    m_progress.erase();
    m_model = describe(model);
    m_tuning = model.tuning;
    if (m_style.quiet) return;
    for (const std::string& note : model.notes)
        printError("Note: " + note);
}

void PlainReporter::promptProgress(std::int64_t doneTokens, std::int64_t totalTokens) {
    m_progress.show("Reading the prompt", doneTokens, totalTokens);
}

// Only now: before, a progress line on the same terminal would have run over the prompt.
void PlainReporter::promptDone(const PromptStatistics&) {
    m_progress.erase();
    if (!m_style.quiet) print(m_style.prompt, kPromptColor[0], kPromptColor[1], kPromptColor[2]);
}

void PlainReporter::tokenReady(const TokenChunk& chunk) {
    m_progress.erase();
    const int strength = static_cast<int>(std::lround(127 * chunk.probability));
    print(chunk.text, 128 + strength, 255 - strength, 128);
}

void PlainReporter::done(const GenerationResult& result) {
    m_progress.erase();
    endLine();
    if (!m_style.quiet) printError(m_model + ": " + statisticsText(result));
}

void PlainReporter::profiled(const std::string& device, std::span<const KernelTiming> timings) {
    m_progress.erase();
    endLine();
    for (const std::string& outcome : std::exchange(m_tuning, {}))
        printError(outcome);
    double total = 0;
    for (const KernelTiming& timing : timings)
        total += timing.ms;
    std::vector<TextRow> rows{{device, "calls", "total ms", "GB/s", "share"}};
    for (const KernelTiming& timing : timings)
        rows.push_back(
            {timing.name, std::to_string(timing.calls), number(timing.ms, 2),
             timing.ms > 0 ? number(static_cast<double>(timing.bytes) / timing.ms / 1e6, 1) : "-",
             total > 0 ? number(100 * timing.ms / total, 1) + " %" : "-"});
    printLines(textTable(rows));
}

void PlainReporter::failed(std::string_view message) {
    m_progress.erase();
    endLine();
    printError(message);
}

void PlainReporter::print(std::string_view text, int red, int green, int blue) {
    if (text.empty()) return;
    m_printed = true;
    const std::string shown = m_output.isTerminal() ? shownOnTerminal(text) : std::string(text);
    if (!m_style.colored) {
        m_output.write(shown);
        return;
    }
    const std::string color = "\x1b[38;2;" + std::to_string(red) + ";" + std::to_string(green) +
                              ";" + std::to_string(blue) + "m";
    m_output.write(color + shown + "\x1b[0m");
}

// A file gets exactly the text; on a terminal what follows starts on a line of its own.
void PlainReporter::endLine() {
    if (m_printed && m_output.isTerminal()) m_output.write("\n");
    m_printed = false;
}

}  // namespace qllama
