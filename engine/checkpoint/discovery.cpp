#include "engine/checkpoint/discovery.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <system_error>

#include "engine/checkpoint/printable.h"

namespace qllama {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNumberedPrefix = "consolidated.";
constexpr const char* kParamsName = "params.json";
constexpr const char* kTokenizerName = "tokenizer.model";
constexpr const char* kPickleName = "data.pkl";
constexpr std::size_t kMaxShards = 1024;
constexpr std::size_t kNamedInError = 8;

bool isFile(const fs::path& path) {
    std::error_code failed;
    return fs::is_regular_file(path, failed);
}

bool isFolder(const fs::path& path) {
    std::error_code failed;
    return fs::is_directory(path, failed);
}

// The folder with data.pkl: `path` itself, or the only folder in it (the zip's own prefix).
std::optional<fs::path> unzippedFolder(const fs::path& path) {
    if (!isFolder(path)) return std::nullopt;
    if (isFile(path / kPickleName)) return path;
    std::error_code failed;
    std::optional<fs::path> found;
    for (fs::directory_iterator entry(path, failed), end; !failed && entry != end;
         entry.increment(failed)) {
        if (!isFile(entry->path() / kPickleName)) continue;
        if (found) return std::nullopt;
        found = entry->path();
    }
    return found;
}

// 3 for "consolidated.03.pth" and "consolidated.03".
std::optional<std::size_t> shardNumber(const fs::path& path) {
    std::string name = path.filename().string();
    if (!name.starts_with(kNumberedPrefix)) return std::nullopt;
    name.erase(0, kNumberedPrefix.size());
    if (name.ends_with(".pth")) name.erase(name.size() - 4);
    std::size_t number = 0;
    const auto [end, failed] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (name.empty() || failed != std::errc() || end != name.data() + name.size())
        return std::nullopt;
    return number;
}

Result<std::vector<fs::path>> listFolder(const fs::path& folder) {
    std::error_code failed;
    std::vector<fs::path> paths;
    for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end;
         entry.increment(failed))
        paths.push_back(entry->path());
    if (failed)
        return Error{ErrorCode::Io, "Cannot list the folder: " + failed.message() + ".",
                     folder.string()};
    std::sort(paths.begin(), paths.end());
    return paths;
}

// A .pth before the folder it was unzipped into.
std::map<std::size_t, fs::path> numberedShards(const std::vector<fs::path>& paths) {
    std::map<std::size_t, fs::path> shards;
    for (const fs::path& path : paths) {
        const auto number = shardNumber(path);
        if (!number) continue;
        if (path.extension() == ".pth" && isFile(path))
            shards.insert_or_assign(*number, path);
        else if (const auto unzipped = unzippedFolder(path))
            shards.emplace(*number, *unzipped);
    }
    return shards;
}

Result<std::vector<fs::path>> inOrder(const std::map<std::size_t, fs::path>& shards,
                                      const fs::path& folder, Completeness completeness) {
    std::vector<fs::path> paths;
    std::vector<std::string> missing;
    const std::size_t last = shards.rbegin()->first;
    if (last >= kMaxShards)
        return Error{ErrorCode::InvalidFile,
                     "\"" + shards.rbegin()->second.filename().string() +
                         "\" cannot be one of the files of a model: the number is too high.",
                     folder.string()};
    for (std::size_t number = 0; number <= last; ++number) {
        const auto found = shards.find(number);
        if (found != shards.end())
            paths.push_back(found->second);
        else if (missing.size() < kNamedInError)
            missing.push_back(numberedName(number, shards.begin()->second));
    }
    if (missing.empty() || completeness == Completeness::Optional) return paths;
    std::string names;
    for (const std::string& name : missing)
        names += (names.empty() ? "" : ", ") + name;
    return Error{ErrorCode::NotFound,
                 "The model is not complete: " + names +
                     (missing.size() == 1 ? " is missing, though " : " are missing, though ") +
                     numberedName(last, shards.rbegin()->second) + " is there.",
                 folder.string()};
}

// What to open instead, when the folder holds no weights itself.
std::string hintFor(const std::vector<fs::path>& paths) {
    for (const fs::path& path : paths) {
        const auto inside =
            isFolder(path) ? listFolder(path) : Result<std::vector<fs::path>>(paths);
        if (isFolder(path) && inside.ok() && !numberedShards(inside.value()).empty())
            return " Its folder \"" + path.filename().string() + "\" holds a model; open that.";
    }
    for (const fs::path& path : paths)
        if (path.extension() == ".safetensors" || path.extension() == ".gguf")
            return " It holds " + path.extension().string().substr(1) +
                   " files, which are not supported.";
    return "";
}

