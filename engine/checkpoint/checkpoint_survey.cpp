#include "engine/checkpoint/checkpoint_survey.h"

#include <utility>

#include "engine/checkpoint/discovery.h"
#include "engine/checkpoint/shards.h"
#include "engine/checkpoint/weight_file.h"

namespace qllama {
namespace {

// Of all files if they are one model, else of the first.
Result<TensorCatalog> tensorsOf(const std::vector<Shard>& shards, Checkpoint& checkpoint) {
    const Params& params = checkpoint.params;
    const auto implied = shardCountImplied(shards.front().content, params.dim);
    const auto merge = [&](std::vector<Shard> some) {
        return mergeShards(std::move(some), params.dim, params.vocabularySize.value_or(0),
                           checkpoint.notes, checkpoint.warnings);
    };
    if (!implied || *implied == static_cast<std::int64_t>(shards.size()))
        if (auto whole = merge(shards); whole.ok()) return whole;
    checkpoint.notes.push_back("The tensors are those of " +
                               shards.front().path.filename().string() +
                               " alone, as they lie in it.");
    return merge({shards.front()});
}

}  // namespace

Result<Checkpoint> surveyCheckpoint(const CheckpointLocation& location, std::stop_token stop) {
    QLLAMA_TRY(CheckpointFiles files, findCheckpointFiles(location, Completeness::Optional));
    Checkpoint checkpoint;
    if (!files.params.empty())
        if (auto params = readParams(files.params); params.ok()) checkpoint.params = params.value();
    std::vector<Shard> shards;
    for (const auto& path : files.weights) {
        if (stop.stop_requested()) return cancelledError();
        QLLAMA_TRY(WeightFile file, openWeightFile(path, stop));
        const auto tensorCount = static_cast<std::int64_t>(file.content.tensors.size());
        checkpoint.shards.push_back(
            {path, file.format, tensorCount, file.sizeBytes, file.fingerprint});
        shards.push_back({path, std::move(file.content)});
    }
    QLLAMA_TRY(checkpoint.tensors, tensorsOf(shards, checkpoint));
    checkpoint.name = std::move(files.name);
    checkpoint.folder = std::move(files.folder);
    checkpoint.paramsPath = std::move(files.params);
    checkpoint.tokenizerPath = std::move(files.tokenizer);
    return checkpoint;
}

}  // namespace qllama
