#include "gui/prompt_file.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "gui/standard_streams.h"

namespace qllama {
namespace {

constexpr std::size_t kMaximumBytes = std::size_t{64} << 20;
constexpr std::size_t kChunkBytes = std::size_t{1} << 16;

struct OpenFile {
    int descriptor = -1;
    bool owned = false;
    ~OpenFile() {
        if (owned && descriptor >= 0) ::close(descriptor);
    }
};

Error readError(const std::string& name) {
    const int code = errno;
    return {code == ENOENT || code == ENOTDIR ? ErrorCode::NotFound : ErrorCode::Io,
            std::string("Cannot read the text: ") + std::strerror(code) + ".", name};
}

constexpr char kStandardInput[] = "-";

}  // namespace

bool isStream(const std::filesystem::path& path) {
    if (path == kStandardInput) return true;
    std::error_code failed;
    const auto status = std::filesystem::status(path, failed);
    return std::filesystem::is_other(status);
}

Result<std::string> readPromptFile(const std::filesystem::path& path) {
    const bool standardInput = path == kStandardInput;
    const std::string name = standardInput ? "standard input" : path.string();
    const OpenFile file{standardInput ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC),
                        !standardInput};
    if (file.descriptor < 0) return readError(name);
    std::string text;
    const auto chunk = std::make_unique<char[]>(kChunkBytes);
    while (true) {
        const ssize_t count = ::read(file.descriptor, chunk.get(), kChunkBytes);
        if (count == 0) return text;
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) &&
            waitUntilReady(file.descriptor, POLLIN))
            continue;
        if (count < 0) return readError(name);
        text.append(chunk.get(), static_cast<std::size_t>(count));
        if (text.size() > kMaximumBytes)
            return Error{ErrorCode::InvalidRequest,
                         "The text is longer than " + std::to_string(kMaximumBytes >> 20) +
                             " MiB, more than is read at a time.",
                         name};
    }
}

}  // namespace qllama
