#include "gui/command_line_options.h"

#include <cmath>
#include <cstdint>
#include <limits>

#include "engine/backend/precision.h"
#include "engine/sampling/sampler.h"
#include "gui/option_values.h"

namespace qllama {
namespace {

constexpr std::string_view kModelGroup = "Model";
constexpr std::string_view kPromptGroup = "Prompt and length";
constexpr std::string_view kSamplingGroup = "Sampling";
constexpr std::string_view kTerminalGroup = "Without a window";
constexpr std::string_view kInformationGroup = "Information";

constexpr int kMaximumThreads = 1024;                            // more is a slip of the finger
constexpr std::int64_t kMaximumContext = std::int64_t{1} << 20;  // what the engine accepts
constexpr std::int64_t kMaximumTokens = std::numeric_limits<std::int32_t>::max();

std::string numberText(double number, int decimals) {
    std::string text = QString::number(number, 'f', decimals).toStdString();
    if (decimals == 0) return text;
    while (text.back() == '0')
        text.pop_back();
    if (text.back() == '.') text.pop_back();
    return text;
}

std::string rangeText(const SamplerParameter& parameter) {
    return "from " + numberText(parameter.minimum, parameter.decimals) + " to " +
           numberText(parameter.maximum, parameter.decimals);
}

std::string applySampler(const SamplerParameter& parameter, SamplerSettings& settings,
                         const std::string& text) {
    double number = 0;
    const bool whole = parameter.decimals == 0;
    if (parseNumber(text, number) && std::isfinite(number) && number >= parameter.minimum &&
        number <= parameter.maximum && (!whole || number == std::floor(number))) {
        settings.set(parameter.key, number);
        return {};
    }
    return std::string(whole ? "needs a whole number " : "needs a number ") + rangeText(parameter) +
           ", not " + quoted(text);
}

std::string parseColor(const std::string& text, ColorMode& color) {
    if (text == "auto") {
        color = ColorMode::Auto;
    } else if (text == "always") {
        color = ColorMode::Always;
    } else if (text == "never") {
        color = ColorMode::Never;
    } else {
        return "takes auto, always or never, not " + quoted(text);
    }
    return {};
}

using Options = std::vector<CommandLineOption>;

void addModelOptions(Options& options) {
    options.push_back({.names = {"--model", "--model-path"},
                       .valueName = "PATH",
                       .group = kModelGroup,
                       .help = "The model: a folder, a .pth file or a params.json. Without it the "
                               "demo model is used.",
                       .apply = [](CommandLine& line, const std::string& value) {
                           line.hasModel = true;
                           return parsePath(value, line.load.location.model);
                       }});
    options.push_back({.names = {"--tokenizer", "--tokenizer-path", "--tokenizer-model"},
                       .valueName = "FILE",
                       .group = kModelGroup,
                       .help = "The sentencepiece model; otherwise tokenizer.model is looked for "
                               "beside the model and one folder up.",
                       .apply = [](CommandLine& line, const std::string& value) {
                           return parsePath(value, line.load.location.tokenizer.emplace());
                       }});
    options.push_back({.names = {"--params", "--param-path"},
                       .valueName = "FILE",
                       .group = kModelGroup,
                       .help = "The params.json, when it is not beside the model.",
                       .apply = [](CommandLine& line, const std::string& value) {
                           return parsePath(value, line.load.location.params.emplace());
                       }});
    options.push_back({.names = {"--max-seq-len"},
                       .valueName = "N",
                       .group = kModelGroup,
                       .help = "Length of the context in tokens; otherwise what the model says, "
                               "else 2048.",
                       .apply = [](CommandLine& line, const std::string& value) {
                           return parseWhole<std::int64_t>(value, 1, kMaximumContext,
                                                           line.load.contextLength.emplace());
                       }});
}

void addComputeOptions(Options& options) {
    options.push_back({.names = {"--precision"},
                       .valueName = precisionKeys("|"),
                       .group = kModelGroup,
                       .help = "How the weights are kept in memory (default " +
                               std::string(keyOf(LoadRequest().precision)) + ").",
                       .apply = [](CommandLine& line, const std::string& value) {
                           return parsePrecision(value, line.load.precision);
                       }});
    options.push_back({.names = {"--f16"},
                       .group = kModelGroup,
                       .help = "The same as --precision f16.",
                       .apply = [](CommandLine& line, const std::string&) {
                           return parsePrecision("f16", line.load.precision);
                       }});
    options.push_back({.names = {"--threads", "--max-threads"},
                       .valueName = "N",
                       .group = kModelGroup,
                       .help = "Threads that compute (default: one for each physical core).",
                       .apply = [](CommandLine& line, const std::string& value) {
                           return parseWhole(value, 1, kMaximumThreads, line.load.threadCount);
                       }});
}

void addPromptOptions(Options& options) {
    options.push_back({.names = {"--prompt"},
                       .valueName = "TEXT",
                       .group = kPromptGroup,
                       .help = "The text to go on from; may be empty.",
                       .apply = [](CommandLine& line, const std::string& value) {
                           if (line.promptFile) return "and --prompt-file exclude each other";
                           line.hasPrompt = true;
                           line.generation.prompt = value;
                           return "";
                       }});
    options.push_back({.names = {"--prompt-file"},
                       .valueName = "FILE",
                       .group = kPromptGroup,
                       .help = "Take the prompt from a file, byte for byte; - is standard input.",
                       .apply = [](CommandLine& line, const std::string& value) {
                           if (line.hasPrompt)
                               return std::string("and --prompt exclude each other");
                           return parsePath(value, line.promptFile.emplace());
                       }});
    options.push_back(
        {.names = {"--max-tokens"},
         .valueName = "N",
         .group = kPromptGroup,
         .help = "How many tokens to generate (default " +
                 std::to_string(GenerationRequest().maxTokens) +
                 "); 0 only evaluates the prompt, -1 goes on until the context is full.",
         .apply = [](CommandLine& line, const std::string& value) {
             return parseWhole<std::int64_t>(value, -1, kMaximumTokens, line.generation.maxTokens);
         }});
    options.push_back({.names = {"--ignore-eos"},
                       .group = kPromptGroup,
                       .help = "Go on past the model's end of text.",
                       .apply = [](CommandLine& line, const std::string&) {
                           line.generation.ignoreEos = true;
                           return "";
                       }});
    options.push_back({.names = {"--stop"},
                       .valueName = "TEXT",
                       .group = kPromptGroup,
                       .help = "End before this text would appear; may be given several times.",
                       .apply = [](CommandLine& line, const std::string& value) {
                           if (value.empty()) return "needs a text that is not empty";
                           line.generation.stopStrings.push_back(value);
                           return "";
                       }});
}

void addSamplingOptions(Options& options) {
    for (const SamplerParameter& parameter : samplerParameters()) {
        options.push_back({.names = {"--" + std::string(parameter.key)},
                           .valueName = parameter.decimals == 0 ? "N" : "F",
                           .group = kSamplingGroup,
                           .help = std::string(parameter.help) + " Default " +
                                   numberText(parameter.defaultValue, parameter.decimals) + ", " +
                                   rangeText(parameter) + ".",
                           .apply = [&parameter](CommandLine& line, const std::string& value) {
                               return applySampler(parameter, line.generation.sampler, value);
                           }});
    }
    options.push_back({.names = {"--seed"},
                       .valueName = "N",
                       .group = kSamplingGroup,
                       .help = "The same seed gives the same text (default: chosen at random and "
                               "reported).",
                       .apply = [](CommandLine& line, const std::string& value) {
                           return parseWhole<std::uint64_t>(
                               value, 0, std::numeric_limits<std::uint64_t>::max(),
                               line.generation.seed.emplace());
                       }});
}

void addTerminalOptions(Options& options) {
    options.push_back({.names = {"--headless"},
                       .group = kTerminalGroup,
                       .help = "Generate here in the terminal; needs no display.",
                       .needsNoWindow = true,
                       .apply = [](CommandLine& line, const std::string&) {
                           line.headless = true;
                           return "";
                       }});
    options.push_back({.names = {"--quiet", "-q"},
                       .group = kTerminalGroup,
                       .help = "Print the continuation only: no prompt, progress or statistics.",
                       .terminalOnly = true,
                       .apply = [](CommandLine& line, const std::string&) {
                           line.quiet = true;
                           return "";
                       }});
    options.push_back({.names = {"--json"},
                       .group = kTerminalGroup,
                       .help = "Print JSON Lines: one object for the model, the prompt, each token "
                               "and the end, or an error.",
                       .terminalOnly = true,
                       .apply = [](CommandLine& line, const std::string&) {
                           line.json = true;
                           return "";
                       }});
    options.push_back(
        {.names = {"--color"},
         .valueName = "auto|always|never",
         .group = kTerminalGroup,
         .help = "Colour each token by its probability (default auto: on a terminal).",
         .terminalOnly = true,
         .apply = [](CommandLine& line, const std::string& value) {
             return parseColor(value, line.color);
         }});
    options.push_back({.names = {"--logits"},
                       .valueName = "FILE",
                       .group = kTerminalGroup,
                       .help = "Write the logits after the last prompt token as a NumPy .npy file.",
                       .terminalOnly = true,
                       .apply = [](CommandLine& line, const std::string& value) {
                           return parsePath(value, line.logitsPath.emplace());
                       }});
}

void addCpuTargetOption(Options& options) {
    options.push_back({.names = {"--cpu-target"},
                       .valueName = "NAME",
                       .group = kTerminalGroup,
                       .help = "Compute with a lower instruction set than the processor's best; "
                               "--list-devices names those there are.",
                       .terminalOnly = true,
                       .apply = [](CommandLine& line, const std::string& value) {
                           line.cpuTarget = value;
                           return "";
                       }});
}

void addInformationOptions(Options& options) {
    options.push_back({.names = {"--inspect"},
                       .valueName = "PATH",
                       .group = kInformationGroup,
                       .help = "Describe a model without running it: shards, tensors, memory, "
                               "problems. With --json as JSON.",
                       .needsNoWindow = true,
                       .apply = [](CommandLine& line, const std::string& value) {
                           std::string problem = parsePath(value, line.inspectPath.emplace());
                           return problem.empty() ? setAction(line, TerminalAction::Inspect)
                                                  : problem;
                       }});
    const auto addAction = [&options](std::vector<std::string> names, std::string help,
                                      TerminalAction action) {
        options.push_back({.names = std::move(names),
                           .group = kInformationGroup,
                           .help = std::move(help),
                           .needsNoWindow = true,
                           .apply = [action](CommandLine& line, const std::string&) {
                               return setAction(line, action);
                           }});
    };
    addAction({"--list-devices"}, "List the devices that can compute. With --json as JSON.",
              TerminalAction::ListDevices);
    addAction({"--cache"},
              "List the quantised and packed weights kept for the next start, with their sizes. "
              "With --json as JSON.",
              TerminalAction::ListCache);
    addAction({"--clear-cache"}, "Delete them.", TerminalAction::ClearCache);
    addAction({"--version", "-v"}, "Print the version.", TerminalAction::Version);
    addAction({"--help", "-h"}, "Print this text.", TerminalAction::Help);
}

}  // namespace

std::span<const CommandLineOption> commandLineOptions() {
    static const Options options = [] {
        Options made;
        addModelOptions(made);
        addComputeOptions(made);
        addPlacementOptions(made);
        addPromptOptions(made);
        addSamplingOptions(made);
        addTerminalOptions(made);
        addCpuTargetOption(made);
        addMeasurementOptions(made);
        addInformationOptions(made);
        return made;
    }();
    return options;
}

const CommandLineOption* findCommandLineOption(std::string_view name) {
    for (const CommandLineOption& option : commandLineOptions())
        for (const std::string& spelling : option.names)
            if (spelling == name) return &option;
    return nullptr;
}

}  // namespace qllama
