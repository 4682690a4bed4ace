// Writes large files so that reading them back mapped is fast.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace qllama {

// Appends to a file in whole blocks of 2 MiB at multiples of 2 MiB. A file system with large folios
// (ext4 from Linux 6.16 on, XFS) then keeps each block in one piece in the page cache, and a mapping
// of it needs one entry of the page table instead of 512. On others it is merely a large buffer.
//
// Not thread-safe. After the first failure everything returns false and errorNumber() says why.
class BlockWriter {
public:
    explicit BlockWriter(int descriptor) : m_descriptor(descriptor) {}  // stays the caller's

    bool append(std::span<const std::byte> bytes);
    bool appendZeros(std::uint64_t count);
    // Replaces bytes that were appended before.
    bool overwrite(std::uint64_t offset, std::span<const std::byte> bytes);
    // Writes what is still held back; to be called at the end.
    bool flush();

    [[nodiscard]] std::uint64_t position() const { return m_heldFrom + m_held.size(); }
    // How much of that is in the file already.
    [[nodiscard]] std::uint64_t written() const { return m_heldFrom; }
    [[nodiscard]] int errorNumber() const { return m_errorNumber; }

private:
    bool writeAt(std::uint64_t offset, std::span<const std::byte> bytes);

    int m_descriptor;
    int m_errorNumber = 0;
    std::uint64_t m_heldFrom = 0;   // where m_held belongs in the file
    std::vector<std::byte> m_held;  // less than a block
};

}  // namespace qllama
