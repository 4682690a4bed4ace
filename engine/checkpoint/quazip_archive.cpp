#include "engine/checkpoint/quazip_archive.h"

#include <quazip/quazip.h>
#include <quazip/unzip.h>

#include <QIODevice>
#include <algorithm>
#include <cstring>
#include <new>

#include "engine/checkpoint/printable.h"
#include "engine/common/host_memory.h"

namespace qllama {
namespace {

constexpr std::size_t kMaxMembers = 200'000;    // the largest LLaMA has about 1,200 tensors
constexpr std::size_t kMaxMemberName = 65'535;  // 16 bits in the directory
constexpr int kMethodStored = 0;
constexpr int kMethodDeflated = 8;
constexpr unsigned kFlagEncrypted = 1;

// Deflate spends at least one bit on 258 bytes; more than that is a lie about the size.
constexpr std::uint64_t kMaxDeflateRatio = 1032;
constexpr std::uint64_t kDeflateSlack = 4096;

constexpr std::uint64_t kReadStep = 4U << 20;  // between two looks at the stop token

struct Entry {
    unz64_file_pos position{};
    std::uint64_t storedBytes = 0;
    int method = kMethodStored;
    bool encrypted = false;
};

// The mapping as QuaZip wants to read it: no copy, and a seek beyond the end fails in silence
// (QBuffer would print a warning). Open it unbuffered, so that only the pages asked for are touched.
class MappingDevice final : public QIODevice {
public:
    explicit MappingDevice(std::span<const std::byte> bytes) : m_bytes(bytes) {}

