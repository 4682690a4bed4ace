// Standard output and standard error of the terminal front end.
#pragma once

#include <stop_token>
#include <string>
#include <string_view>

namespace qllama {

// Writes at once, without a buffer, so that a reader sees each token when it is made. After the
// first failure nothing more is written and the stop source is told. A reader that went away
// ("| head") has what it wanted: SIGPIPE is ignored from here on and the program ends quietly.
class StandardOutput {
public:
    explicit StandardOutput(std::stop_source stop);

    void write(std::string_view bytes);
    [[nodiscard]] bool isTerminal() const;
    [[nodiscard]] bool readerLeft() const;
    // Why the output could not be written, as a sentence; "" when it could or the reader left.
    [[nodiscard]] std::string problem() const;

private:
    std::stop_source m_stop;
    int m_errorCode = 0;
};

// True when escape sequences are understood at the other end of the descriptor.
bool isSmartTerminal(int descriptor);

// A line on standard error, control characters of hostile file contents made visible.
void printError(std::string_view line);

// Each line of `text`, likewise.
void printLines(std::string_view text);

// `text` for a terminal that shall show it and not obey it: control characters but the line feed and
// the tab, and bytes that are not UTF-8, become U+FFFD.
std::string shownOnTerminal(std::string_view text);

// `text` with control characters other than the line feed replaced, for showing foreign names.
std::string withoutControls(std::string_view text);

}  // namespace qllama
