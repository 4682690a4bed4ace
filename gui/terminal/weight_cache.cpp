#include "engine/quant/weight_cache.h"

#include "gui/terminal/answer.h"
#include "gui/terminal/json_object.h"
#include "gui/terminal/output.h"
#include "gui/terminal/text_table.h"
#include "gui/terminal/weight_cache.h"

namespace qllama {
namespace {

std::int64_t totalBytes(const std::vector<WeightCacheEntry>& entries) {
    std::int64_t total = 0;
    for (const WeightCacheEntry& entry : entries)
        total += entry.sizeBytes;
    return total;
}

std::string listJson(const std::filesystem::path& folder,
                     const std::vector<WeightCacheEntry>& entries) {
    std::vector<JsonObject> files;
    for (const WeightCacheEntry& entry : entries)
        files.push_back(JsonObject()
                            .add("path", entry.path.string())
                            .add("name", entry.modelName)
                            .add("precision", entry.precision)
                            .add("bytes", entry.sizeBytes));
    return JsonObject()
               .add("event", "cache")
               .add("folder", folder.string())
               .add("bytes", totalBytes(entries))
               .add("files", files)
               .text() +
           "\n";
}

constexpr const char* kNoFolder =
    "No weights are kept: neither XDG_CACHE_HOME nor HOME names a folder.\n";

std::string listText(const std::filesystem::path& folder,
                     const std::vector<WeightCacheEntry>& entries) {
    if (folder.empty()) return kNoFolder;
    if (entries.empty()) return "No weights are kept in " + folder.string() + ".\n";
    std::vector<TextRow> rows;
    for (const WeightCacheEntry& entry : entries) {
        const bool usable = !entry.modelName.empty();
        rows.push_back({usable ? withoutControls(entry.modelName) : "unfinished or damaged",
                        entry.precision, byteText(entry.sizeBytes)});
    }
    return "Weights kept in " + folder.string() + ":\n" + textTable(rows) + "Together " +
           byteText(totalBytes(entries)) + "; --clear-cache deletes them.\n";
}

std::string clearedJson(const std::filesystem::path& folder, std::int64_t freedBytes) {
    return JsonObject()
               .add("event", "cache_cleared")
               .add("folder", folder.string())
               .add("bytes", freedBytes)
               .text() +
           "\n";
}

Result<std::string> listed(bool json) {
    const std::filesystem::path folder = defaultWeightCacheFolder();
    QLLAMA_TRY(const auto entries, listWeightCache(folder));
    return json ? listJson(folder, entries) : listText(folder, entries);
}

Result<std::string> cleared(bool json) {
    const std::filesystem::path folder = defaultWeightCacheFolder();
    QLLAMA_TRY(const std::int64_t freedBytes, clearWeightCache(folder));
    if (json) return clearedJson(folder, freedBytes);
    if (folder.empty()) return std::string(kNoFolder);
    return "Freed " + byteText(freedBytes) + " in " + folder.string() + ".\n";
}

}  // namespace

int runListCache(const CommandLine& commandLine) {
    return printAnswer(commandLine.json, listed(commandLine.json));
}

int runClearCache(const CommandLine& commandLine) {
    return printAnswer(commandLine.json, cleared(commandLine.json));
}

}  // namespace qllama
