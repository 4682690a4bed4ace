// Writes one file of a checkpoint as torch.save does: torch.load opens it, and so do we, in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/common/result.h"
#include "engine/tensor/dtype.h"

namespace qllama {

// A tensor to be written, row-major without gaps.
struct TensorHeader {
    std::string name;
    DType dtype = DType::F16;  // a float type
    std::vector<std::int64_t> shape;

    [[nodiscard]] std::int64_t elementCount() const;
    [[nodiscard]] std::int64_t sizeBytes() const;
};

class ZipWriter;

// The file grows under a temporary name beside `path` and gets its own name at last, so that a file
// of that name is always whole. Memory use does not depend on the tensors. One thread at a time.
class CheckpointWriter {
public:
    static Result<std::unique_ptr<CheckpointWriter>> create(const std::filesystem::path& path,
                                                            std::vector<TensorHeader> tensors);
    ~CheckpointWriter();  // removes the temporary file unless it was committed
    CheckpointWriter(const CheckpointWriter&) = delete;
    CheckpointWriter& operator=(const CheckpointWriter&) = delete;

    // The bytes of all tensors in their order, in pieces of any size.
    Result<void> write(std::span<const std::byte> bytes);
    Result<void> finish();  // after all bytes: completes the temporary file
    Result<void> commit();  // after finish(): gives the file its name

private:
    CheckpointWriter(std::filesystem::path path, std::vector<TensorHeader> tensors);
    Result<void> beginNextTensor();

    std::filesystem::path m_path;
    std::filesystem::path m_temporary;
    std::vector<TensorHeader> m_tensors;
    std::unique_ptr<ZipWriter> m_zip;
    std::size_t m_next = 0;         // the tensor after the one being written
    std::uint64_t m_remaining = 0;  // bytes of the one being written
    bool m_removesTemporary = false;
};

}  // namespace qllama
