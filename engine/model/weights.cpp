#include "engine/model/weights.h"

#include <string>
#include <utility>

namespace qllama {
namespace {

constexpr const char* kLayerParts[] = {
    "attention_norm.weight",  "attention.wq.weight",    "attention.wk.weight",
    "attention.wv.weight",    "attention.wo.weight",    "ffn_norm.weight",
    "feed_forward.w1.weight", "feed_forward.w3.weight", "feed_forward.w2.weight",
};

// Loads the tensors of one stage in order, keeping count of the bytes.
class StageLoader {
public:
    StageLoader(Backend& backend, const Checkpoint& checkpoint, Precision precision,
                const LoadProgressSink& progress, std::stop_token stop)
        : m_backend(backend),
          m_checkpoint(checkpoint),
          m_precision(precision),
          m_progress(progress),
          m_stop(std::move(stop)) {}

    // Adds what will be loaded to the total, so that progress is a true share from the start.
    void expect(const std::string& name) {
        m_counted.totalBytes += m_checkpoint.tensors.at(name).sizeBytes();
    }

    Result<void> matrix(const std::string& name, std::unique_ptr<Matrix>& target) {
        if (m_stop.stop_requested()) return cancelledError();
        const CatalogTensor& tensor = m_checkpoint.tensors.at(name);
        QLLAMA_TRY(target, m_backend.loadMatrix(tensor, m_precision, m_stop));
        count(tensor.sizeBytes());
        return {};
    }

    Result<void> vector(const std::string& name, std::unique_ptr<Buffer>& target) {
        const CatalogTensor& tensor = m_checkpoint.tensors.at(name);
        QLLAMA_TRY(target, m_backend.loadVector(tensor));
        count(tensor.sizeBytes());
        return {};
    }

    void expectLayer(std::int64_t index) {
        for (const char* part : kLayerParts)
            expect(layerTensorName(index, part));
    }

    Result<void> layer(std::int64_t index, LayerWeights& weights) {
        const auto name = [index](const char* part) { return layerTensorName(index, part); };
        QLLAMA_CHECK(vector(name("attention_norm.weight"), weights.attentionNorm));
        QLLAMA_CHECK(matrix(name("attention.wq.weight"), weights.wq));
        QLLAMA_CHECK(matrix(name("attention.wk.weight"), weights.wk));
        QLLAMA_CHECK(matrix(name("attention.wv.weight"), weights.wv));
        QLLAMA_CHECK(matrix(name("attention.wo.weight"), weights.wo));
        QLLAMA_CHECK(vector(name("ffn_norm.weight"), weights.ffnNorm));
        QLLAMA_CHECK(matrix(name("feed_forward.w1.weight"), weights.w1));
        QLLAMA_CHECK(matrix(name("feed_forward.w3.weight"), weights.w3));
        QLLAMA_CHECK(matrix(name("feed_forward.w2.weight"), weights.w2));
        return {};
    }

private:
    void count(std::int64_t bytes) {
        m_counted.doneBytes += bytes;
        if (m_progress) m_progress(m_counted);
    }

    Backend& m_backend;
    const Checkpoint& m_checkpoint;
    Precision m_precision;
    const LoadProgressSink& m_progress;
    std::stop_token m_stop;
    LoadProgress m_counted;
};

Result<void> tune(Backend& backend, const StageWeights& stage, std::stop_token stop) {
    std::vector<const Matrix*> matrices;
    for (const LayerWeights& layer : stage.layers)
        for (const auto* matrix :
             {&layer.wq, &layer.wk, &layer.wv, &layer.wo, &layer.w1, &layer.w3, &layer.w2})
            matrices.push_back(matrix->get());
    if (matrices.empty()) return {};
    return backend.tune(matrices, std::move(stop));
}

}  // namespace

std::int64_t StageWeights::sizeBytes() const {
    std::int64_t bytes = 0;
    for (const LayerWeights& layer : layers)
        for (const Matrix* matrix : {layer.wq.get(), layer.wk.get(), layer.wv.get(), layer.wo.get(),
                                     layer.w1.get(), layer.w3.get(), layer.w2.get()})
            bytes += matrix->sizeBytes();
    if (embedding) bytes += embedding->sizeBytes();
    if (output) bytes += output->sizeBytes();
    return bytes;
}

Result<StageWeights> loadStage(Backend& backend, const Checkpoint& checkpoint,
                               const LlamaConfig& config, Precision precision,
                               std::int64_t firstLayer, std::int64_t layerCount,
                               const LoadProgressSink& progress, std::stop_token stop) {
    const std::int64_t endLayer = firstLayer + layerCount;
    const bool isFirst = firstLayer == 0;
    const bool isLast = endLayer == config.layerCount;
    StageLoader loader(backend, checkpoint, precision, progress, stop);
    if (isFirst) loader.expect("tok_embeddings.weight");
    for (std::int64_t layer = firstLayer; layer < endLayer; ++layer)
        loader.expectLayer(layer);
    if (isLast) {
        loader.expect("norm.weight");
        loader.expect("output.weight");
    }

    StageWeights stage;
    stage.backend = &backend;
    if (isFirst) QLLAMA_CHECK(loader.matrix("tok_embeddings.weight", stage.embedding));
    for (std::int64_t layer = firstLayer; layer < endLayer; ++layer)
        QLLAMA_CHECK(loader.layer(layer, stage.layers.emplace_back()));
    if (isLast) {
        QLLAMA_CHECK(loader.vector("norm.weight", stage.norm));
        QLLAMA_CHECK(loader.matrix("output.weight", stage.output));
    }
    QLLAMA_CHECK(tune(backend, stage, std::move(stop)));
    return stage;
}

}  // namespace qllama
