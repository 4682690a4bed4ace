// Writes a zip of stored members through QuaZip, the way torch.save lays them out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "engine/common/result.h"

namespace qllama {

// Members go to the file as they arrive; memory use does not depend on their size. One thread at a
// time. Failures of the disk are Io errors that say what the system said.
class ZipWriter {
public:
    // Refuses a file that is there already.
    static Result<std::unique_ptr<ZipWriter>> create(const std::filesystem::path& path);
    ~ZipWriter();
    ZipWriter(const ZipWriter&) = delete;
    ZipWriter& operator=(const ZipWriter&) = delete;

    // Ends the member before. Exactly `sizeBytes` bytes must follow, at an offset in the file that
    // is a multiple of 64.
    Result<void> beginMember(const std::string& name, std::uint64_t sizeBytes);
    Result<void> write(std::span<const std::byte> bytes);

    // Writes the directory; a file whose writer was destroyed before that is not a zip.
    Result<void> finish();

private:
    struct Impl;
    explicit ZipWriter(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> m_impl;
};

}  // namespace qllama
