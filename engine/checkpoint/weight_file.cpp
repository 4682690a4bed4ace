#include "engine/checkpoint/weight_file.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <memory>

#include "engine/checkpoint/folder_archive.h"
#include "engine/checkpoint/quazip_archive.h"
#include "engine/checkpoint/torch_archive.h"
#include "engine/checkpoint/torch_legacy.h"
#include "engine/common/content_checksum.h"
#include "engine/common/mapped_file.h"

namespace qllama {
namespace {

namespace fs = std::filesystem;
using FilePointer = std::shared_ptr<const MappedFile>;

constexpr std::size_t kHeadBytes = 512;

std::string_view headOf(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), std::min(bytes.size(), kHeadBytes)};
}

// The head in lower case, without leading blanks and byte order mark: for text of any make.
std::string looseText(std::span<const std::byte> bytes) {
    std::string_view head = headOf(bytes);
    if (head.starts_with("\xEF\xBB\xBF")) head.remove_prefix(3);
    while (!head.empty() && std::isspace(static_cast<unsigned char>(head.front())) != 0)
        head.remove_prefix(1);
    std::string text(head);
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char character) {
        return static_cast<char>(std::tolower(character));
    });
    return text;
}

bool isZip(std::span<const std::byte> bytes) {
    const std::string_view head = headOf(bytes);
    return head.starts_with("PK\x03\x04") || head.starts_with("PK\x05\x06");
}

std::uint64_t fingerprintOf(const Archive& archive) {
    std::uint64_t sum = 0;
    for (const ArchiveMember& member : archive.members()) {
        const std::uint64_t facts[] = {member.sizeBytes, member.stamp};
        sum = contentChecksum(std::as_bytes(std::span(member.name)), sum);
        sum = contentChecksum(std::as_bytes(std::span(facts)), sum);
    }
    return sum;
}

Result<void> readZip(const FilePointer& file, const std::string& label, std::stop_token stop,
                     WeightFile& result) {
    QLLAMA_TRY(const auto archive, openZipArchive(file));
    result.fingerprint = fingerprintOf(*archive);
    QLLAMA_TRY(result.content, readTorchArchive(*archive, label, std::move(stop)));
    return {};
}

Result<void> readLegacy(const FilePointer& file, const std::string& label, std::stop_token,
                        WeightFile& result) {
    std::error_code failed;
    const auto changed = fs::last_write_time(file->path(), failed).time_since_epoch().count();
    result.fingerprint = contentChecksum(std::as_bytes(std::span(&changed, 1)));
    QLLAMA_TRY(result.content, readLegacyTorchFile(file, label));
    return {};
}

struct Reader {
    const char* format;
    bool (*recognises)(std::span<const std::byte>);
    Result<void> (*read)(const FilePointer&, const std::string&, std::stop_token, WeightFile&);
};

constexpr Reader kReaders[] = {
    {"zip", isZip, readZip},
    {"legacy", isLegacyTorchFile, readLegacy},
};

// Files that people have in place of a checkpoint, and what to do about each.
struct OtherKind {
    bool (*recognises)(std::span<const std::byte>);
    const char* sentence;
};

