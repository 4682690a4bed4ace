#include "engine/checkpoint/torch_archive.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "engine/checkpoint/printable.h"
#include "engine/checkpoint/torch_globals.h"

namespace qllama {
namespace {

constexpr std::string_view kPickleName = "data.pkl";
constexpr std::uint64_t kMaxPickleBytes = 64U << 20;  // a thousand tensors need about 200 KiB
constexpr std::uint64_t kMaxByteOrderBytes = 64;

class TorchArchive {
public:
    TorchArchive(Archive& archive, const std::string& label, std::stop_token stop)
        : m_archive(archive), m_label(label), m_stop(std::move(stop)) {}

    Result<StateDict> read();

private:
    [[nodiscard]] Error failure(const std::string& message,
                                ErrorCode code = ErrorCode::InvalidFile) const {
        return {code, message, m_label};
    }
    Result<void> indexMembers();
    Result<void> findPickle();
    [[nodiscard]] Error missingPickle() const;
    Result<void> checkByteOrder();
    Result<StorageBytes> storage(const StorageReference& reference);

    Archive& m_archive;
    const std::string& m_label;
    std::stop_token m_stop;
    std::unordered_map<std::string_view, std::size_t> m_byName;
    std::unordered_map<std::string, StorageBytes> m_storages;  // shared ones are read once
    std::size_t m_pickle = 0;
    std::string m_prefix;  // "archive/", or empty
};

Result<void> TorchArchive::indexMembers() {
    const auto& members = m_archive.members();
    for (std::size_t index = 0; index < members.size(); ++index)
        if (!m_byName.emplace(members[index].name, index).second)
            return failure("The zip has two members named \"" + printable(members[index].name) +
                           "\"; it is damaged or was made to deceive.");
    return {};
}

// The one that lies highest; torch writes exactly one, below a folder of any name.
Result<void> TorchArchive::findPickle() {
    const auto& members = m_archive.members();
    std::vector<std::size_t> found;
    for (std::size_t index = 0; index < members.size(); ++index) {
        const std::string_view name = members[index].name;
        if (!name.ends_with(kPickleName)) continue;
        const std::string_view prefix = name.substr(0, name.size() - kPickleName.size());
        if (prefix.empty() || prefix.back() == '/') found.push_back(index);
    }
    if (found.empty()) return missingPickle();
    const auto levelOf = [&](std::size_t index) {
        return std::count(members[index].name.begin(), members[index].name.end(), '/');
    };
    std::stable_sort(found.begin(), found.end(), [&](std::size_t left, std::size_t right) {
        return levelOf(left) < levelOf(right);
    });
    if (found.size() > 1 && levelOf(found[0]) == levelOf(found[1]))
        return failure("The file holds several checkpoints, \"" +
                       printable(members[found[0]].name) + "\" and \"" +
                       printable(members[found[1]].name) + "\"; one was expected.");
    m_pickle = found.front();
    const std::string& name = members[m_pickle].name;
    m_prefix = name.substr(0, name.size() - kPickleName.size());
    if (m_byName.contains(m_prefix + "constants.pkl"))
        return failure(
            "This is a TorchScript program, not a checkpoint of weights. Save the "
            "model's state_dict() with torch.save instead.",
            ErrorCode::Unsupported);
    return {};
}

Error TorchArchive::missingPickle() const {
    std::string message = "The file has no \"data.pkl\", so torch.save did not write it";
    const auto& members = m_archive.members();
    if (!members.empty()) message += "; its first member is \"" + printable(members[0].name) + "\"";
    const bool holdsCheckpoint =
        std::any_of(members.begin(), members.end(),
                    [](const ArchiveMember& member) { return member.name.ends_with(".pth"); });
    message += holdsCheckpoint ? ". Unpack it first and open the .pth inside." : ".";
    return failure(message);
}

Result<void> TorchArchive::checkByteOrder() {
    const auto found = m_byName.find(m_prefix + "byteorder");
    if (found == m_byName.end()) return {};
    QLLAMA_TRY(const MemberContent content, m_archive.read(found->second, kMaxByteOrderBytes));
    const auto bytes = content.storage.bytes;
    const std::string_view order(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (order == "little") return {};
    return failure("The checkpoint stores its numbers in the byte order \"" + printable(order) +
                       "\"; only \"little\" is supported.",
                   ErrorCode::Unsupported);
}

Result<StorageBytes> TorchArchive::storage(const StorageReference& reference) {
    if (const auto known = m_storages.find(reference.key); known != m_storages.end())
        return known->second;
    if (m_stop.stop_requested()) return cancelledError();
    const std::string name = m_prefix + "data/" + reference.key;
    const auto member = m_byName.find(name);
    if (member == m_byName.end())
        return failure("The member \"" + printable(name) +
                       "\" with the bytes of a tensor is missing; the file is incomplete.");
    const int elementBytes = reference.isUntyped ? 1 : sizeOf(reference.dtype.value_or(DType::U8));
    const std::uint64_t size = m_archive.members()[member->second].sizeBytes;
    // Compressed members are paid for with memory: never more than the pickle asks for.
    if (m_archive.members()[member->second].compressed &&
        size / static_cast<std::uint64_t>(elementBytes) >
            static_cast<std::uint64_t>(reference.elementCount))
        return failure("The compressed member \"" + printable(name) + "\" claims " +
                       std::to_string(size) + " bytes, more than its " +
                       std::to_string(reference.elementCount) + " elements need.");
    QLLAMA_TRY(StorageBytes storage, m_archive.locate(member->second, m_stop));
    m_storages.emplace(reference.key, storage);
    return storage;
}

Result<StateDict> TorchArchive::read() {
    QLLAMA_CHECK(indexMembers());
    QLLAMA_CHECK(findPickle());
    QLLAMA_CHECK(checkByteOrder());
    QLLAMA_TRY(const MemberContent pickle, m_archive.read(m_pickle, kMaxPickleBytes));
    const std::string pickleLabel = m_label + ": " + printable(m_prefix) + std::string(kPickleName);
    // torch's own reader does not insist on the checksum; a damaged pickle rarely makes sense, and
    // then the checksum tells why.
    const auto explain = [&](Error error) {
        if (!pickle.checksumMatches && error.code == ErrorCode::InvalidFile)
            error.message += " Its checksum does not match either: the file is damaged.";
        return error;
    };
    auto document = parsePickle(pickle.storage.bytes, isTorchGlobal, pickleLabel);
    if (!document.ok()) return explain(document.error());
    auto dict = readStateDict(
        document.value(), [&](const StorageReference& reference) { return storage(reference); },
        m_label);
    if (!dict.ok()) return explain(dict.error());
    if (!pickle.checksumMatches)
        dict.value().notes.push_back(
            "The checksum of \"data.pkl\" does not match; the file may be damaged.");
    return dict;
}

}  // namespace

Result<StateDict> readTorchArchive(Archive& archive, const std::string& label,
                                   std::stop_token stop) {
    return TorchArchive(archive, label, std::move(stop)).read();
}

}  // namespace qllama
