// Reading the values of command line options: each function fills in its last argument and returns
// "", or what the option needs, to follow its name.
#pragma once

#include <charconv>
#include <filesystem>
#include <string>

#include "gui/command_line.h"

namespace qllama {

// Strict: the whole text is the number, no sign but '-', no spaces.
template <typename Number>
bool parseNumber(const std::string& text, Number& number) {
    const char* end = text.data() + text.size();
    const auto [stop, problem] = std::from_chars(text.data(), end, number);
    return problem == std::errc() && stop == end;
}

inline std::string quoted(const std::string& text) {
    return "'" + text + "'";
}

template <typename Integer>
std::string parseWhole(const std::string& text, Integer minimum, Integer maximum, Integer& number) {
    Integer parsed = 0;
    if (parseNumber(text, parsed) && parsed >= minimum && parsed <= maximum) {
        number = parsed;
        return {};
    }
    return "needs a whole number from " + std::to_string(minimum) + " to " +
           std::to_string(maximum) + ", not " + quoted(text);
}

std::string parsePath(const std::string& text, std::filesystem::path& path);

std::string precisionKeys(const char* separator);  // all of them
std::string parsePrecision(const std::string& text, Precision& precision);

// Exactly one action; --headless is none by itself, it only chooses the terminal.
std::string setAction(CommandLine& commandLine, TerminalAction action);

}  // namespace qllama
