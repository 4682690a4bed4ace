// The table behind the command line: parsing and --help both read it, so they cannot disagree.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gui/command_line.h"

namespace qllama {

struct CommandLineOption {
    std::vector<std::string> names;  // as typed, "--model"; the first is the documented one
    std::string valueName = {};      // "PATH"; empty for a switch
    std::string_view group;          // heading in the help
    std::string help;                // one sentence, without the names
    bool terminalOnly = false;       // makes no sense in the window
    bool needsNoWindow = false;      // by itself chooses the terminal
    // Puts the value into the command line; returns "" or what the option needs, to follow its name:
    // "needs a whole number from 1 to 9, not 'x'".
    std::function<std::string(CommandLine& commandLine, const std::string& value)> apply;
};

// Devices and how the layers are divided; in a file of their own.
void addPlacementOptions(std::vector<CommandLineOption>& options);

// Benchmarks; in a file of their own.
void addMeasurementOptions(std::vector<CommandLineOption>& options);

// In the order of the help. The sampler's options come from samplerParameters().
std::span<const CommandLineOption> commandLineOptions();
const CommandLineOption* findCommandLineOption(std::string_view name);  // nullptr: no such name

}  // namespace qllama
