// The file of quantised or packed weights:
//
//   header    one page: magic, version, key, where the index lies, checksums
//   payload   for each matrix, from a page boundary on: its tiles, row factors, exceptions; nothing for one
//             that cannot be packed
//   index     model, precision, and for each matrix: name, format, shape, offset, checksum
//
// Numbers are little-endian, as everything else that the program maps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/common/mapped_file.h"
#include "engine/common/result.h"
#include "engine/quant/block_matrix.h"

namespace qllama {

constexpr std::uint64_t kCachePage = 4096;

struct CachedMatrix {
    std::string name;
    BlockFormat format = BlockFormat::Q8;
    std::int64_t rows = 0;
    std::int64_t columns = 0;
    std::uint64_t offset = 0;    // of the tiles in the file; 0: it could not be packed
    std::uint64_t checksum = 0;  // of the payload, see checksumChunks()

    [[nodiscard]] std::uint64_t sizeBytes() const;  // in the file
    [[nodiscard]] BlockMatrix form() const;         // without bytes
    // In the mapped file, which it keeps mapped.
    [[nodiscard]] BlockMatrix in(const std::shared_ptr<const MappedFile>& file) const;
};

struct CacheIndex {
    std::string key;        // 32 characters: what the weights were made from, and how
    std::string modelName;  // for people
    std::string precision;
    std::vector<CachedMatrix> matrices;
};

std::string encodeCacheIndex(const CacheIndex& index);
// The header of a file whose payload ends where `index`, as encoded, begins.
std::string encodeCacheHeader(const CacheIndex& index, std::uint64_t indexOffset,
                              std::span<const std::byte> encodedIndex);

// Reads header and index of a whole file, not the payload. InvalidFile when the file is cut short,
// of another version, or damaged; every matrix is checked to lie inside it.
Result<CacheIndex> decodeCacheFile(std::span<const std::byte> file);

// Whether an intact header is that of an earlier version, whose weights nobody asks for any more.
[[nodiscard]] bool isOutdated(std::span<const std::byte> file);

// A matrix is checked in chunks, so that threads can share a large one; its checksum is
// joinChecksums() of contentChecksum() of each.
std::vector<std::span<const std::byte>> checksumChunks(const BlockMatrix& matrix);
std::uint64_t joinChecksums(std::span<const std::uint64_t> chunks);

}  // namespace qllama
