#include "engine/common/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace qllama {
namespace {

Error systemError(const std::filesystem::path& path, const char* action) {
    const int code = errno;
    const bool missing = code == ENOENT || code == ENOTDIR;
    return {missing ? ErrorCode::NotFound : ErrorCode::Io,
            std::string("Cannot ") + action + " the file: " + std::strerror(code) + ".",
            path.string()};
}

// The whole pages inside `range`, for calls that want page-aligned addresses.
std::span<const std::byte> wholePages(std::span<const std::byte> range) {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    const auto begin = reinterpret_cast<std::uintptr_t>(range.data());
    const auto first = (begin + page - 1) / page * page;
    const auto last = (begin + range.size()) / page * page;
    if (last <= first) return {};
    return {reinterpret_cast<const std::byte*>(first), last - first};
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::filesystem::path& path) {
    // Non-blocking, or opening a pipe would wait for a writer; regular files do not mind.
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return systemError(path, "open");
    struct stat status {};
    if (::fstat(descriptor, &status) != 0) {
        Error error = systemError(path, "examine");
        ::close(descriptor);
        return error;
    }
    if (!S_ISREG(status.st_mode) || status.st_size == 0) {
        ::close(descriptor);
        return Error{ErrorCode::InvalidFile,
                     S_ISREG(status.st_mode) ? "The file is empty." : "This is not a regular file.",
                     path.string()};
    }
    const auto size = static_cast<std::size_t>(status.st_size);
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (data == MAP_FAILED) {
        Error error = systemError(path, "map");
        ::close(descriptor);
        return error;
    }
    ::close(descriptor);
#ifdef MADV_HUGEPAGE
    // What is not in memory yet then comes in huge pages, where the file system can (see BlockWriter).
    ::madvise(data, size, MADV_HUGEPAGE);
#endif
    return std::shared_ptr<const MappedFile>(
        new MappedFile(path, static_cast<const std::byte*>(data), size));
}

MappedFile::~MappedFile() {
    ::munmap(const_cast<std::byte*>(m_data), m_size);
}

void MappedFile::release(std::span<const std::byte> range) const {
    const auto pages = wholePages(range);
    if (!pages.empty())
        ::madvise(const_cast<std::byte*>(pages.data()), pages.size(), MADV_DONTNEED);
}

void MappedFile::populate(std::span<const std::byte> range) const {
    // A fault brings in all of these 64 KiB (Linux' fault_around_bytes) that are in memory already.
    // MADV_POPULATE_READ then looks at each of their pages once more: 2.2 GB by two threads take it
    // 58 ms, and this 43.
    constexpr std::size_t kFaultAround = 64U << 10;
    const volatile std::byte* bytes = range.data();
    for (std::size_t offset = 0; offset < range.size(); offset += kFaultAround)
        static_cast<void>(bytes[offset]);
    if (!range.empty()) static_cast<void>(bytes[range.size() - 1]);
}

}  // namespace qllama