constexpr OtherKind kOtherKinds[] = {
    {[](std::span<const std::byte> bytes) {
         const std::string text = looseText(bytes);
         return text.starts_with("<!doctype html") || text.starts_with("<html") ||
                text.starts_with("<head");
     },
     "This is an HTML page, probably a failed download (a log-in or error page). Open it in a "
     "browser to see what it says, then download the file again."},
    {[](std::span<const std::byte> bytes) { return looseText(bytes).starts_with("<?xml"); },
     "This is an XML document, probably the error message of a failed download. Open it in an "
     "editor to see what it says, then download the file again."},
    {[](std::span<const std::byte> bytes) {
         return headOf(bytes).starts_with("version https://git-lfs");
     },
     "This is a Git LFS pointer, a few lines of text in place of the file itself. Run \"git lfs "
     "pull\" in the repository to get the weights."},
    {[](std::span<const std::byte> bytes) { return headOf(bytes).starts_with("GGUF"); },
     "This is a GGUF file (llama.cpp's format). Only PyTorch checkpoints in Meta's layout are "
     "supported."},
    {[](std::span<const std::byte> bytes) {
         const std::string_view head = headOf(bytes);
         return head.starts_with("lmgg") || head.starts_with("fmgg") || head.starts_with("tjgg");
     },
     "This is a GGML file (an old format of llama.cpp). Only PyTorch checkpoints in Meta's layout "
     "are supported."},
    {[](std::span<const std::byte> bytes) {
         // A 64-bit length, then that much JSON.
         const std::string_view head = headOf(bytes);
         return head.size() > 9 && head[8] == '{' && head[6] == 0 && head[7] == 0;
     },
     "This is a safetensors file. Only PyTorch checkpoints in Meta's layout (consolidated.00.pth) "
     "are supported."},
    {[](std::span<const std::byte> bytes) { return headOf(bytes).starts_with("\x1F\x8B"); },
     "This is a gzip file. Unpack it with gunzip or tar first, then open what was inside."},
    {[](std::span<const std::byte> bytes) {
         const std::string_view head = headOf(bytes);
         return head.size() > 262 && head.substr(257, 5) == "ustar";
     },
     "This is a tar archive: either packed weights, which must be unpacked first, or the format of "
     "torch before version 0.1.10, which is not supported. Open it in torch and save it again."},
    {[](std::span<const std::byte> bytes) { return looseText(bytes).starts_with("{"); },
     "This is a JSON file, not weights. Choose the folder that holds the .pth files, or the file "
     "named params.json."},
    {[](std::span<const std::byte> bytes) {
         const std::string_view head = headOf(bytes);
         return head.find_first_not_of('\0') == std::string_view::npos;
     },
     "The file begins with nothing but zero bytes: a download or copy of it was interrupted. Get "
     "it again."},
    {[](std::span<const std::byte> bytes) { return headOf(bytes).starts_with("\x80"); },
     "This is a Python pickle, but not one that torch.save wrote."},
};

Error unknownKind(std::span<const std::byte> bytes, const std::string& label) {
    for (const OtherKind& kind : kOtherKinds)
        if (kind.recognises(bytes)) return {ErrorCode::Unsupported, kind.sentence, label};
    return {ErrorCode::InvalidFile,
            "This is not a checkpoint that torch.save wrote: it is neither a zip nor a pickle. It "
            "may be damaged, or a file of another program.",
            label};
}

}  // namespace

Result<void> checkWeightFileKind(const fs::path& path) {
    std::error_code failed;
    if (fs::is_directory(path, failed)) return {};
    QLLAMA_TRY(const FilePointer file, MappedFile::open(path));
    const bool isKnown =
        std::any_of(std::begin(kReaders), std::end(kReaders),
                    [&file](const Reader& reader) { return reader.recognises(file->bytes()); });
    if (isKnown) return {};
    return unknownKind(file->bytes(), path.string());
}

Result<WeightFile> openWeightFile(const fs::path& path, std::stop_token stop) {
    const std::string label = path.string();
    std::error_code failed;
    WeightFile result;
    if (fs::is_directory(path, failed)) {
        QLLAMA_TRY(const auto archive, openFolderArchive(path));
        for (const ArchiveMember& member : archive->members())
            result.sizeBytes += static_cast<std::int64_t>(member.sizeBytes);
        result.format = "unzipped";
        result.fingerprint = fingerprintOf(*archive);
        QLLAMA_TRY(result.content, readTorchArchive(*archive, label, std::move(stop)));
        return result;
    }
    QLLAMA_TRY(const FilePointer file, MappedFile::open(path));
    result.sizeBytes = static_cast<std::int64_t>(file->bytes().size());
    for (const Reader& reader : kReaders) {
        if (!reader.recognises(file->bytes())) continue;
        result.format = reader.format;
        QLLAMA_CHECK(reader.read(file, label, std::move(stop), result));
        return result;
    }
    return unknownKind(file->bytes(), label);
}

}  // namespace qllama
