// A file mapped read-only: opening costs no copy whatever its size, pages arrive when touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "engine/common/result.h"

namespace qllama {

// Immutable after open(); may be read from any thread. Whoever keeps a pointer into bytes() keeps
// the shared_ptr too. The caller promises that nobody truncates the file meanwhile (the operating
// system would raise SIGBUS); a file that is merely replaced stays readable.
class MappedFile {
public:
    // Fails with NotFound or Io and a sentence; an empty file is InvalidFile.
    static Result<std::shared_ptr<const MappedFile>> open(const std::filesystem::path& path);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    [[nodiscard]] std::span<const std::byte> bytes() const { return {m_data, m_size}; }
    [[nodiscard]] const std::filesystem::path& path() const { return m_path; }

    // Tells the system that `range` (inside bytes()) is not needed for now: the resident memory
    // goes back, a later read brings it in again. For sources that were converted and are done with.
    void release(std::span<const std::byte> range) const;

    // Brings `range` into memory ahead of use, faulting pages in bulk instead of one at a time.
    void populate(std::span<const std::byte> range) const;

private:
    MappedFile(std::filesystem::path path, const std::byte* data, std::size_t size)
        : m_path(std::move(path)), m_data(data), m_size(size) {}

    std::filesystem::path m_path;
    const std::byte* m_data = nullptr;
    std::size_t m_size = 0;
};

}  // namespace qllama