Result<std::vector<fs::path>> weightsIn(const fs::path& folder, Completeness completeness,
                                        bool& isNumbered) {
    QLLAMA_TRY(const std::vector<fs::path> paths, listFolder(folder));
    const auto numbered = numberedShards(paths);
    isNumbered = !numbered.empty();
    if (isNumbered) return inOrder(numbered, folder, completeness);
    std::vector<fs::path> files;
    for (const fs::path& path : paths)
        if ((path.extension() == ".pth" || path.extension() == ".pt") && isFile(path))
            files.push_back(path);
    if (files.size() == 1) return files;
    if (files.size() > 1)
        return Error{ErrorCode::NotFound,
                     "The folder holds " +
                         countText(static_cast<std::int64_t>(files.size()), "file") +
                         " of weights (\"" + files[0].filename().string() + "\", \"" +
                         files[1].filename().string() +
                         "\" ...) and none is named consolidated.00.pth; choose one of them.",
                     folder.string()};
    if (const auto unzipped = unzippedFolder(folder)) return std::vector<fs::path>{*unzipped};
    return Error{
        ErrorCode::NotFound,
        "There are no weights in this folder: consolidated.00.pth was expected." + hintFor(paths),
        folder.string()};
}

// Fills folder and weights (and params when that is what was named).
Result<void> locateWeights(const fs::path& model, Completeness completeness,
                           CheckpointFiles& files) {
    if (isFolder(model)) {
        const bool isShard = shardNumber(model) && unzippedFolder(model);
        files.folder = isShard ? model.parent_path() : model;
        QLLAMA_TRY(files.weights, weightsIn(files.folder, completeness, files.isNumbered));
        return {};
    }
    files.folder = model.parent_path();
    if (model.filename() == kTokenizerName)
        return Error{ErrorCode::InvalidFile,
                     "This is the tokenizer, not the model. Choose the folder that holds "
                     "consolidated.00.pth.",
                     model.string()};
    const bool isParams = model.extension() == ".json";
    if (isParams) files.params = model;
    if (isParams || shardNumber(model)) {
        QLLAMA_TRY(files.weights, weightsIn(files.folder, completeness, files.isNumbered));
    } else {
        files.weights = {model};
    }
    return {};
}

Result<void> locateParams(const CheckpointLocation& location, CheckpointFiles& files) {
    if (location.params) {
        files.params = *location.params;
        return {};
    }
    if (!files.params.empty()) return {};
    for (const fs::path& folder : {files.folder, files.folder.parent_path()}) {
        files.params = folder / kParamsName;
        if (isFile(files.params)) return {};
        // An unzipped folder of any name may have it one up; beside a .pth it must lie.
        if (!isFile(files.folder / kPickleName)) break;
    }
    return Error{ErrorCode::NotFound,
                 "params.json is missing beside the weights. It comes with the model and says its "
                 "width and number of layers; put it there, or say where it is (in the terminal "
                 "with --params).",
                 (files.folder / kParamsName).string()};
}

// There, and a file or a folder.
Result<void> checkExists(const fs::path& model, const std::string& given) {
    std::error_code failed;
    const fs::file_status status = fs::status(model, failed);
    if (given.empty() || status.type() == fs::file_type::not_found)
        return Error{ErrorCode::NotFound, "There is no file or folder of this name.", given};
    if (!fs::status_known(status))
        return Error{ErrorCode::Io, "Cannot open this: " + failed.message() + ".", given};
    if (fs::is_regular_file(status) || fs::is_directory(status)) return {};
    return Error{ErrorCode::InvalidFile,
                 "This is a device, a pipe or the like, not a model. Choose the folder that holds "
                 "consolidated.00.pth.",
                 given};
}

}  // namespace

std::string numberedName(std::size_t index, const fs::path& sibling) {
    std::string number = std::to_string(index);
    if (number.size() < 2) number.insert(0, "0");
    return std::string(kNumberedPrefix) + number + (sibling.extension() == ".pth" ? ".pth" : "");
}

Result<CheckpointFiles> findCheckpointFiles(const CheckpointLocation& location,
                                            Completeness completeness) {
    std::error_code failed;
    fs::path model = fs::absolute(location.model, failed).lexically_normal();
    QLLAMA_CHECK(checkExists(model, location.model.string()));
    if (!model.has_filename()) model = model.parent_path();  // "folder/"
    CheckpointFiles files;
    QLLAMA_CHECK(locateWeights(model, completeness, files));
    if (auto found = locateParams(location, files); !found.ok()) {
        if (completeness == Completeness::Required) return found.error();
        files.params.clear();
    }
    files.name = files.folder.filename().string();
    // The folder in which Meta's own files lie beside converted ones.
    if (files.name == "original") files.name = files.folder.parent_path().filename().string();
    files.tokenizer = location.tokenizer;
    for (const fs::path& folder : {files.folder, files.folder.parent_path()})
        if (!files.tokenizer && isFile(folder / kTokenizerName))
            files.tokenizer = folder / kTokenizerName;
    return files;
}

}  // namespace qllama
