// What the terminal shows of a run; the two ways of showing it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "engine/session/generation_session.h"
#include "gui/command_line.h"
#include "gui/terminal/output.h"
#include "gui/terminal/progress_line.h"

namespace qllama {

// Calls come in this order: modelReady, what a GenerationSink gets, then one of done and failed;
// failed may also come alone.
class Reporter : public GenerationSink {
public:
    // Before loading, when other devices than the CPU take part.
    virtual void planned(const PlacementPlan& plan) = 0;
    virtual void loadProgress(const LoadProgress& progress) = 0;
    virtual void modelReady(const ModelInfo& model, std::uint64_t seed) = 0;
    virtual void done(const GenerationResult& result) = 0;
    // With --profile, before done: the commands of each device, the costliest first.
    virtual void profiled(const std::string& device, std::span<const KernelTiming> timings) = 0;
    virtual void failed(std::string_view message) = 0;
};

// JSON Lines on standard output and nothing else there; an error is a line on standard error too.
// The fields are listed in README.md.
class JsonReporter : public Reporter {
public:
    explicit JsonReporter(StandardOutput& output) : m_output(output) {}

    void planned(const PlacementPlan& plan) override;
    void modelMoved(const ModelInfo& model) override;
    void loadProgress(const LoadProgress&) override {}
    void modelReady(const ModelInfo& model, std::uint64_t seed) override;
    void promptStarted(std::int64_t, std::uint64_t) override {}
    void promptProgress(std::int64_t, std::int64_t) override {}
    void promptDone(const PromptStatistics& statistics) override;
    void tokenReady(const TokenChunk& chunk) override;
    void done(const GenerationResult& result) override;
    void profiled(const std::string& device, std::span<const KernelTiming> timings) override;
    void failed(std::string_view message) override;

private:
    StandardOutput& m_output;
    std::string m_text;  // of the token events, so that `done` has exactly that
};

struct PlainStyle {
    std::string_view prompt;  // printed before the continuation; empty with --quiet
    bool quiet = false;       // no progress, notes and statistics
    bool colored = false;     // 24-bit escape sequences
    bool demoModel = false;   // nobody named a model: the statistics say so
};

// The prompt and the continuation on standard output, byte for byte but on a terminal (see
// shownOnTerminal()), and one line of statistics on standard error.
class PlainReporter : public Reporter {
public:
    PlainReporter(StandardOutput& output, const PlainStyle& style);

    void planned(const PlacementPlan& plan) override;
    void modelMoved(const ModelInfo& model) override;
    void recomputeProgress(std::int64_t doneTokens, std::int64_t totalTokens) override;
    void loadProgress(const LoadProgress& progress) override;
    void modelReady(const ModelInfo& model, std::uint64_t seed) override;
    void promptStarted(std::int64_t, std::uint64_t) override {}
    void promptProgress(std::int64_t doneTokens, std::int64_t totalTokens) override;
    void promptDone(const PromptStatistics& statistics) override;
    void tokenReady(const TokenChunk& chunk) override;
    void done(const GenerationResult& result) override;
    void profiled(const std::string& device, std::span<const KernelTiming> timings) override;
    void failed(std::string_view message) override;

private:
    void print(std::string_view text, int red, int green, int blue);
    void endLine();
    [[nodiscard]] std::string describe(const ModelInfo& model) const;

    StandardOutput& m_output;
    PlainStyle m_style;
    ProgressLine m_progress;
    bool m_printed = false;
    std::string m_model;                // how the statistics name it
    std::vector<std::string> m_tuning;  // said with the first profile
};

}  // namespace qllama
