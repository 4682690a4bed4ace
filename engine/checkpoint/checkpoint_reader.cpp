#include "engine/checkpoint/checkpoint_reader.h"

#include <algorithm>

#include "engine/checkpoint/discovery.h"
#include "engine/checkpoint/printable.h"
#include "engine/checkpoint/shards.h"
#include "engine/checkpoint/weight_file.h"

namespace qllama {
namespace {

constexpr std::int64_t kNamedInError = 8;

// One of the names that Hugging Face's conversion gives; everything else differs with it.
constexpr const char* kConvertedName = "layers.0.self_attn.q_proj.weight";

Result<CheckpointFiles> findFiles(const CheckpointLocation& location) {
    Result<CheckpointFiles> files = findCheckpointFiles(location);
    if (files.ok()) return files;
    // Nobody needs to look for the params.json of a file that is no checkpoint.
    const auto found = findCheckpointFiles(location, Completeness::Optional);
    if (found.ok()) QLLAMA_CHECK(checkWeightFileKind(found.value().weights.front()));
    return files;
}

Result<void> checkLayout(const StateDict& content, const std::filesystem::path& path) {
    if (!content.tensors.contains(kConvertedName)) return {};
    return Error{ErrorCode::Unsupported,
                 "This checkpoint has the layout of Hugging Face's transformers (\"self_attn."
                 "q_proj\" and so on). Meta's layout is needed: the files named "
                 "consolidated.00.pth, often in a folder named \"original\".",
                 path.string()};
}

// Before the other files are opened: are these all of them?
Result<void> checkShardCount(const StateDict& first, const CheckpointFiles& files,
                             std::int64_t dim) {
    const auto implied = shardCountImplied(first, dim);
    const auto found = static_cast<std::int64_t>(files.weights.size());
    if (!implied || *implied == found) return {};
    const std::string needed = "The tensors are split over " + countText(*implied, "file");
    if (*implied < found)
        return Error{ErrorCode::InvalidFile,
                     needed + ", but " + std::to_string(found) +
                         " are here; they do not belong to one model.",
                     files.folder.string()};
    if (!files.isNumbered)
        return Error{ErrorCode::NotFound,
                     needed +
                         ", and this is only one of them. Name them consolidated.00.pth, "
                         "consolidated.01.pth and so on in one folder.",
                     files.weights.front().string()};
    std::string missing;
    for (std::int64_t index = found; index < std::min(*implied, found + kNamedInError); ++index)
        missing += (missing.empty() ? "" : ", ") +
                   numberedName(static_cast<std::size_t>(index), files.weights.front());
    return Error{ErrorCode::NotFound,
                 needed + ", but only " + std::to_string(found) + " of them are here: " + missing +
                     (*implied == found + 1 ? " is missing." : " are missing."),
                 files.folder.string()};
}

void addNotes(const StateDict& content, std::vector<std::string>& notes) {
    for (const std::string& note : content.notes)
        if (std::find(notes.begin(), notes.end(), note) == notes.end()) notes.push_back(note);
}

}  // namespace

Result<Checkpoint> openCheckpoint(const CheckpointLocation& location, std::stop_token stop) {
    QLLAMA_TRY(CheckpointFiles files, findFiles(location));
    Checkpoint checkpoint;
    QLLAMA_TRY(checkpoint.params, readParams(files.params));
    const std::int64_t dim = checkpoint.params.dim;
    std::vector<Shard> shards;
    for (const auto& path : files.weights) {
        if (stop.stop_requested()) return cancelledError();
        QLLAMA_TRY(WeightFile file, openWeightFile(path, stop));
        QLLAMA_CHECK(checkLayout(file.content, path));
        if (shards.empty()) QLLAMA_CHECK(checkShardCount(file.content, files, dim));
        const auto tensorCount = static_cast<std::int64_t>(file.content.tensors.size());
        checkpoint.shards.push_back(
            {path, file.format, tensorCount, file.sizeBytes, file.fingerprint});
        addNotes(file.content, checkpoint.notes);
        shards.push_back({path, std::move(file.content)});
    }
    QLLAMA_TRY(checkpoint.tensors,
               mergeShards(std::move(shards), dim, checkpoint.params.vocabularySize.value_or(0),
                           checkpoint.notes, checkpoint.warnings));
    checkpoint.name = std::move(files.name);
    checkpoint.folder = std::move(files.folder);
    checkpoint.paramsPath = std::move(files.params);
    checkpoint.tokenizerPath = std::move(files.tokenizer);
    return checkpoint;
}

}  // namespace qllama
