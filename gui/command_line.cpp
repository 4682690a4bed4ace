#include "gui/command_line.h"

#include <algorithm>
#include <vector>

#include "gui/command_line_options.h"

namespace qllama {
namespace {

struct Occurrence {
    const CommandLineOption* option = nullptr;
    std::string spelling;  // as the user typed it, for messages
    std::string value;
};

struct Tokens {
    std::vector<Occurrence> occurrences;
    std::vector<std::string> unknown;  // names that no option has
    std::string problem;               // the first of any kind; "" when all is well
};

std::string nameOfArgument(const std::string& argument) {
    return argument.substr(0, argument.find('='));
}

bool isKnownOption(const std::string& argument) {
    return findCommandLineOption(nameOfArgument(argument)) != nullptr;
}

// The number of single-character edits between two names, to recognise a slip of the finger.
std::size_t editDistance(std::string_view left, std::string_view right) {
    std::vector<std::size_t> row(right.size() + 1);
    for (std::size_t column = 0; column <= right.size(); ++column)
        row[column] = column;
    for (std::size_t line = 1; line <= left.size(); ++line) {
        std::size_t diagonal = row[0];
        row[0] = line;
        for (std::size_t column = 1; column <= right.size(); ++column) {
            const std::size_t substituted = diagonal + (left[line - 1] != right[column - 1]);
            diagonal = row[column];
            row[column] = std::min({row[column] + 1, row[column - 1] + 1, substituted});
        }
    }
    return row.back();
}

std::string unknownOptionText(const std::string& name) {
    constexpr std::size_t kLikely = 2;  // edits
    std::string nearest;
    std::size_t distance = kLikely + 1;
    for (const CommandLineOption& option : commandLineOptions()) {
        for (const std::string& spelling : option.names) {
            const std::size_t edits = editDistance(name, spelling);
            if (spelling.starts_with("--") && edits < distance) {
                distance = edits;
                nearest = spelling;
            }
        }
    }
    const std::string advice =
        nearest.empty() ? "--help lists the options." : "did you mean " + nearest + "?";
    return "Unknown option '" + name + "': " + advice;
}

// Takes the argument at `index`, and the next one if that is its value.
void takeOption(std::span<const std::string> arguments, std::size_t& index, Tokens& tokens) {
    const std::string& argument = arguments[index];
    const std::string name = nameOfArgument(argument);
    const CommandLineOption* option = findCommandLineOption(name);
    std::string problem;
    std::string value;
    const bool hasEquals = name.size() != argument.size();
    if (option == nullptr) {
        tokens.unknown.push_back(name);
        problem = unknownOptionText(name);
    } else if (hasEquals) {
        value = argument.substr(name.size() + 1);
        if (option->valueName.empty()) problem = name + " takes no value.";
    } else if (!option->valueName.empty()) {
        const bool last = index + 1 == arguments.size();
        if (last) {
            problem = name + " needs a value: " + name + " " + option->valueName + ".";
        } else if (isKnownOption(arguments[index + 1])) {
            problem = name + " needs a value before " + arguments[index + 1] + "; write " + name +
                      "=" + arguments[index + 1] + " if that is the value.";
        } else {
            value = arguments[++index];
        }
    }
    if (option != nullptr) tokens.occurrences.push_back({option, name, value});
    if (tokens.problem.empty()) tokens.problem = problem;
}

// A lone argument is the model: what a file manager passes to the program.
Tokens tokenize(std::span<const std::string> arguments) {
    Tokens tokens;
    bool optionsEnded = false;
    for (std::size_t index = 0; index < arguments.size(); ++index) {
        const std::string& argument = arguments[index];
        if (!optionsEnded && argument == "--") {
            optionsEnded = true;
        } else if (!optionsEnded && argument.size() > 1 && argument.starts_with('-')) {
            takeOption(arguments, index, tokens);
        } else {
            tokens.occurrences.push_back({findCommandLineOption("--model"), "The model", argument});
        }
    }
    return tokens;
}

bool needsNoWindow(const Tokens& tokens) {
    return std::any_of(tokens.occurrences.begin(), tokens.occurrences.end(),
                       [](const Occurrence& taken) { return taken.option->needsNoWindow; });
}

std::string applyAll(const Tokens& tokens, CommandLine& commandLine) {
    const CommandLineOption* model = findCommandLineOption("--model");
    for (const Occurrence& taken : tokens.occurrences) {
        if (taken.option == model && commandLine.hasModel)
            return "Only one model can be given, but there is also '" + taken.value + "'.";
        const std::string problem = taken.option->apply(commandLine, taken.value);
        if (!problem.empty()) return taken.spelling + " " + problem + ".";
        commandLine.given.insert(taken.option->names.front());
    }
    return {};
}

// Options that mean nothing without one of two others.
struct Dependence {
    const char* option;
    const char* needed;
    const char* orElse = nullptr;
};
constexpr Dependence kDependences[] = {
    {"--bench-prompt", "--bench"},
    {"--bench-tokens", "--bench", "--bench-seed"},
    {"--bench-depth", "--bench", "--bench-seed"},
    {"--repetitions", "--bench", "--bench-seed"},
    {"--reference", "--perplexity"},
    {"--shards", "--make-model"},
};

// Options that mean something only where a text is generated, also without --headless.
constexpr const char* kOfATextAlone[] = {
    "--prompt", "--prompt-file", "--stop", "--max-tokens", "--ignore-eos", "--logits", "--profile"};

std::string dependenceProblem(const CommandLine& commandLine) {
    const auto& given = commandLine.given;
    for (const char* option : kOfATextAlone)
        if (commandLine.action != TerminalAction::Generate && given.contains(option))
            return std::string(option) + " works only when a text is generated.";
    if (commandLine.action == TerminalAction::Inspect && commandLine.hasModel)
        return "--inspect has its own path; leave out the model that is given besides.";
    for (const Dependence& dependence : kDependences)
        if (given.contains(dependence.option) && !given.contains(dependence.needed) &&
            !(dependence.orElse != nullptr && given.contains(dependence.orElse)))
            return std::string(dependence.option) + " works only with " + dependence.needed + ".";
    return {};
}

// What only shows once all arguments are known.
std::string combinationProblem(const Tokens& tokens, const CommandLine& commandLine) {
    if (commandLine.load.split && commandLine.load.deviceShare)
        return "--split and --percentage-to-gpu exclude each other.";
    if (!needsNoWindow(tokens)) {
        for (const Occurrence& taken : tokens.occurrences)
            if (taken.option->terminalOnly) return taken.spelling + " works only with --headless.";
        return {};
    }
    if (const std::string problem = dependenceProblem(commandLine); !problem.empty())
        return problem;
    if (commandLine.action == TerminalAction::MakeModel && !commandLine.hasModel)
        return "--make-model needs a folder to write: --make-model SHAPE DIR.";
    if (commandLine.action == TerminalAction::MakeModel &&
        commandLine.given.contains("--precision") && commandLine.load.precision != Precision::F16 &&
        commandLine.load.precision != Precision::BF16)
        return "--make-model writes f16 or bf16: with it, --precision is one of these.";
    if (commandLine.action == TerminalAction::Generate && !commandLine.hasPrompt &&
        !commandLine.promptFile)
        return "--headless needs a prompt: --prompt TEXT or --prompt-file FILE.";
    return {};
}

}  // namespace

bool wantsTerminal(int argc, const char* const* argv) {
    const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
    const Tokens tokens = tokenize(arguments);
    if (needsNoWindow(tokens)) return true;
    // The window understands Qt's own options besides ("-platform"): it shall judge those.
    const bool onlyQtOptions =
        !tokens.unknown.empty() &&
        std::all_of(tokens.unknown.begin(), tokens.unknown.end(),
                    [](const std::string& name) { return !name.starts_with("--"); });
    if (onlyQtOptions) return false;
    return !parseCommandLine(arguments).usageError.isEmpty();
}

ParsedCommandLine parseCommandLine(std::span<const std::string> arguments,
                                   const CommandLine& initial) {
    const Tokens tokens = tokenize(arguments);
    CommandLine commandLine = initial;
    std::string problem = tokens.problem;
    if (problem.empty()) problem = applyAll(tokens, commandLine);
    if (problem.empty()) problem = combinationProblem(tokens, commandLine);
    const CommandLineOption* json = findCommandLineOption("--json");
    const bool hasJson =
        std::any_of(tokens.occurrences.begin(), tokens.occurrences.end(),
                    [json](const Occurrence& taken) { return taken.option == json; });
    if (!problem.empty()) return {std::nullopt, QString::fromStdString(problem), hasJson};
    return {commandLine, {}, hasJson};
}

ParsedCommandLine parseCommandLine(const QStringList& arguments) {
    std::vector<std::string> plain;
    for (const QString& argument : arguments.mid(1))
        plain.push_back(argument.toStdString());
    return parseCommandLine(plain);
}

}  // namespace qllama
