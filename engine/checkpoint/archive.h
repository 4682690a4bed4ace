// A set of named members: the zip that torch.save writes, or the folder one gets by unzipping it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/common/result.h"
#include "engine/tensor/stored_tensor.h"

namespace qllama {

struct ArchiveMember {
    std::string name;  // bytes as stored, usually UTF-8, with '/' between folders
    std::uint64_t sizeBytes = 0;
    bool compressed = false;
    // Tells one content from another: the CRC-32, or the time of the last change of a file.
    std::uint64_t stamp = 0;
};

// Content of a small member. torch itself may write a wrong checksum on request
// (torch.serialization.set_crc32_options), so a mismatch is reported and not yet an error.
struct MemberContent {
    StorageBytes storage;
    bool checksumMatches = true;
};

// One thread at a time. What read() and locate() return stays valid after the archive is gone.
class Archive {
public:
    virtual ~Archive() = default;

    [[nodiscard]] virtual const std::vector<ArchiveMember>& members() const = 0;

    // The content of a small member; refuses one of more than `maximumBytes`.
    virtual Result<MemberContent> read(std::size_t member, std::uint64_t maximumBytes) = 0;

    // The bytes of a member that holds weights: where they lie in the mapped file without a copy,
    // or inflated into memory when the archive compressed them (`stop` is polled then).
    virtual Result<StorageBytes> locate(std::size_t member, std::stop_token stop) = 0;
};

}  // namespace qllama
