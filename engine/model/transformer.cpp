#include "engine/model/transformer.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <string>
#include <utility>

namespace qllama {
namespace {

// Prefill batches are as large as this much scratch memory allows, within sensible bounds.
constexpr std::int64_t kScratchBytes = std::int64_t{36} << 20;
constexpr std::int64_t kSmallestBatch = 32;
constexpr std::int64_t kLargestBatch = 512;

// Rows whose logits forwardAll() computes together: 2 MiB with LLaMA's vocabulary.
constexpr std::int64_t kLogitRows = 16;

// The buffers of one stage, for up to batchSize positions; names as in the paper's formulas.
struct Scratch {
    std::unique_ptr<Buffer> x;          // [batch, dim], the residual stream
    std::unique_ptr<Buffer> h;          // [batch, dim], normalised; then what attention gives
    std::unique_ptr<Buffer> q;          // [batch, heads * headDim]
    std::unique_ptr<Buffer> k, v;       // [batch, kvHeads * headDim]
    std::unique_ptr<Buffer> gate, up;   // [batch, ffnDim]
    std::unique_ptr<Buffer> logits;     // last stage: [vocabulary]
    std::unique_ptr<Buffer> rotations;  // [context, headDim / 2, 2]
};

struct Stage {
    StageWeights weights;
    std::unique_ptr<KvCache> cache;
    Scratch scratch;
};

std::int64_t floatsPerPosition(const LlamaConfig& config) {
    return 3 * config.dim + 2 * config.kvHeadCount * config.headDim + 2 * config.ffnDim;
}

std::int64_t batchSizeFor(const LlamaConfig& config) {
    return std::clamp(kScratchBytes / (floatsPerPosition(config) * std::int64_t{sizeof(float)}),
                      kSmallestBatch, kLargestBatch);
}

// The angles as Meta computes them, in f32: position / theta^(2i / headDim).
std::vector<float> rotationTable(const LlamaConfig& config, std::int64_t positions) {
    const std::int64_t pairs = config.headDim / 2;
    std::vector<float> frequencies(static_cast<std::size_t>(pairs));
    for (std::int64_t i = 0; i < pairs; ++i) {
        const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.headDim);
        frequencies[static_cast<std::size_t>(i)] =
            1.0F / std::pow(static_cast<float>(config.ropeTheta), exponent);
    }
    std::vector<float> table;
    table.reserve(static_cast<std::size_t>(positions * config.headDim));
    for (std::int64_t position = 0; position < positions; ++position) {
        for (const float frequency : frequencies) {
            const double angle = static_cast<float>(position) * frequency;
            table.push_back(static_cast<float>(std::cos(angle)));
            table.push_back(static_cast<float>(std::sin(angle)));
        }
    }
    return table;
}

Result<Scratch> createScratch(Backend& backend, const LlamaConfig& config, std::int64_t batch,
                              bool isLast, const std::vector<float>& rotations) {
    Scratch scratch;
    const std::int64_t kvWidth = config.kvHeadCount * config.headDim;
    QLLAMA_TRY(scratch.x, backend.createBuffer(batch * config.dim));
    QLLAMA_TRY(scratch.h, backend.createBuffer(batch * config.dim));
    QLLAMA_TRY(scratch.q, backend.createBuffer(batch * config.dim));
    QLLAMA_TRY(scratch.k, backend.createBuffer(batch * kvWidth));
    QLLAMA_TRY(scratch.v, backend.createBuffer(batch * kvWidth));
    QLLAMA_TRY(scratch.gate, backend.createBuffer(batch * config.ffnDim));
    QLLAMA_TRY(scratch.up, backend.createBuffer(batch * config.ffnDim));
    if (isLast) {
        QLLAMA_TRY(scratch.logits, backend.createBuffer(config.vocabularySize));
    }
    QLLAMA_TRY(scratch.rotations,
               backend.createBuffer(static_cast<std::int64_t>(rotations.size())));
    QLLAMA_CHECK(backend.write(*scratch.rotations, 0, rotations));
    return scratch;
}

}  // namespace

struct Transformer::Impl {
    LlamaConfig config;
    Options options;
    std::int64_t batchSize = 0;
    std::vector<Stage> stages;
    std::vector<float> logits;
    std::unique_ptr<Buffer> rowLogits;  // [kLogitRows, vocabulary], once forwardAll() needs it
    std::vector<float> handOver;        // the residual stream between two stages
    std::int64_t position = 0;
    // Positions that are known to be computed: a device may tell only at the next read that what it was told
    // before has failed.
    std::int64_t confirmed = 0;
    std::size_t stageAtWork = 0;  // whose failure a call reports

