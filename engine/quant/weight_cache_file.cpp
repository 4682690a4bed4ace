#include "engine/quant/weight_cache_file.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "engine/common/content_checksum.h"

namespace qllama {
namespace {

constexpr std::string_view kMagic = "QLLaMAqw";
// Of this file, and of what the bytes of a matrix mean.
constexpr std::uint64_t kVersion = std::uint64_t{1} << 32 | kBlockLayoutVersion;
constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kHeaderBytes = kMagic.size() + kKeyBytes + 5 * sizeof(std::uint64_t);
constexpr std::uint64_t kMaxIndexBytes = 64U << 20;  // a thousand matrices need about 100 KB
constexpr std::uint64_t kMaxText = 1U << 16;
constexpr std::uint64_t kMaxExtent = 1U << 30;  // of a matrix; keeps products within 64 bits
constexpr std::size_t kChunkBytes = std::size_t{4} << 20;

std::span<const std::byte> bytesOf(std::string_view text) {
    return std::as_bytes(std::span(text));
}

void addNumber(std::string& out, std::uint64_t number) {
    out.append(reinterpret_cast<const char*>(&number), sizeof number);
}

void addText(std::string& out, std::string_view text) {
    text = text.substr(0, kMaxText);
    addNumber(out, text.size());
    out += text;
}

// Takes numbers and texts off the front of some bytes; from the first that is not there, nothing.
class Cursor {
public:
    explicit Cursor(std::span<const std::byte> bytes) : m_rest(bytes) {}

