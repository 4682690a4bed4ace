// A small model of bf16 on disk, and a folder for the weights that are made of it and kept.
#pragma once

#include <QTemporaryDir>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/quant/weight_cache.h"
#include "engine/session/model_loader.h"
#include "engine/session/model_maker.h"

namespace qllama::test {

inline Checkpoint open(const std::filesystem::path& folder) {
    auto checkpoint = openCheckpoint({.model = folder, .tokenizer = {}, .params = {}}, {});
    if (!checkpoint) qFatal("%s", checkpoint.error().text().c_str());
    return std::move(checkpoint).value();
}

// Empty unless there is exactly one.
inline std::filesystem::path onlyFile(const std::filesystem::path& folder) {
    const auto entries = listWeightCache(folder);
    if (!entries.ok() || entries.value().size() != 1) return {};
    return entries.value().front().path;
}

struct Loaded {
    std::vector<float> logits;
    std::vector<std::string> notes;
    std::int64_t weightBytes = 0;
};

class KeptModel {
public:
    // Of the vocabulary 101 and the width 64. Once, before all else.
    bool make() {
        const auto shape = parseModelShape("dim=64,layers=2,heads=4,kv-heads=2,ffn=160,vocab=101");
        return m_folder.isValid() && shape.ok() &&
               makeModel({.shape = shape.value(), .folder = modelFolder(), .dtype = DType::BF16},
                         {}, {})
                   .ok();
    }
    // From here on weights are kept in a new folder.
    void beginCache() {
        m_cache = path(("cache" + std::to_string(++m_cacheCount)).c_str()) / "weights";
    }

    Loaded load(Precision precision, const LoadProgressSink& progress = {}) {
        return loadFrom(modelFolder(), precision, progress);
    }
    Loaded loadFrom(const std::filesystem::path& folder, Precision precision,
                    const LoadProgressSink& progress = {}) {
        LoadRequest request;
        request.location.model = folder;
        request.precision = precision;
        request.needsTokenizer = false;
        request.contextLength = 16;
        request.threadCount = 2;
        request.weightCacheFolder = m_cache;
        auto model = loadModel(request, progress, {});
        if (!model) qFatal("%s", model.error().text().c_str());
        Transformer& transformer = *model.value()->transformer;
        const TokenId tokens[] = {1, 50, 100, 7};
        if (!transformer.forward(tokens, {}, {}).ok()) qFatal("forward failed");
        const auto logits = transformer.logits();
        const ModelInfo& info = model.value()->info;
        return {{logits.begin(), logits.end()}, info.notes, info.weightBytes};
    }

    [[nodiscard]] std::filesystem::path modelFolder() const { return path("model"); }
    [[nodiscard]] std::filesystem::path path(const char* name) const {
        return std::filesystem::path(m_folder.path().toStdString()) / name;
    }

protected:
    QTemporaryDir m_folder;
    std::filesystem::path m_cache;

private:
    int m_cacheCount = 0;
};

}  // namespace qllama::test