    // Cache and working buffers for weights.
    [[nodiscard]] Result<Stage> stageOf(StageWeights weights,
                                        const std::vector<float>& rotations) const {
        Backend& backend = *weights.backend;
        Stage stage;
        QLLAMA_TRY(stage.scratch,
                   createScratch(backend, config, batchSize, weights.output != nullptr, rotations));
        QLLAMA_TRY(stage.cache, backend.createKvCache(
                                    {.layerCount = static_cast<std::int64_t>(weights.layers.size()),
                                     .kvHeadCount = config.kvHeadCount,
                                     .headDim = config.headDim,
                                     .capacity = options.contextLength,
                                     .precision = options.kvPrecision,
                                     .headCount = config.headCount}));
        stage.weights = std::move(weights);
        return stage;
    }

    [[nodiscard]] AttentionShape attentionShape() const {
        return {config.headCount, config.kvHeadCount, config.headDim};
    }

    void attentionBlock(Stage& stage, std::int64_t layer, std::int64_t n) {
        Backend& backend = *stage.weights.backend;
        const LayerWeights& weights = stage.weights.layers[static_cast<std::size_t>(layer)];
        Scratch& s = stage.scratch;
        const AttentionShape shape = attentionShape();
        backend.rmsNorm(*s.x, 0, *weights.attentionNorm, static_cast<float>(config.normEps),
                        config.dim, n, *s.h);
        const MatmulTask projections[] = {{weights.wq.get(), s.q.get()},
                                          {weights.wk.get(), s.k.get()},
                                          {weights.wv.get(), s.v.get()}};
        backend.matmul(projections, *s.h, n);
        backend.ropeAndStore(*s.q, *s.k, *s.v, *s.rotations, shape, *stage.cache, layer, position,
                             n);
        backend.attention(*s.q, shape, *stage.cache, layer, position, n, *s.h);
        const MatmulTask output[] = {{weights.wo.get(), s.x.get(), true}};
        backend.matmul(output, *s.h, n);
    }

    void feedForwardBlock(Stage& stage, std::int64_t layer, std::int64_t n) {
        Backend& backend = *stage.weights.backend;
        const LayerWeights& weights = stage.weights.layers[static_cast<std::size_t>(layer)];
        Scratch& s = stage.scratch;
        backend.rmsNorm(*s.x, 0, *weights.ffnNorm, static_cast<float>(config.normEps), config.dim,
                        n, *s.h);
        const MatmulTask gateAndUp[] = {{weights.w1.get(), s.gate.get()},
                                        {weights.w3.get(), s.up.get()}};
        backend.matmul(gateAndUp, *s.h, n);
        backend.swiglu(*s.gate, *s.up, config.ffnDim, n);
        const MatmulTask down[] = {{weights.w2.get(), s.x.get(), true}};
        backend.matmul(down, *s.gate, n);
    }

    // `layerDone` is called after each layer.
    template <typename LayerDone>
    Result<void> runLayers(Stage& stage, std::int64_t n, const LayerDone& layerDone,
                           const std::stop_token& stop) {
        const auto layers = static_cast<std::int64_t>(stage.weights.layers.size());
        for (std::int64_t layer = 0; layer < layers; ++layer) {
            if (stop.stop_requested()) {
                QLLAMA_CHECK(stage.weights.backend->finish());
                return cancelledError();
            }
            attentionBlock(stage, layer, n);
            feedForwardBlock(stage, layer, n);
            layerDone();
        }
        return {};
    }

    // The logits of rows [row, row + n) of the last stage's residual stream, through `buffer`.
    Result<void> computeLogits(std::int64_t row, std::int64_t n, Buffer& buffer,
                               std::span<float> out) {
        Stage& stage = stages.back();
        Backend& backend = *stage.weights.backend;
        Scratch& s = stage.scratch;
        backend.rmsNorm(*s.x, row, *stage.weights.norm, static_cast<float>(config.normEps),
                        config.dim, n, *s.h);
        const MatmulTask head[] = {{stage.weights.output.get(), &buffer}};
        backend.matmul(head, *s.h, n);
        return backend.read(buffer, 0, out);
    }

    // The logits of all `n` rows of a batch whose first token is `first` of those asked for.
    Result<void> giveLogits(std::int64_t first, std::int64_t n, const LogitsSink& sink) {
        if (!rowLogits) {
            QLLAMA_TRY(rowLogits, stages.back().weights.backend->createBuffer(
                                      kLogitRows * config.vocabularySize));
        }
        std::vector<float> rows;
        for (std::int64_t row = 0; row < n; row += kLogitRows) {
            const std::int64_t count = std::min(kLogitRows, n - row);
            rows.resize(static_cast<std::size_t>(count * config.vocabularySize));
            QLLAMA_CHECK(computeLogits(row, count, *rowLogits, rows));
            sink(first + row, rows);
        }
        std::copy(rows.end() - config.vocabularySize, rows.end(), logits.begin());
        return {};
    }

