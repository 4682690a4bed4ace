#include "gui/command_line_options.h"
#include "gui/option_values.h"

namespace qllama {
namespace {

constexpr std::string_view kMeasurementGroup = "Measuring";
constexpr std::int64_t kMostTokens = 1 << 20;
constexpr int kMostRepetitions = 1000;

void addCount(std::vector<CommandLineOption>& options, const char* name, std::string help,
              std::int64_t minimum, std::int64_t BenchmarkOptions::*field) {
    options.push_back(
        {.names = {name},
         .valueName = "N",
         .group = kMeasurementGroup,
         .help = std::move(help) + " (default " + std::to_string(BenchmarkOptions().*field) + ").",
         .terminalOnly = true,
         .apply = [minimum, field](CommandLine& line, const std::string& value) {
             return parseWhole(value, minimum, kMostTokens, line.benchmark.*field);
         }});
}

}  // namespace

void addMeasurementOptions(std::vector<CommandLineOption>& options) {
    options.push_back({.names = {"--bench"},
                       .group = kMeasurementGroup,
                       .help = "Measure the speed of prompt evaluation and generation beside the "
                               "memory bandwidth of the machine. With --json as JSON.",
                       .needsNoWindow = true,
                       .apply = [](CommandLine& line, const std::string&) {
                           return setAction(line, TerminalAction::Benchmark);
                       }});
    options.push_back({.names = {"--bench-seed"},
                       .group = kMeasurementGroup,
                       .help = "Measure 50 tokens after 'Computers are pretty complica'.",
                       .needsNoWindow = true,
                       .apply = [](CommandLine& line, const std::string&) {
                           line.benchmark.promptText = "Computers are pretty complica";
                           line.benchmark.generatedTokens = 50;
                           return setAction(line, TerminalAction::Benchmark);
                       }});
    addCount(options, "--bench-prompt", "Tokens of the prompt to evaluate; 0 leaves it out", 0,
             &BenchmarkOptions::promptTokens);
    addCount(options, "--bench-tokens", "Tokens to generate", 1,
             &BenchmarkOptions::generatedTokens);
    addCount(options, "--bench-depth", "Tokens already in the context before generation", 0,
             &BenchmarkOptions::depth);
    options.push_back({.names = {"--repetitions"},
                       .valueName = "N",
                       .group = kMeasurementGroup,
                       .help = "How often to measure (default " +
                               std::to_string(BenchmarkOptions().repetitions) + ").",
                       .terminalOnly = true,
                       .apply = [](CommandLine& line, const std::string& value) {
                           return parseWhole(value, 1, kMostRepetitions,
                                             line.benchmark.repetitions);
                       }});
}

}  // namespace qllama
