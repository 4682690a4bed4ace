#include "engine/session/inspection.h"
#include "gui/terminal/answer.h"
#include "gui/terminal/describe.h"
#include "gui/terminal/exit_code.h"
#include "gui/terminal/json_object.h"
#include "gui/terminal/output.h"
#include "gui/terminal/text_table.h"

namespace qllama {
namespace {

const char* keyOf(JoinAxis axis) {
    switch (axis) {
        case JoinAxis::Rows:
            return "rows";
        case JoinAxis::Columns:
            return "columns";
        case JoinAxis::None:
            break;
    }
    return "none";
}

JsonObject configObject(const LlamaConfig& config) {
    return JsonObject()
        .add("dim", config.dim)
        .add("layers", config.layerCount)
        .add("heads", config.headCount)
        .add("kv_heads", config.kvHeadCount)
        .add("head_dim", config.headDim)
        .add("ffn_dim", config.ffnDim)
        .add("vocabulary", config.vocabularySize)
        .add("norm_eps", config.normEps)
        .add("rope_theta", config.ropeTheta)
        .add("trained_context", config.trainedContext);
}

std::vector<JsonObject> shardObjects(const Checkpoint& checkpoint) {
    std::vector<JsonObject> objects;
    for (const ShardInfo& shard : checkpoint.shards)
        objects.push_back(JsonObject()
                              .add("path", shard.path.string())
                              .add("format", shard.format)
                              .add("tensors", shard.tensorCount)
                              .add("bytes", shard.sizeBytes));
    return objects;
}

std::vector<JsonObject> tensorObjects(const TensorCatalog& tensors) {
    std::vector<JsonObject> objects;
    for (const auto& [name, tensor] : tensors)
        objects.push_back(JsonObject()
                              .add("name", name)
                              .add("dtype", nameOf(tensor.dtype))
                              .add("shape", tensor.shape)
                              .add("bytes", tensor.sizeBytes())
                              .add("parts", tensor.parts.size())
                              .add("joined_by", keyOf(tensor.axis)));
    return objects;
}

std::vector<JsonObject> memoryObjects(const Inspection& inspection) {
    std::vector<JsonObject> objects;
    for (const MemoryNeed& need : inspection.memory)
        objects.push_back(JsonObject()
                              .add("precision", need.precision)
                              .add("weights_bytes", need.weightBytes)
                              .add("kv_cache_bytes", need.kvCacheBytes));
    return objects;
}

std::string inspectionJson(const Inspection& inspection) {
    const Checkpoint& checkpoint = inspection.checkpoint;
    JsonObject object;
    object.add("event", "inspection")
        .add("name", checkpoint.name)
        .add("path", checkpoint.folder.string());
    if (!checkpoint.paramsPath.empty()) {
        object.add("params_path", checkpoint.paramsPath.string());
    } else {
        object.addNull("params_path");
    }
    if (checkpoint.tokenizerPath) {
        object.add("tokenizer_path", checkpoint.tokenizerPath->string());
    } else {
        object.addNull("tokenizer_path");
    }
    if (inspection.config) {
        object.add("config", configObject(*inspection.config));
    } else {
        object.addNull("config");
    }
    object.add("parameters", inspection.parameterCount)
        .add("context", inspection.contextLength)
        .add("shards", shardObjects(checkpoint))
        .add("memory", memoryObjects(inspection))
        .add("tensors", tensorObjects(checkpoint.tensors))
        .add("notes", checkpoint.notes)
        .add("problems", inspection.problems);
    return object.text() + "\n";
}

std::vector<TextRow> overviewRows(const Inspection& inspection) {
    const Checkpoint& checkpoint = inspection.checkpoint;
    std::vector<TextRow> rows = {
        {"Folder", checkpoint.folder.string()},
        {"Params", checkpoint.paramsPath.empty() ? "not found" : checkpoint.paramsPath.string()},
        {"Tokenizer", checkpoint.tokenizerPath ? checkpoint.tokenizerPath->string() : "not found"},
        {"Parameters", std::to_string(inspection.parameterCount)},
    };
    if (!inspection.config) return rows;
    const LlamaConfig& config = *inspection.config;
    rows.push_back({"Layers", std::to_string(config.layerCount)});
    rows.push_back(
        {"Width", std::to_string(config.dim) + ", feed-forward " + std::to_string(config.ffnDim)});
    rows.push_back({"Heads", std::to_string(config.headCount) + " of " +
                                 std::to_string(config.headDim) + ", " +
                                 std::to_string(config.kvHeadCount) + " for keys and values"});
    rows.push_back({"Vocabulary", std::to_string(config.vocabularySize)});
    rows.push_back({"Context", std::to_string(inspection.contextLength)});
    return rows;
}

std::vector<TextRow> shardRows(const Checkpoint& checkpoint) {
    std::vector<TextRow> rows;
    for (const ShardInfo& shard : checkpoint.shards)
        rows.push_back({shard.path.filename().string(), shard.format,
                        std::to_string(shard.tensorCount) + " tensors", byteText(shard.sizeBytes)});
    return rows;
}

std::vector<TextRow> memoryRows(const Inspection& inspection) {
    std::vector<TextRow> rows = {{"precision", "weights", "KV cache", "together"}};
    for (const MemoryNeed& need : inspection.memory)
        rows.push_back({need.precision, byteText(need.weightBytes), byteText(need.kvCacheBytes),
                        byteText(need.weightBytes + need.kvCacheBytes)});
    return rows;
}

std::vector<TextRow> tensorRows(const TensorCatalog& tensors) {
    std::vector<TextRow> rows;
    for (const auto& [name, tensor] : tensors) {
        TextRow row = {name, std::string(nameOf(tensor.dtype)), shapeText(tensor.shape),
                       std::to_string(tensor.sizeBytes()) + " bytes"};
        if (tensor.axis != JoinAxis::None)
            row.push_back(std::to_string(tensor.parts.size()) + " parts by " + keyOf(tensor.axis));
        rows.push_back(std::move(row));
    }
    return rows;
}

std::string sentences(const char* heading, const std::vector<std::string>& lines) {
    if (lines.empty()) return {};
    std::string text = std::string("\n") + heading + "\n";
    for (const std::string& line : lines)
        text += "  " + withoutControls(line) + "\n";
    return text;
}

std::string inspectionText(const Inspection& inspection) {
    const Checkpoint& checkpoint = inspection.checkpoint;
    std::string text = withoutControls(checkpoint.name) + "\n" +
                       textTable(overviewRows(inspection)) + "\nShards\n" +
                       textTable(shardRows(checkpoint));
    if (!inspection.memory.empty())
        text += "\nMemory, with " + std::to_string(inspection.contextLength) +
                " tokens of context\n" + textTable(memoryRows(inspection));
    return text + "\nTensors\n" + textTable(tensorRows(checkpoint.tensors)) +
           sentences("Notes", checkpoint.notes) + sentences("Problems", inspection.problems);
}

}  // namespace

int runInspect(const CommandLine& commandLine) {
    CheckpointLocation location = commandLine.load.location;
    location.model = *commandLine.inspectPath;
    const Result<Inspection> inspection = inspect(location, commandLine.load.contextLength);
    if (!inspection) return printAnswer(commandLine.json, inspection.error());
    const int exitCode =
        printAnswer(commandLine.json, commandLine.json ? inspectionJson(inspection.value())
                                                       : inspectionText(inspection.value()));
    return inspection.value().isWhole ? exitCode : kExitFailed;
}

}  // namespace qllama
