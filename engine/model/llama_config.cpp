#include "engine/model/llama_config.h"

#include <vector>

namespace qllama {
namespace {

// Query vectors are kept in registers and on the stack by the attention kernels; no LLaMA has more
// than 256.

Error invalid(const Checkpoint& checkpoint, std::string message) {
    return {ErrorCode::InvalidFile, std::move(message), checkpoint.folder.string()};
}

// Where params.json says otherwise than the weights.
Error wrongParams(const Checkpoint& checkpoint, std::string message) {
    return {ErrorCode::InvalidFile, std::move(message), checkpoint.paramsPath.string()};
}

Result<const CatalogTensor*> findTensor(const Checkpoint& checkpoint, const std::string& name) {
    const auto found = checkpoint.tensors.find(name);
    if (found == checkpoint.tensors.end())
        return invalid(checkpoint, "The weights have no tensor '" + name +
                                       "': the checkpoint is incomplete or not a LLaMA in Meta's "
                                       "layout. Download it again or choose another folder.");
    return &found->second;
}

Result<void> checkShape(const Checkpoint& checkpoint, const std::string& name,
                        const std::vector<std::int64_t>& expected) {
    QLLAMA_TRY(const CatalogTensor* tensor, findTensor(checkpoint, name));
    if (!isFloat(tensor->dtype))
        return invalid(checkpoint, "The tensor '" + name + "' holds " +
                                       std::string(nameOf(tensor->dtype)) +
                                       " values where floating-point weights are expected.");
    if (tensor->shape == expected) return {};
    return invalid(checkpoint, "The tensor '" + name + "' has shape " + shapeText(tensor->shape) +
                                   ", but params.json makes it " + shapeText(expected) +
                                   ". The two do not belong together.");
}

// What Meta's code computes: two thirds of 4 dim, scaled, rounded up to multiple_of.
std::optional<std::int64_t> claimedFfnDim(const Params& params) {
    if (!params.multipleOf) return std::nullopt;
    auto width = 2 * (4 * params.dim) / 3;
    if (params.ffnDimMultiplier)
        width = static_cast<std::int64_t>(*params.ffnDimMultiplier * static_cast<double>(width));
    return (width + *params.multipleOf - 1) / *params.multipleOf * *params.multipleOf;
}

Result<void> resolveHeads(const Checkpoint& checkpoint, LlamaConfig& config) {
    const auto text = [](std::int64_t number) { return std::to_string(number); };
    if (config.dim % config.headCount != 0 || config.dim / config.headCount % 2 != 0)
        return invalid(checkpoint, "params.json gives dim " + text(config.dim) + " and n_heads " +
                                       text(config.headCount) +
                                       ", which do not divide into heads of an even size.");
    config.headDim = config.dim / config.headCount;
    if (config.headDim > kLargestHeadDim)
        return invalid(checkpoint, "Attention heads of " + text(config.headDim) +
                                       " values are larger than the supported " +
                                       text(kLargestHeadDim) + ".");
    if (config.headCount % config.kvHeadCount != 0)
        return invalid(checkpoint, "params.json gives n_kv_heads " + text(config.kvHeadCount) +
                                       ", which does not divide n_heads " + text(config.headCount) +
                                       ".");
    return {};
}

Result<void> resolveFfn(const Checkpoint& checkpoint, LlamaConfig& config) {
    QLLAMA_TRY(const CatalogTensor* gate,
               findTensor(checkpoint, layerTensorName(0, "feed_forward.w1.weight")));
    config.ffnDim = gate->shape.empty() ? 0 : gate->shape.front();
    if (config.ffnDim < 1)
        return invalid(checkpoint, "The tensor 'layers.0.feed_forward.w1.weight' is empty.");
    const auto claimed = claimedFfnDim(checkpoint.params);
    if (claimed && *claimed != config.ffnDim)
        return wrongParams(checkpoint, "The feed-forward width is " +
                                           std::to_string(config.ffnDim) + " in the weights but " +
                                           std::to_string(*claimed) +
                                           " by params.json (dim, multiple_of, "
                                           "ffn_dim_multiplier). The two do not belong together.");
    return {};
}

Result<void> resolveVocabulary(const Checkpoint& checkpoint,
                               std::optional<std::int64_t> tokenizerVocabulary,
                               LlamaConfig& config) {
    QLLAMA_TRY(const CatalogTensor* embedding, findTensor(checkpoint, "tok_embeddings.weight"));
    config.vocabularySize = embedding->shape.empty() ? 0 : embedding->shape.front();
    const std::string rows = std::to_string(config.vocabularySize);
    if (config.vocabularySize < 1)
        return invalid(checkpoint, "The tensor 'tok_embeddings.weight' is empty.");
    if (checkpoint.params.vocabularySize &&
        *checkpoint.params.vocabularySize != config.vocabularySize)
        return wrongParams(checkpoint, "The vocabulary is " + rows + " in the weights but " +
                                           std::to_string(*checkpoint.params.vocabularySize) +
                                           " in params.json (vocab_size). The two do not belong "
                                           "together.");
    if (tokenizerVocabulary && *tokenizerVocabulary != config.vocabularySize)
        return Error{ErrorCode::InvalidFile,
                     "The tokenizer has " + std::to_string(*tokenizerVocabulary) +
                         " pieces but the weights have " + rows +
                         " embeddings: this is the tokenizer of another model. Choose the "
                         "tokenizer.model that came with these weights.",
                     checkpoint.tokenizerPath ? checkpoint.tokenizerPath->string() : std::string()};
    return {};
}

Result<void> checkLayers(const Checkpoint& checkpoint, const LlamaConfig& config) {
    const std::int64_t kvWidth = config.kvHeadCount * config.headDim;
    const struct {
        const char* part;
        std::vector<std::int64_t> shape;
    } parts[] = {
        {"attention_norm.weight", {config.dim}},
        {"ffn_norm.weight", {config.dim}},
        {"attention.wq.weight", {config.dim, config.dim}},
        {"attention.wk.weight", {kvWidth, config.dim}},
        {"attention.wv.weight", {kvWidth, config.dim}},
        {"attention.wo.weight", {config.dim, config.dim}},
        {"feed_forward.w1.weight", {config.ffnDim, config.dim}},
        {"feed_forward.w3.weight", {config.ffnDim, config.dim}},
        {"feed_forward.w2.weight", {config.dim, config.ffnDim}},
    };
    for (std::int64_t layer = 0; layer < config.layerCount; ++layer)
        for (const auto& [part, shape] : parts)
            QLLAMA_CHECK(checkShape(checkpoint, layerTensorName(layer, part), shape));
    return {};
}

Result<void> checkLayerCount(const Checkpoint& checkpoint, const LlamaConfig& config) {
    const std::string beyond = layerTensorName(config.layerCount, "attention.wq.weight");
    if (!checkpoint.tensors.contains(beyond)) return {};
    return invalid(checkpoint,
                   "The weights go on past layer " + std::to_string(config.layerCount - 1) +
                       ", the last by params.json (n_layers " + std::to_string(config.layerCount) +
                       "). The two do not belong together.");
}

}  // namespace

Result<std::int64_t> contextLengthFor(const LlamaConfig& config, std::optional<std::int64_t> wanted,
                                      const Checkpoint& checkpoint) {
    const std::int64_t length = wanted.value_or(config.trainedContext);
    // Far beyond any LLaMA; keeps the table of angles and the KV cache within 64-bit arithmetic.
    constexpr std::int64_t kLargestContext = 1 << 20;
    if (length >= 1 && length <= kLargestContext) return length;
    if (!wanted)
        return Error{
            ErrorCode::InvalidFile,
            "\"max_seq_len\" in params.json is " + std::to_string(length) +
                ", but a context holds at most " + std::to_string(kLargestContext) +
                " tokens. Load the model with a context length of your own (in the terminal "
                "with --max-seq-len).",
            checkpoint.paramsPath.string()};
    return Error{ErrorCode::InvalidRequest,
                 "A context of " + std::to_string(length) + " tokens is outside 1 to " +
                     std::to_string(kLargestContext) + ".",
                 {}};
}

std::string layerTensorName(std::int64_t layer, const char* part) {
    return "layers." + std::to_string(layer) + "." + part;
}

Result<LlamaConfig> resolveConfig(const Checkpoint& checkpoint,
                                  std::optional<std::int64_t> tokenizerVocabulary) {
    const Params& params = checkpoint.params;
    if (params.scaledRope)
        return Error{ErrorCode::Unsupported,
                     "params.json asks for scaled rotary embeddings (use_scaled_rope), as LLaMA "
                     "3.1 has. This version runs LLaMA 1, 2 and models of the same shape.",
                     checkpoint.paramsPath.string()};
    LlamaConfig config;
    config.dim = params.dim;
    config.layerCount = params.layerCount;
    config.headCount = params.headCount;
    config.kvHeadCount = params.kvHeadCount.value_or(params.headCount);
    config.normEps = params.normEps.value_or(1e-5);
    config.ropeTheta = params.ropeTheta.value_or(10000.0);
    config.trainedContext = params.maxSeqLen.value_or(2048);
    QLLAMA_CHECK(resolveHeads(checkpoint, config));
    QLLAMA_CHECK(resolveVocabulary(checkpoint, tokenizerVocabulary, config));
    QLLAMA_CHECK(resolveFfn(checkpoint, config));
    QLLAMA_CHECK(checkLayers(checkpoint, config));
    QLLAMA_CHECK(checkLayerCount(checkpoint, config));
    QLLAMA_CHECK(
        checkShape(checkpoint, "tok_embeddings.weight", {config.vocabularySize, config.dim}));
    QLLAMA_CHECK(checkShape(checkpoint, "norm.weight", {config.dim}));
    QLLAMA_CHECK(checkShape(checkpoint, "output.weight", {config.vocabularySize, config.dim}));
    return config;
}

}  // namespace qllama
