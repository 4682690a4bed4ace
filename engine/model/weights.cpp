#include "engine/model/weights.h"

#include <string>
#include <utility>

namespace qllama {
namespace {

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

    void expect(std::int64_t bytes) { m_counted.totalBytes += bytes; }

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

// True for the tensors of the stage's layers and of the ends of the model that it holds.
bool belongsTo(const std::string& name, std::int64_t firstLayer, std::int64_t endLayer,
               bool isFirst, bool isLast) {
    constexpr std::string_view kPrefix = "layers.";
    if (!name.starts_with(kPrefix))
        return name == "tok_embeddings.weight"
                   ? isFirst
                   : isLast && (name == "norm.weight" || name == "output.weight");
    const std::int64_t layer = std::stoll(name.substr(kPrefix.size()));
    return layer >= firstLayer && layer < endLayer;
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
    for (const auto& [name, tensor] : checkpoint.tensors)
        if (belongsTo(name, firstLayer, endLayer, isFirst, isLast))
            loader.expect(tensor.sizeBytes());

    StageWeights stage;
    stage.backend = &backend;
    if (isFirst) QLLAMA_CHECK(loader.matrix("tok_embeddings.weight", stage.embedding));
    for (std::int64_t layer = firstLayer; layer < endLayer; ++layer)
        QLLAMA_CHECK(loader.layer(layer, stage.layers.emplace_back()));
    if (isLast) {
        QLLAMA_CHECK(loader.vector("norm.weight", stage.norm));
        QLLAMA_CHECK(loader.matrix("output.weight", stage.output));
    }
    return stage;
}

}  // namespace qllama