    std::uint64_t number() {
        std::uint64_t value = 0;
        const auto bytes = take(sizeof value);
        if (!bytes.empty()) std::memcpy(&value, bytes.data(), sizeof value);
        return value;
    }
    std::string text() {
        const std::uint64_t length = number();
        return length <= kMaxText ? string(length) : fail();
    }
    std::string string(std::size_t length) {
        const auto bytes = take(length);
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
    [[nodiscard]] bool ok() const { return m_ok; }

private:
    std::string fail() {
        m_ok = false;
        return {};
    }
    std::span<const std::byte> take(std::size_t count) {
        m_ok = m_ok && count <= m_rest.size();
        if (!m_ok) return {};
        const auto taken = m_rest.first(count);
        m_rest = m_rest.subspan(count);
        return taken;
    }

    std::span<const std::byte> m_rest;
    bool m_ok = true;
};

Error damaged(const char* how) {
    return {ErrorCode::InvalidFile, how, {}};
}

// Every matrix with its bytes inside the payload, which ends at `payloadEnd`.
bool isSound(const CachedMatrix& matrix, std::uint64_t payloadEnd) {
    const auto extentFits = [](std::int64_t extent) {
        return extent >= 1 && extent <= static_cast<std::int64_t>(kMaxExtent);
    };
    if (!extentFits(matrix.rows) || !extentFits(matrix.columns)) return false;
    if (matrix.offset == 0) return infoOf(matrix.format).hasExceptions;
    if (matrix.offset % kCachePage != 0 || matrix.offset > payloadEnd) return false;
    return matrix.sizeBytes() <= payloadEnd - matrix.offset;
}

std::optional<CacheIndex> decodeIndex(std::span<const std::byte> bytes, std::uint64_t payloadEnd) {
    Cursor cursor(bytes);
    CacheIndex index;
    index.modelName = cursor.text();
    index.precision = cursor.text();
    const std::uint64_t count = cursor.number();
    for (std::uint64_t i = 0; i < count && cursor.ok(); ++i) {
        CachedMatrix matrix;
        matrix.name = cursor.text();
        const std::uint64_t format = cursor.number();
        if (!formatFromNumber(format)) return std::nullopt;
        matrix.format = *formatFromNumber(format);
        matrix.rows = static_cast<std::int64_t>(cursor.number());
        matrix.columns = static_cast<std::int64_t>(cursor.number());
        matrix.offset = cursor.number();
        matrix.checksum = cursor.number();
        if (cursor.ok() && !isSound(matrix, payloadEnd)) return std::nullopt;
        index.matrices.push_back(std::move(matrix));
    }
    if (!cursor.ok()) return std::nullopt;
    return index;
}

struct Header {
    std::string key;
    std::uint64_t version = 0;
    std::uint64_t indexOffset = 0;
    std::uint64_t indexBytes = 0;
    std::uint64_t indexChecksum = 0;
};

Result<Header> decodeHeader(std::span<const std::byte> file) {
    if (file.size() < kHeaderBytes) return damaged("it is cut short");
    Cursor cursor(file.first(kHeaderBytes));
    if (cursor.string(kMagic.size()) != kMagic) return damaged("it is another kind of file");
    Header header;
    header.key = cursor.string(kKeyBytes);
    header.version = cursor.number();
    header.indexOffset = cursor.number();
    header.indexBytes = cursor.number();
    header.indexChecksum = cursor.number();
    const auto checked = file.first(kHeaderBytes - sizeof(std::uint64_t));
    if (cursor.number() != contentChecksum(checked)) return damaged("its header is damaged");
    return header;
}

}  // namespace

std::uint64_t CachedMatrix::sizeBytes() const {
    return offset == 0 ? 0 : static_cast<std::uint64_t>(form().sizeBytes());
}

BlockMatrix CachedMatrix::form() const {
    BlockMatrix matrix;
    matrix.format = format;
    matrix.rows = rows;
    matrix.columns = columns;
    return matrix;
}

BlockMatrix CachedMatrix::in(const std::shared_ptr<const MappedFile>& file) const {
    BlockMatrix matrix = form();
    if (offset != 0) matrix.placeAt(file->bytes().data() + offset, file);
    return matrix;
}

std::string encodeCacheIndex(const CacheIndex& index) {
    std::string out;
    addText(out, index.modelName);
    addText(out, index.precision);
    addNumber(out, index.matrices.size());
    for (const CachedMatrix& matrix : index.matrices) {
        addText(out, matrix.name);
        addNumber(out, static_cast<std::uint64_t>(matrix.format));
        addNumber(out, static_cast<std::uint64_t>(matrix.rows));
        addNumber(out, static_cast<std::uint64_t>(matrix.columns));
        addNumber(out, matrix.offset);
        addNumber(out, matrix.checksum);
    }
    return out;
}

std::string encodeCacheHeader(const CacheIndex& index, std::uint64_t indexOffset,
                              std::span<const std::byte> encodedIndex) {
    std::string header(kMagic);
    std::string key = index.key;
    key.resize(kKeyBytes, ' ');
    header += key;
    addNumber(header, kVersion);
    addNumber(header, indexOffset);
    addNumber(header, encodedIndex.size());
    addNumber(header, contentChecksum(encodedIndex));
    addNumber(header, contentChecksum(bytesOf(header)));
    return header;
}

Result<CacheIndex> decodeCacheFile(std::span<const std::byte> file) {
    QLLAMA_TRY(const Header header, decodeHeader(file));
    if (header.version != kVersion) return damaged("another version of the program wrote it");
    if (header.indexOffset > file.size() || header.indexBytes != file.size() - header.indexOffset)
        return damaged("it is cut short");
    const auto encoded = file.subspan(header.indexOffset);
    if (header.indexBytes > kMaxIndexBytes || contentChecksum(encoded) != header.indexChecksum)
        return damaged("its index is damaged");
    std::optional<CacheIndex> index = decodeIndex(encoded, header.indexOffset);
    if (!index) return damaged("its index makes no sense");
    index->key = header.key;
    return *index;
}

bool isOutdated(std::span<const std::byte> file) {
    const auto header = decodeHeader(file);
    return header.ok() && header.value().version < kVersion;
}

std::vector<std::span<const std::byte>> checksumChunks(const BlockMatrix& matrix) {
    std::vector<std::span<const std::byte>> chunks;
    if (!matrix.isMade()) return chunks;
    const auto add = [&chunks](std::span<const std::byte> bytes) {
        for (; !bytes.empty(); bytes = bytes.subspan(chunks.back().size()))
            chunks.push_back(bytes.first(std::min(bytes.size(), kChunkBytes)));
    };
    add({matrix.tiles, static_cast<std::size_t>(matrix.tilesBytes())});
    add(std::as_bytes(
        std::span(matrix.rowFactors, static_cast<std::size_t>(matrix.rowFactorsBytes()) / 4)));
    add({reinterpret_cast<const std::byte*>(matrix.exceptionEnds),
         static_cast<std::size_t>(matrix.exceptionsBytes())});
    return chunks;
}

std::uint64_t joinChecksums(std::span<const std::uint64_t> chunks) {
    return contentChecksum(std::as_bytes(chunks));
}

}  // namespace qllama
