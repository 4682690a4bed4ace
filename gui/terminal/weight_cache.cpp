#include "engine/quant/weight_cache.h"

#include "gui/terminal/exit_code.h"
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

std::string listText(const std::filesystem::path& folder,
                     const std::vector<WeightCacheEntry>& entries) {
    if (entries.empty()) return "No quantised weights are kept in " + folder.string() + ".\n";
    std::vector<TextRow> rows;
    for (const WeightCacheEntry& entry : entries) {
        const bool usable = !entry.modelName.empty();
        rows.push_back({usable ? withoutControls(entry.modelName) : "unfinished or damaged",
                        entry.precision, byteText(entry.sizeBytes)});
    }
    return "Quantised weights kept in " + folder.string() + ":\n" + textTable(rows) + "Together " +
           byteText(totalBytes(entries)) + "; --clear-cache deletes them.\n";
}

int fail(const CommandLine& commandLine, StandardOutput& output, const Error& error) {
    if (commandLine.json) output.write(jsonErrorLine(error.text()));
    printError(error.text());
    return kExitFailed;
}

}  // namespace

int runListCache(const CommandLine& commandLine) {
    StandardOutput output{std::stop_source()};
    const std::filesystem::path folder = defaultWeightCacheFolder();
    const auto entries = listWeightCache(folder);
    if (!entries) return fail(commandLine, output, entries.error());
    output.write(commandLine.json ? listJson(folder, entries.value())
                                  : listText(folder, entries.value()));
    return output.problem().empty() ? kExitDone : kExitFailed;
}

int runClearCache(const CommandLine& commandLine) {
    StandardOutput output{std::stop_source()};
    const std::filesystem::path folder = defaultWeightCacheFolder();
    const auto freed = clearWeightCache(folder);
    if (!freed) return fail(commandLine, output, freed.error());
    output.write(commandLine.json
                     ? JsonObject()
                               .add("event", "cache_cleared")
                               .add("folder", folder.string())
                               .add("bytes", freed.value())
                               .text() +
                           "\n"
                     : "Freed " + byteText(freed.value()) + " in " + folder.string() + ".\n");
    return output.problem().empty() ? kExitDone : kExitFailed;
}

}  // namespace qllama
