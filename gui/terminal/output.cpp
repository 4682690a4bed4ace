#include "gui/terminal/output.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "engine/tokenizer/utf8_stream.h"
#include "gui/standard_streams.h"

namespace qllama {
namespace {

// 0 or the error number.
int writeAll(int descriptor, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) &&
            waitUntilReady(descriptor, POLLOUT))
            continue;
        if (count < 0) return errno;
        bytes.remove_prefix(static_cast<std::size_t>(count));
    }
    return 0;
}

// But for those in `kept`.
std::string withControlsReplaced(std::string_view text, std::string_view kept,
                                 std::string_view replacement) {
    const std::string valid = toValidUtf8(text);
    std::string shown;
    for (std::size_t index = 0; index < valid.size(); ++index) {
        const auto byte = static_cast<unsigned char>(valid[index]);
        // The controls of Latin-1, U+0080 to U+009F, have two bytes.
        const bool isHigh = byte == 0xC2 && static_cast<unsigned char>(valid[index + 1]) < 0xA0;
        const bool isLow = byte < 0x20 && kept.find(valid[index]) == std::string_view::npos;
        if (isHigh || isLow || byte == 0x7F)
            shown += replacement;
        else
            shown += valid[index];
        if (isHigh) ++index;
    }
    return shown;
}

}  // namespace

StandardOutput::StandardOutput(std::stop_source stop) : m_stop(std::move(stop)) {
    std::signal(SIGPIPE, SIG_IGN);
}

void StandardOutput::write(std::string_view bytes) {
    if (m_errorCode != 0) return;
    m_errorCode = writeAll(STDOUT_FILENO, bytes);
    if (m_errorCode != 0) m_stop.request_stop();
}

bool StandardOutput::isTerminal() const {
    return ::isatty(STDOUT_FILENO) == 1;
}

bool StandardOutput::readerLeft() const {
    return m_errorCode == EPIPE;
}

std::string StandardOutput::problem() const {
    if (m_errorCode == 0 || readerLeft()) return {};
    return std::string("Cannot write to standard output: ") + std::strerror(m_errorCode) + ".";
}

bool isSmartTerminal(int descriptor) {
    const char* kind = std::getenv("TERM");
    return ::isatty(descriptor) == 1 && kind != nullptr && std::strcmp(kind, "dumb") != 0;
}

void printError(std::string_view line) {
    // Nothing can be done about a standard error that is gone.
    static_cast<void>(writeAll(STDERR_FILENO, withoutControls(line) + "\n"));
}

void printLines(std::string_view text) {
    for (std::size_t start = 0; start < text.size();) {
        const std::size_t end = std::min(text.find('\n', start), text.size());
        printError(text.substr(start, end - start));
        start = end + 1;
    }
}

std::string shownOnTerminal(std::string_view text) {
    return withControlsReplaced(text, "\n\t", "\xEF\xBF\xBD");
}

std::string withoutControls(std::string_view text) {
    return withControlsReplaced(text, "\n", "?");
}

}  // namespace qllama
