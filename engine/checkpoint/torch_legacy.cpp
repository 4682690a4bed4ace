#include "engine/checkpoint/torch_legacy.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "engine/checkpoint/printable.h"
#include "engine/checkpoint/torch_globals.h"

namespace qllama {
namespace {

// 0x1950a86a20f9469cfc6c as a pickle stores it: little endian, two's complement.
constexpr std::string_view kMagic("\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19", 10);
constexpr std::int64_t kProtocolVersion = 1001;
constexpr std::size_t kCountBytes = sizeof(std::int64_t);
constexpr std::size_t kLongestMagicPickle = 64;

bool noGlobals(std::string_view, std::string_view) {
    return false;
}

class LegacyFile {
public:
    LegacyFile(const std::shared_ptr<const MappedFile>& file, const std::string& label)
        : m_file(file), m_label(label) {}

    Result<StateDict> read();

private:
    [[nodiscard]] Error failure(const std::string& message,
                                ErrorCode code = ErrorCode::InvalidFile) const {
        return {code, message, m_label};
    }
    Result<PickleDocument> nextPickle(PickleGlobalFilter isAllowed, const char* what);
    Result<void> readHeader();
    Result<void> checkByteOrder(const PickleDocument& facts) const;
    Result<void> readElementSizes(const PickleDocument& object);
    Result<void> locateStorages(const PickleDocument& keys);
    Result<void> locateStorage(const std::string& key);
    Result<StorageBytes> storage(const StorageReference& reference) const;

    const std::shared_ptr<const MappedFile>& m_file;
    const std::string& m_label;
    std::size_t m_position = 0;
    std::map<std::string, int> m_elementBytes;  // by key, from the object's pickle
    std::map<std::string, StorageBytes> m_storages;
};

Result<PickleDocument> LegacyFile::nextPickle(PickleGlobalFilter isAllowed, const char* what) {
    QLLAMA_TRY(PickleDocument document, parsePickle(m_file->bytes().subspan(m_position), isAllowed,
                                                    m_label + ": " + what, m_position));
    m_position += document.sizeBytes;
    return document;
}

Result<void> LegacyFile::readHeader() {
    QLLAMA_TRY([[maybe_unused]] const PickleDocument magic, nextPickle(noGlobals, "magic number"));
    QLLAMA_TRY(const PickleDocument version, nextPickle(noGlobals, "version"));
    const PickleNode& number = version.at(version.root);
    if (number.kind != PickleKind::Int || number.integer != kProtocolVersion)
        return failure(
            "The file is in an old torch format of a version that is not known; 1001 "
            "was expected. Open it in torch and save it again.",
            ErrorCode::Unsupported);
    QLLAMA_TRY(const PickleDocument facts, nextPickle(noGlobals, "system facts"));
    return checkByteOrder(facts);
}

Result<void> LegacyFile::checkByteOrder(const PickleDocument& facts) const {
    const PickleNode& dict = facts.at(facts.root);
    if (dict.kind != PickleKind::Dict)
        return failure(
            "The file is damaged: the facts about the system that wrote it are missing.");
    for (std::size_t index = 0; index + 1 < dict.items.size(); index += 2) {
        const PickleNode& value = facts.at(dict.items[index + 1]);
        if (facts.at(dict.items[index]).text == "little_endian" && value.integer != 1)
            return failure(
                "The checkpoint stores its numbers in the byte order \"big\"; only "
                "\"little\" is supported.",
                ErrorCode::Unsupported);
    }
    return {};
}

Result<void> LegacyFile::readElementSizes(const PickleDocument& object) {
    QLLAMA_TRY(const auto references, storagesOf(object, m_label));
    for (const StorageReference& reference : references) {
        if (!reference.dtype && !reference.isUntyped)
            return failure(
                "The file holds elements of a type that is not supported (complex or "
                "quantised), so what follows them cannot be found.",
                ErrorCode::Unsupported);
        const int size = reference.isUntyped ? 1 : sizeOf(*reference.dtype);
        if (const auto known = m_elementBytes.emplace(reference.key, size);
            known.first->second != size)
            return failure("The storage \"" + printable(reference.key) +
                           "\" is said to have two different element types.");
    }
    return {};
}

Result<void> LegacyFile::locateStorages(const PickleDocument& keys) {
    const PickleNode& list = keys.at(keys.root);
    if (list.kind != PickleKind::List)
        return failure("The file is damaged: the list of its storages is missing.");
    for (const PickleId item : list.items) {
        const PickleNode& key = keys.at(item);
        if (key.kind != PickleKind::Text)
            return failure("The file is damaged: the list of its storages holds something else.");
        QLLAMA_CHECK(locateStorage(std::string(key.text)));
    }
    return {};
}

Result<void> LegacyFile::locateStorage(const std::string& key) {
    const auto element = m_elementBytes.find(key);
    if (element == m_elementBytes.end())
        return failure("The file is damaged: no tensor uses its storage \"" + printable(key) +
                       "\".");
    const auto bytes = m_file->bytes();
    const Error truncated =
        failure("The file ends before the bytes of its storage \"" + printable(key) +
                "\"; it is truncated. Download or copy it again.");
    if (bytes.size() - m_position < kCountBytes) return truncated;
    std::int64_t count = 0;
    std::memcpy(&count, bytes.data() + m_position, kCountBytes);
    m_position += kCountBytes;
    const std::size_t left = bytes.size() - m_position;
    const auto elementBytes = static_cast<std::size_t>(element->second);
    if (count < 0 || static_cast<std::uint64_t>(count) > left / elementBytes) return truncated;
    const std::size_t size = static_cast<std::size_t>(count) * elementBytes;
    m_storages[key] = {bytes.subspan(m_position, size), m_file, m_file};
    m_position += size;
    return {};
}

Result<StorageBytes> LegacyFile::storage(const StorageReference& reference) const {
    const auto found = m_storages.find(reference.key);
    if (found == m_storages.end())
        return failure("The storage \"" + printable(reference.key) +
                       "\" with the bytes of a tensor is missing; the file is incomplete.");
    StorageBytes storage = found->second;
    const auto elementBytes = static_cast<std::size_t>(m_elementBytes.at(reference.key));
    const auto offset = static_cast<std::size_t>(reference.viewOffset);
    if (offset > storage.bytes.size() / elementBytes)
        return failure("A view of the storage \"" + printable(reference.key) +
                       "\" begins beyond its end; the file is damaged.");
    storage.bytes = storage.bytes.subspan(offset * elementBytes);
    return storage;
}

Result<StateDict> LegacyFile::read() {
    QLLAMA_CHECK(readHeader());
    QLLAMA_TRY(const PickleDocument object, nextPickle(isTorchGlobal, "pickle"));
    QLLAMA_CHECK(readElementSizes(object));
    QLLAMA_TRY(const PickleDocument keys, nextPickle(noGlobals, "list of storages"));
    QLLAMA_CHECK(locateStorages(keys));
    return readStateDict(
        object, [&](const StorageReference& reference) { return storage(reference); }, m_label);
}

}  // namespace

bool isLegacyTorchFile(std::span<const std::byte> bytes) {
    const auto head = bytes.first(std::min(bytes.size(), kLongestMagicPickle));
    const auto document = parsePickle(head, noGlobals, "");
    if (!document.ok()) return false;
    const PickleNode& root = document.value().at(document.value().root);
    return root.kind == PickleKind::BigInt && root.text == kMagic;
}

Result<StateDict> readLegacyTorchFile(const std::shared_ptr<const MappedFile>& file,
                                      const std::string& label) {
    return LegacyFile(file, label).read();
}

}  // namespace qllama
