#include "engine/session/model_shape.h"
#include "gui/command_line_options.h"
#include "gui/option_values.h"

namespace qllama {
namespace {

constexpr std::string_view kMeasurementGroup = "Measuring";
constexpr std::int64_t kMostTokens = 1 << 20;
constexpr int kMostRepetitions = 1000;
constexpr int kMostShards = 64;

std::string withoutFullStop(const Error& error) {
    return error.message.substr(0, error.message.size() - 1);
}

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

void addPerplexityOptions(std::vector<CommandLineOption>& options) {
    options.push_back(
        {.names = {"--perplexity"},
         .valueName = "FILE",
         .group = kMeasurementGroup,
         .help = "Measure how well the model predicts a text (the lower the better); - is "
                 "standard input. With --json as JSON.",
         .needsNoWindow = true,
         .apply = [](CommandLine& line, const std::string& value) {
             std::string problem = parsePath(value, line.perplexityPath.emplace());
             return problem.empty() ? setAction(line, TerminalAction::Perplexity) : problem;
         }});
    options.push_back({.names = {"--reference"},
                       .valueName = precisionKeys("|"),
                       .group = kMeasurementGroup,
                       .help = "With --perplexity: also how far the predictions are from those of "
                               "the model in this precision. Loads it twice.",
                       .terminalOnly = true,
                       .apply = [](CommandLine& line, const std::string& value) {
                           return parsePrecision(value, line.referencePrecision.emplace());
                       }});
}

void addMakeModelOptions(std::vector<CommandLineOption>& options) {
    std::string names;
    for (const NamedShape& named : namedShapes())
        names += std::string(named.name) + ", ";
    options.push_back({.names = {"--make-model"},
                       .valueName = "SHAPE DIR",
                       .group = kMeasurementGroup,
                       .help = "Write a model of random weights to a new folder. SHAPE is " +
                               names +
                               "or dim=N,layers=N,heads=N,kv-heads=N,ffn=N,vocab=N. With "
                               "--tokenizer that file is copied beside it; --seed gives other "
                               "weights; they are f16, with --precision bf16 bf16.",
                       .needsNoWindow = true,
                       .apply = [](CommandLine& line, const std::string& value) {
                           const auto shape = parseModelShape(value);
                           if (!shape) return "is not possible: " + withoutFullStop(shape.error());
                           line.makeShape = value;
                           return setAction(line, TerminalAction::MakeModel);
                       }});
    options.push_back({.names = {"--shards"},
                       .valueName = "N",
                       .group = kMeasurementGroup,
                       .help = "Files that --make-model divides the weights over (default 1).",
                       .terminalOnly = true,
                       .apply = [](CommandLine& line, const std::string& value) {
                           return parseWhole(value, 1, kMostShards, line.shardCount);
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
                           if (!line.given.contains("--bench-tokens"))
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
    addPerplexityOptions(options);
    addMakeModelOptions(options);
}

}  // namespace qllama
