#include "engine/checkpoint/folder_archive.h"

#include <system_error>

#include "engine/checkpoint/printable.h"
#include "engine/common/mapped_file.h"

namespace qllama {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxFiles = 200'000;

class FolderArchive final : public Archive {
public:
    explicit FolderArchive(fs::path folder) : m_folder(std::move(folder)) {}

    Result<void> list(const std::string& subfolder);
    [[nodiscard]] const std::vector<ArchiveMember>& members() const override { return m_members; }
    Result<MemberContent> read(std::size_t member, std::uint64_t maximumBytes) override;
    Result<StorageBytes> locate(std::size_t member, std::stop_token stop) override;

private:
    fs::path m_folder;
    std::vector<ArchiveMember> m_members;
};

Result<void> FolderArchive::list(const std::string& subfolder) {
    std::error_code failed;
    fs::directory_iterator entry(m_folder / subfolder, failed);
    for (; entry != fs::directory_iterator(); entry.increment(failed)) {
        if (!entry->is_regular_file(failed)) continue;
        if (m_members.size() >= kMaxFiles)
            return Error{ErrorCode::InvalidFile,
                         "The folder has more than " + std::to_string(kMaxFiles) +
                             " files; an unzipped checkpoint has no such number.",
                         m_folder.string()};
        const std::uintmax_t size = entry->file_size(failed);
        if (failed) continue;
        const std::string prefix = subfolder.empty() ? "" : subfolder + "/";
        const auto changed = entry->last_write_time(failed).time_since_epoch().count();
        m_members.push_back({prefix + entry->path().filename().string(), size, false,
                             static_cast<std::uint64_t>(changed)});
    }
    // Of the last step: the first, or one that ended the loop early.
    if (failed)
        return Error{ErrorCode::Io, "Cannot list the folder: " + failed.message() + ".",
                     (m_folder / subfolder).string()};
    return {};
}

Result<MemberContent> FolderArchive::read(std::size_t member, std::uint64_t maximumBytes) {
    const ArchiveMember& file = m_members[member];
    if (file.sizeBytes > maximumBytes)
        return Error{ErrorCode::InvalidFile,
                     "The file has " + std::to_string(file.sizeBytes) + " bytes where at most " +
                         std::to_string(maximumBytes) + " make sense.",
                     (m_folder / file.name).string()};
    QLLAMA_TRY(StorageBytes storage, locate(member, {}));
    return MemberContent{std::move(storage), true};
}

Result<StorageBytes> FolderArchive::locate(std::size_t member, std::stop_token) {
    if (m_members[member].sizeBytes == 0) return StorageBytes{};  // nothing to map
    QLLAMA_TRY(auto file, MappedFile::open(m_folder / m_members[member].name));
    return StorageBytes{file->bytes(), file, file};
}

}  // namespace

Result<std::unique_ptr<Archive>> openFolderArchive(const std::filesystem::path& folder) {
    auto archive = std::make_unique<FolderArchive>(folder);
    QLLAMA_CHECK(archive->list(""));
    std::error_code failed;
    if (fs::is_directory(folder / "data", failed)) QLLAMA_CHECK(archive->list("data"));
    return std::unique_ptr<Archive>(std::move(archive));
}

}  // namespace qllama