    // One batch through all stages; the hidden state is all that crosses from device to device.
    // `progress` (may be empty) gets the tokens' worth of layers done, but not yet all of them.
    Result<void> runBatch(std::span<const std::int32_t> tokens, bool wantLogits,
                          const std::function<void(std::int64_t)>& progress,
                          const std::stop_token& stop) {
        const auto n = static_cast<std::int64_t>(tokens.size());
        std::int64_t layersDone = 0;
        const auto layerDone = [&] {
            if (++layersDone < config.layerCount && progress)
                progress(n * layersDone / config.layerCount);
        };
        stageAtWork = 0;
        stages.front().weights.backend->embed(*stages.front().weights.embedding, tokens,
                                              *stages.front().scratch.x);
        for (std::size_t index = 0; index < stages.size(); ++index) {
            Stage& stage = stages[index];
            if (index != 0) {
                handOver.resize(static_cast<std::size_t>(n * config.dim));
                Stage& before = stages[index - 1];
                QLLAMA_CHECK(before.weights.backend->read(*before.scratch.x, 0, handOver));
                stageAtWork = index;
                QLLAMA_CHECK(stage.weights.backend->write(*stage.scratch.x, 0, handOver));
            }
            QLLAMA_CHECK(runLayers(stage, n, layerDone, stop));
        }
        if (wantLogits)
            QLLAMA_CHECK(computeLogits(n - 1, 1, *stages.back().scratch.logits, logits));
        position += n;
        return {};
    }

    Result<void> forward(std::span<const std::int32_t> tokens,
                         const std::function<void(std::int64_t)>& progress,
                         const std::stop_token& stop) {
        QLLAMA_CHECK(checkTokens(tokens));
        const auto batch = static_cast<std::size_t>(batchSize);
        for (std::size_t done = 0; done < tokens.size();) {
            const std::size_t count = std::min(batch, tokens.size() - done);
            const auto before = static_cast<std::int64_t>(done);
            const auto within = [&progress, before](std::int64_t tokensDone) {
                progress(before + tokensDone);
            };
            QLLAMA_CHECK(runBatch(tokens.subspan(done, count), done + count == tokens.size(),
                                  progress ? std::function<void(std::int64_t)>(within) : nullptr,
                                  stop));
            done += count;
            if (progress) progress(static_cast<std::int64_t>(done));
        }
        return {};
    }

    Result<void> forwardAll(std::span<const std::int32_t> tokens, const LogitsSink& sink,
                            const std::stop_token& stop) {
        QLLAMA_CHECK(checkTokens(tokens));
        const auto batch = static_cast<std::size_t>(batchSize);
        for (std::size_t done = 0; done < tokens.size();) {
            const std::size_t count = std::min(batch, tokens.size() - done);
            QLLAMA_CHECK(runBatch(tokens.subspan(done, count), false, {}, stop));
            QLLAMA_CHECK(giveLogits(static_cast<std::int64_t>(done),
                                    static_cast<std::int64_t>(count), sink));
            done += count;
        }
        return {};
    }

    // After a call: its logits confirm all; a failure leaves what was confirmed before, a stop what there is.
    Result<void> settled(Result<void> outcome) {
        if (outcome.ok())
            confirmed = position;
        else if (outcome.error().code != ErrorCode::Cancelled)
            truncate(confirmed);
        return outcome;
    }

    void truncate(std::int64_t to) {
        position = std::clamp<std::int64_t>(to, 0, position);
        confirmed = std::min(confirmed, position);
    }

    [[nodiscard]] Result<void> checkTokens(std::span<const std::int32_t> tokens) const {
        const auto count = static_cast<std::int64_t>(tokens.size());
        if (count > options.contextLength - position)
            return Error{ErrorCode::InvalidRequest,
                         "The context holds " + std::to_string(options.contextLength) +
                             " tokens and " + std::to_string(position + count) + " are needed.",
                         {}};
        for (const std::int32_t token : tokens)
            if (token < 0 || token >= config.vocabularySize)
                return Error{ErrorCode::InvalidRequest,
                             "Token " + std::to_string(token) + " is outside the vocabulary of " +
                                 std::to_string(config.vocabularySize) + ".",
                             {}};
        return {};
    }
};

Transformer::Transformer(std::unique_ptr<Impl> impl) : m_impl(std::move(impl)) {}
Transformer::~Transformer() = default;

