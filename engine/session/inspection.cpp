#include "engine/session/inspection.h"

#include <utility>

#include "engine/backend/precision.h"
#include "engine/checkpoint/checkpoint_survey.h"
#include "engine/session/model_loader.h"
#include "engine/tokenizer/tokenizer.h"

namespace qllama {
namespace {

std::int64_t weightBytes(Precision precision, const Checkpoint& checkpoint,
                         const LlamaConfig& config) {
    constexpr const char* kLayerMatrices[] = {
        "attention.wq.weight",    "attention.wk.weight",    "attention.wv.weight",
        "attention.wo.weight",    "feed_forward.w1.weight", "feed_forward.w2.weight",
        "feed_forward.w3.weight",
    };
    const auto bytesOf = [&](const std::string& name) {
        const CatalogTensor& tensor = checkpoint.tensors.at(name);
        return matrixBytes(precision, tensor.dtype, tensor.shape.front(), tensor.shape.back());
    };
    std::int64_t bytes = bytesOf("tok_embeddings.weight") + bytesOf("output.weight");
    for (std::int64_t layer = 0; layer < config.layerCount; ++layer)
        for (const char* matrix : kLayerMatrices)
            bytes += bytesOf(layerTensorName(layer, matrix));
    return bytes;
}

std::int64_t kvCacheBytes(KvPrecision precision, const LlamaConfig& config,
                          std::int64_t contextLength) {
    const std::int64_t elementBytes =
        sizeOf(precision == KvPrecision::F16 ? DType::F16 : DType::F32);
    return 2 * config.layerCount * config.kvHeadCount * config.headDim * contextLength *
           elementBytes;
}

// The tokenizer is opened too: a wrong one is the most frequent reason why a model does not run.
void inspectTokenizer(Inspection& inspection) {
    const auto& path = inspection.checkpoint.tokenizerPath;
    if (!path) {
        inspection.isWhole = false;
        inspection.problems.push_back(
            "There is no tokenizer.model beside the weights or one folder up; it has to be named "
            "when the model is loaded.");
        return;
    }
    const auto tokenizer = Tokenizer::open(*path);
    if (!tokenizer.ok()) {
        inspection.isWhole = false;
        inspection.problems.push_back(tokenizer.error().text());
        return;
    }
    if (!inspection.config) return;
    const auto config = resolveConfig(inspection.checkpoint, tokenizer.value()->vocabularySize());
    if (config.ok()) return;
    inspection.isWhole = false;
    inspection.problems.push_back(config.error().text());
}

std::vector<MemoryNeed> memoryNeeded(const Inspection& inspection) {
    const Checkpoint& checkpoint = inspection.checkpoint;
    const LlamaConfig& config = *inspection.config;
    std::vector<MemoryNeed> needed;
    for (const PrecisionInfo& info : precisions()) {
        const KvPrecision kv = automaticKvPrecision(info.precision, checkpoint.tensors, config,
                                                    inspection.contextLength);
        needed.push_back({std::string(info.key), weightBytes(info.precision, checkpoint, config),
                          kvCacheBytes(kv, config, inspection.contextLength)});
    }
    return needed;
}

}  // namespace

Result<Inspection> inspect(const CheckpointLocation& location,
                           std::optional<std::int64_t> contextLength) {
    Inspection inspection;
    auto opened = openCheckpoint(location, {});
    if (!opened.ok()) {
        auto survey = surveyCheckpoint(location, {});
        if (!survey.ok()) return opened.error();
        inspection.isWhole = false;
        inspection.problems = {opened.error().text()};
        opened = std::move(survey);
    }
    inspection.checkpoint = std::move(opened).value();
    const Checkpoint& checkpoint = inspection.checkpoint;
    inspection.problems.insert(inspection.problems.end(), checkpoint.warnings.begin(),
                               checkpoint.warnings.end());
    inspection.parameterCount = parameterCount(checkpoint.tensors);
    if (!inspection.isWhole) {
        inspectTokenizer(inspection);
        return inspection;
    }
    const auto config = resolveConfig(checkpoint, std::nullopt);
    if (config.ok()) {
        inspection.config = config.value();
        inspection.contextLength = contextLength.value_or(config.value().trainedContext);
        const auto length = contextLengthFor(config.value(), contextLength, checkpoint);
        if (length.ok()) {
            inspection.memory = memoryNeeded(inspection);
        } else {
            inspection.isWhole = false;
            inspection.problems.push_back(length.error().text());
        }
    } else {
        inspection.isWhole = false;
        inspection.problems.push_back(config.error().text());
    }
    inspectTokenizer(inspection);
    return inspection;
}

}  // namespace qllama
