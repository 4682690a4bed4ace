// The LLaMA forward pass, written once over the backend interface.
// Architecture: arXiv:2302.13971; grouped-query attention: arXiv:2305.13245.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/model/llama_config.h"
#include "engine/model/weights.h"

namespace qllama {

// Owns weights, KV cache and scratch; borrows the backends. One thread at a time.
class Transformer {
public:
    struct Options {
        std::int64_t contextLength = 2048;
        KvPrecision kvPrecision = KvPrecision::F16;
    };

    // When a stage's cache or scratch cannot be had, `failedStage` (may be null) says which one's.
    static Result<std::unique_ptr<Transformer>> create(const LlamaConfig& config,
                                                       std::vector<StageWeights> stages,
                                                       const Options& options,
                                                       std::size_t* failedStage = nullptr);

    // Positions that go through a stage together, at most.
    static std::int64_t batchSize(const LlamaConfig& config, std::int64_t contextLength);
    // Bytes of the working buffers that create() makes for one stage.
    static std::int64_t scratchBytes(const LlamaConfig& config, std::int64_t contextLength,
                                     bool isLast);
    ~Transformer();

    // Appends `tokens` to the context and leaves the logits of the last one in logits(). Long runs
    // go through in batches. `progress` (may be empty) is told after each layer of a batch: a part
    // of the layers for all tokens of the batch counts as that part of its tokens, so it gets the
    // number of tokens done, rounded down, and all of them only when the logits are there. Stop is
    // polled for each layer; a cancelled call leaves the context at the last whole batch, one that fails
    // where it was after the last call that did not.
    // Fails with InvalidRequest when the context would overflow or a token is out of range.
    Result<void> forward(std::span<const std::int32_t> tokens,
                         const std::function<void(std::int64_t)>& progress, std::stop_token stop);

    // As forward(), and gives the logits of every token to `sink`: rows [.., vocabularySize] of the
    // tokens first, first + 1, ..., a few at a time and in order. A cancelled call may have given
    // some already.
    using LogitsSink = std::function<void(std::int64_t first, std::span<const float> rows)>;
    Result<void> forwardAll(std::span<const std::int32_t> tokens, const LogitsSink& sink,
                            std::stop_token stop);

    // The stage whose device a forward() that failed had to do with.
    [[nodiscard]] std::size_t failedStage() const;
    // Takes the same layers on another backend in place of a stage; the context is empty afterwards.
    // The stage's old backend must still be there. On failure all is as it was.
    Result<void> replaceStage(std::size_t index, StageWeights weights);

    // [vocabularySize], of the last token of the last whole forward().
    [[nodiscard]] std::span<const float> logits() const;

    [[nodiscard]] std::int64_t position() const;  // tokens in the context
    void truncate(std::int64_t position);         // forgets everything from there on

    [[nodiscard]] const LlamaConfig& config() const;
    [[nodiscard]] std::int64_t contextLength() const;
    [[nodiscard]] std::int64_t weightBytes() const;
    [[nodiscard]] std::int64_t kvCacheBytes() const;  // when full
    // Weight bytes that one decode step reads (all matrices but the embedding, of which one row).
    [[nodiscard]] std::int64_t bytesPerToken() const;
    // The part of them that each stage's device reads, and that device.
    [[nodiscard]] std::vector<std::int64_t> stageBytesPerToken() const;
    [[nodiscard]] Backend& stageBackend(std::size_t index) const;
    // Of one position in the layers' matrices and in attention with `keys` positions; the output head,
    // which prefill needs for the last position alone, is not counted.
    [[nodiscard]] std::int64_t multiplyAdds(std::int64_t keys) const;

private:
    struct Impl;
    explicit Transformer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> m_impl;
};

}  // namespace qllama