Result<std::unique_ptr<Transformer>> Transformer::create(const LlamaConfig& config,
                                                         std::vector<StageWeights> stages,
                                                         const Options& options,
                                                         std::size_t* failedStage) {
    auto impl = std::make_unique<Impl>();
    impl->config = config;
    impl->options = options;
    impl->batchSize = batchSize(config, options.contextLength);
    impl->logits.resize(static_cast<std::size_t>(config.vocabularySize));
    const std::vector<float> rotations = rotationTable(config, options.contextLength);
    for (StageWeights& weights : stages) {
        if (failedStage != nullptr) *failedStage = impl->stages.size();
        QLLAMA_TRY(Stage stage, impl->stageOf(std::move(weights), rotations));
        impl->stages.push_back(std::move(stage));
    }
    assert(!impl->stages.empty() && impl->stages.front().weights.embedding &&
           impl->stages.back().weights.output);
    return std::unique_ptr<Transformer>(new Transformer(std::move(impl)));
}

std::int64_t Transformer::batchSize(const LlamaConfig& config, std::int64_t contextLength) {
    return std::min(batchSizeFor(config), contextLength);
}

std::int64_t Transformer::scratchBytes(const LlamaConfig& config, std::int64_t contextLength,
                                       bool isLast) {
    const std::int64_t batch = batchSize(config, contextLength);
    const std::int64_t floats = batch * floatsPerPosition(config) +
                                (isLast ? config.vocabularySize : 0) +
                                contextLength * config.headDim;
    return floats * std::int64_t{sizeof(float)};
}

Result<void> Transformer::forward(std::span<const std::int32_t> tokens,
                                  const std::function<void(std::int64_t)>& progress,
                                  std::stop_token stop) {
    return m_impl->settled(m_impl->forward(tokens, progress, stop));
}

Result<void> Transformer::forwardAll(std::span<const std::int32_t> tokens, const LogitsSink& sink,
                                     std::stop_token stop) {
    return m_impl->settled(m_impl->forwardAll(tokens, sink, stop));
}

std::size_t Transformer::failedStage() const {
    return m_impl->stageAtWork;
}

Result<void> Transformer::replaceStage(std::size_t index, StageWeights weights) {
    const std::vector<float> rotations =
        rotationTable(m_impl->config, m_impl->options.contextLength);
    QLLAMA_TRY(Stage stage, m_impl->stageOf(std::move(weights), rotations));
    if (index + 1 == m_impl->stages.size()) m_impl->rowLogits.reset();
    m_impl->stages[index] = std::move(stage);
    m_impl->truncate(0);
    return {};
}

std::span<const float> Transformer::logits() const {
    return m_impl->logits;
}

std::int64_t Transformer::position() const {
    return m_impl->position;
}

void Transformer::truncate(std::int64_t position) {
    m_impl->truncate(position);
}

const LlamaConfig& Transformer::config() const {
    return m_impl->config;
}

std::int64_t Transformer::contextLength() const {
    return m_impl->options.contextLength;
}

std::int64_t Transformer::weightBytes() const {
    std::int64_t bytes = 0;
    for (const Stage& stage : m_impl->stages)
        bytes += stage.weights.sizeBytes();
    return bytes;
}

std::int64_t Transformer::kvCacheBytes() const {
    const LlamaConfig& config = m_impl->config;
    const std::int64_t element = m_impl->options.kvPrecision == KvPrecision::F16 ? 2 : 4;
    return 2 * config.layerCount * config.kvHeadCount * config.headDim *
           m_impl->options.contextLength * element;
}

std::int64_t Transformer::bytesPerToken() const {
    std::int64_t bytes = 0;
    for (const std::int64_t part : stageBytesPerToken())
        bytes += part;
    return bytes;
}

std::vector<std::int64_t> Transformer::stageBytesPerToken() const {
    std::vector<std::int64_t> bytes;
    for (const Stage& stage : m_impl->stages)
        bytes.push_back(stage.weights.sizeBytes());
    const Matrix& embedding = *m_impl->stages.front().weights.embedding;
    bytes.front() -= embedding.sizeBytes() - embedding.sizeBytes() / embedding.rows();
    return bytes;
}

Backend& Transformer::stageBackend(std::size_t index) const {
    return *m_impl->stages[index].weights.backend;
}

std::int64_t Transformer::multiplyAdds(std::int64_t keys) const {
    const LlamaConfig& config = m_impl->config;
    const std::int64_t width = config.headCount * config.headDim;
    const std::int64_t kvWidth = config.kvHeadCount * config.headDim;
    const std::int64_t matrices =
        config.dim * (2 * width + 2 * kvWidth) + 3 * config.dim * config.ffnDim;
    return config.layerCount * (matrices + 2 * width * keys);
}

}  // namespace qllama
