// A whole LLaMA of random weights in memory, for tests that need a model but no file.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/model/llama_config.h"
#include "tests/support/tensors.h"

namespace qllama::test {

// The tensors of resolveConfig()'s names. Scaled so that activations neither fade nor explode.
inline Checkpoint randomCheckpoint(const LlamaConfig& config, DType dtype, std::uint64_t seed) {
    Checkpoint checkpoint;
    const auto add = [&](const std::string& name, std::vector<std::int64_t> shape, float scale) {
        std::int64_t count = 1;
        for (const std::int64_t extent : shape)
            count *= extent;
        checkpoint.tensors.emplace(
            name, tensorOf(name, std::move(shape), dtype, randomValues(count, ++seed, scale)));
    };
    const auto matrix = [&](const std::string& name, std::int64_t rows, std::int64_t columns) {
        add(name, {rows, columns}, 1.0F / std::sqrt(static_cast<float>(columns)));
    };
    const std::int64_t kvDim = config.kvHeadCount * config.headDim;
    add("tok_embeddings.weight", {config.vocabularySize, config.dim}, 1.0F);
    add("norm.weight", {config.dim}, 1.0F);
    // Logits of order 3: far enough apart for a greedy choice that rounding does not change.
    add("output.weight", {config.vocabularySize, config.dim},
        3.0F / std::sqrt(static_cast<float>(config.dim)));
    for (std::int64_t layer = 0; layer < config.layerCount; ++layer) {
        const auto name = [layer](const char* part) { return layerTensorName(layer, part); };
        matrix(name("attention.wq.weight"), config.dim, config.dim);
        matrix(name("attention.wk.weight"), kvDim, config.dim);
        matrix(name("attention.wv.weight"), kvDim, config.dim);
        matrix(name("attention.wo.weight"), config.dim, config.dim);
        matrix(name("feed_forward.w1.weight"), config.ffnDim, config.dim);
        matrix(name("feed_forward.w3.weight"), config.ffnDim, config.dim);
        matrix(name("feed_forward.w2.weight"), config.dim, config.ffnDim);
        add(name("attention_norm.weight"), {config.dim}, 1.0F);
        add(name("ffn_norm.weight"), {config.dim}, 1.0F);
    }
    return checkpoint;
}

}  // namespace qllama::test