    [[nodiscard]] qint64 size() const override { return static_cast<qint64>(m_bytes.size()); }
    bool seek(qint64 position) override {
        return position >= 0 && position <= size() && QIODevice::seek(position);
    }

protected:
    qint64 readData(char* data, qint64 maximum) override {
        const qint64 count = std::min(maximum, size() - pos());
        if (count <= 0) return 0;
        std::memcpy(data, m_bytes.data() + pos(), static_cast<std::size_t>(count));
        return count;
    }
    qint64 writeData(const char*, qint64) override { return -1; }

private:
    std::span<const std::byte> m_bytes;
};

// The zip library takes bytes after the end of a file for zeros, so a cut through the very last
// records would go unnoticed: the end record with its comment must be there in full.
bool hasWholeEndRecord(std::span<const std::byte> bytes) {
    constexpr std::size_t kRecordBytes = 22;
    constexpr std::size_t kMaxComment = 65'535;
    bytes = bytes.last(std::min(bytes.size(), kRecordBytes + kMaxComment));
    const std::string_view tail(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const std::size_t record = tail.rfind("PK\x05\x06");
    if (record == std::string_view::npos || bytes.size() - record < kRecordBytes) return false;
    const auto byteAt = [&](std::size_t offset) {
        return static_cast<std::size_t>(bytes[record + offset]);
    };
    return bytes.size() - record - kRecordBytes >= (byteAt(20) | byteAt(21) << 8);
}

class QuaZipArchive final : public Archive {
public:
    explicit QuaZipArchive(std::shared_ptr<const MappedFile> file);
    ~QuaZipArchive() override;

    Result<void> readDirectory();
    [[nodiscard]] const std::vector<ArchiveMember>& members() const override { return m_members; }
    Result<MemberContent> read(std::size_t member, std::uint64_t maximumBytes) override;
    Result<StorageBytes> locate(std::size_t member, std::stop_token stop) override;

private:
    [[nodiscard]] Error failure(ErrorCode code, std::string message) const;
    [[nodiscard]] Error memberFailure(std::size_t member, ErrorCode code,
                                      const std::string& what) const;
    Result<void> addCurrentMember(std::string& nameBuffer);
    Result<void> checkReadable(std::size_t member) const;
    Result<StorageBytes> storedBytes(std::size_t member);
    Result<MemberContent> extracted(std::size_t member, std::stop_token stop);
    Result<void> extractInto(std::size_t member, std::span<std::byte> out, std::stop_token stop);

    std::shared_ptr<const MappedFile> m_file;
    MappingDevice m_device;  // QuaZip reads the very bytes that we point into
    QuaZip m_zip;
    std::vector<ArchiveMember> m_members;
    std::vector<Entry> m_entries;
    std::uint64_t m_inflatedBytes = 0;
};

QuaZipArchive::QuaZipArchive(std::shared_ptr<const MappedFile> file)
    : m_file(std::move(file)), m_device(m_file->bytes()), m_zip(&m_device) {
    m_device.open(QIODevice::ReadOnly | QIODevice::Unbuffered);
}

QuaZipArchive::~QuaZipArchive() {
    if (m_zip.isOpen()) m_zip.close();
}

Error QuaZipArchive::failure(ErrorCode code, std::string message) const {
    return {code, std::move(message), m_file->path().string()};
}

Error QuaZipArchive::memberFailure(std::size_t member, ErrorCode code,
                                   const std::string& what) const {
    return failure(code,
                   "Member \"" + printable(m_members[member].name) + "\" of the zip " + what + ".");
}

Result<void> QuaZipArchive::readDirectory() {
    if (!hasWholeEndRecord(m_file->bytes()) || !m_zip.open(QuaZip::mdUnzip)) {
        return failure(ErrorCode::InvalidFile,
                       "The file begins like a zip but has no zip directory at its end: it is "
                       "truncated or damaged. It has " +
                           std::to_string(m_file->bytes().size()) +
                           " bytes; compare that with the original and download it again.");
    }
    std::string nameBuffer(kMaxMemberName + 1, '\0');
    int status = unzGoToFirstFile(m_zip.getUnzFile());
    while (status == UNZ_OK) {
        if (m_members.size() >= kMaxMembers)
            return failure(ErrorCode::InvalidFile,
                           "The zip has more than " + std::to_string(kMaxMembers) +
                               " members; a checkpoint has no such number.");
        QLLAMA_CHECK(addCurrentMember(nameBuffer));
        status = unzGoToNextFile(m_zip.getUnzFile());
    }
    if (status != UNZ_END_OF_LIST_OF_FILE)
        return failure(ErrorCode::InvalidFile, "The zip directory is damaged after member " +
                                                   std::to_string(m_members.size()) + ".");
    return {};
}

Result<void> QuaZipArchive::addCurrentMember(std::string& nameBuffer) {
    unz_file_info64 info{};
    Entry entry;
    const bool ok = unzGetCurrentFileInfo64(m_zip.getUnzFile(), &info, nameBuffer.data(),
                                            static_cast<uLong>(nameBuffer.size()), nullptr, 0,
                                            nullptr, 0) == UNZ_OK &&
                    unzGetFilePos64(m_zip.getUnzFile(), &entry.position) == UNZ_OK;
    if (!ok)
        return failure(ErrorCode::InvalidFile, "The zip directory is damaged at member " +
                                                   std::to_string(m_members.size() + 1) + ".");
    entry.storedBytes = info.compressed_size;
    entry.method = static_cast<int>(info.compression_method);
    entry.encrypted = (info.flag & kFlagEncrypted) != 0;
    const std::size_t nameLength = std::min<std::size_t>(info.size_filename, kMaxMemberName);
    m_members.push_back({nameBuffer.substr(0, nameLength), info.uncompressed_size,
                         entry.method != kMethodStored, info.crc});
    m_entries.push_back(entry);
    return {};
}

Result<void> QuaZipArchive::checkReadable(std::size_t member) const {
    const Entry& entry = m_entries[member];
    const std::uint64_t size = m_members[member].sizeBytes;
    if (entry.encrypted)
        return memberFailure(member, ErrorCode::Unsupported,
                             "is encrypted; checkpoints with a password are not supported");
    if (entry.method != kMethodStored && entry.method != kMethodDeflated)
        return memberFailure(member, ErrorCode::Unsupported,
                             "uses a compression other than deflate; zip it again without "
                             "compression");
    if (entry.storedBytes > m_file->bytes().size())
        return memberFailure(member, ErrorCode::InvalidFile,
                             "claims to be longer than the whole file; the file is truncated or "
                             "damaged");
    if (entry.method == kMethodStored && entry.storedBytes != size)
        return memberFailure(member, ErrorCode::InvalidFile,
                             "is not compressed but has two different sizes in the directory");
    if (entry.method == kMethodDeflated &&
        size / kMaxDeflateRatio > entry.storedBytes + kDeflateSlack)
        return memberFailure(member, ErrorCode::InvalidFile,
                             "claims a size that its compressed bytes cannot expand to");
    return {};
}

Result<MemberContent> QuaZipArchive::read(std::size_t member, std::uint64_t maximumBytes) {
    QLLAMA_CHECK(checkReadable(member));
    if (m_members[member].sizeBytes > maximumBytes)
        return memberFailure(member, ErrorCode::InvalidFile,
                             "has " + std::to_string(m_members[member].sizeBytes) +
                                 " bytes where at most " + std::to_string(maximumBytes) +
                                 " make sense");
    return extracted(member, {});
}

Result<StorageBytes> QuaZipArchive::locate(std::size_t member, std::stop_token stop) {
    QLLAMA_CHECK(checkReadable(member));
    if (m_entries[member].method == kMethodStored) return storedBytes(member);
    QLLAMA_TRY(MemberContent content, extracted(member, std::move(stop)));
    if (!content.checksumMatches)
        return memberFailure(member, ErrorCode::InvalidFile,
                             "does not match its checksum; the file is damaged");
    return std::move(content.storage);
}

// Opening a member makes QuaZip compare its local header with the directory.
Result<StorageBytes> QuaZipArchive::storedBytes(std::size_t member) {
    const unzFile zip = m_zip.getUnzFile();
    const Entry& entry = m_entries[member];
    int method = 0;
    int level = 0;
    if (unzGoToFilePos64(zip, &entry.position) != UNZ_OK ||
        unzOpenCurrentFile2(zip, &method, &level, 1) != UNZ_OK)
        return memberFailure(member, ErrorCode::InvalidFile,
                             "has a header that disagrees with the directory; the file is damaged");
    const std::uint64_t offset = unzGetCurrentFileZStreamPos64(zip);
    unzCloseCurrentFile(zip);
    const auto bytes = m_file->bytes();
    if (offset > bytes.size() || entry.storedBytes > bytes.size() - offset)
        return memberFailure(member, ErrorCode::InvalidFile,
                             "reaches beyond the end of the file; the file is truncated or "
                             "damaged");
    return StorageBytes{bytes.subspan(offset, entry.storedBytes), m_file, m_file};
}

Result<MemberContent> QuaZipArchive::extracted(std::size_t member, std::stop_token stop) {
    const std::uint64_t size = m_members[member].sizeBytes;
    const std::int64_t known = totalMemoryBytes();
    const std::uint64_t memory = known > 0 ? static_cast<std::uint64_t>(known) : UINT64_MAX;
    if (size > memory - std::min(memory, m_inflatedBytes))
        return memberFailure(member, ErrorCode::OutOfMemory,
                             "is compressed and does not fit into memory with those before it; "
                             "unzip the file into a folder and open that");
    // Not initialised: pages that a lying size asked for are never touched.
    std::shared_ptr<std::byte[]> memoryBlock(new (std::nothrow) std::byte[size]);
    if (!memoryBlock)
        return memberFailure(member, ErrorCode::OutOfMemory,
                             "is compressed and does not fit into memory; unzip the file into a "
                             "folder and open that");
    const std::span<std::byte> out(memoryBlock.get(), size);
    QLLAMA_CHECK(extractInto(member, out, std::move(stop)));
    m_inflatedBytes += size;
    MemberContent content;
    content.storage = {out, memoryBlock, nullptr};
    content.checksumMatches = unzCloseCurrentFile(m_zip.getUnzFile()) != UNZ_CRCERROR;
    return content;
}

// Leaves the member open when it succeeds, so that closing it can tell about the checksum.
Result<void> QuaZipArchive::extractInto(std::size_t member, std::span<std::byte> out,
                                        std::stop_token stop) {
    const unzFile zip = m_zip.getUnzFile();
    if (unzGoToFilePos64(zip, &m_entries[member].position) != UNZ_OK ||
        unzOpenCurrentFile(zip) != UNZ_OK)
        return memberFailure(member, ErrorCode::InvalidFile,
                             "has a header that disagrees with the directory; the file is damaged");
    std::size_t done = 0;
    while (done < out.size()) {
        const auto step =
            static_cast<unsigned>(std::min<std::size_t>(out.size() - done, kReadStep));
        const int count =
            stop.stop_requested() ? UNZ_ERRNO : unzReadCurrentFile(zip, out.data() + done, step);
        if (count <= 0) {
            unzCloseCurrentFile(zip);
            if (stop.stop_requested()) return cancelledError();
            return memberFailure(member, ErrorCode::InvalidFile, "ends early or is damaged inside");
        }
        done += static_cast<std::size_t>(count);
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<Archive>> openZipArchive(std::shared_ptr<const MappedFile> file) {
    auto archive = std::make_unique<QuaZipArchive>(std::move(file));
    QLLAMA_CHECK(archive->readDirectory());
    return std::unique_ptr<Archive>(std::move(archive));
}

}  // namespace qllama
