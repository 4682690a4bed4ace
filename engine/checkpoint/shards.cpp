#include "engine/checkpoint/shards.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <set>
#include <span>
#include <string_view>

#include "engine/checkpoint/printable.h"

namespace qllama {
namespace {

enum class SplitRule { Rows, Columns, Embedding, Replicated };

struct SplitLine {
    std::string_view suffix;  // of the tensor's name
    SplitRule rule;
};

constexpr SplitLine kSplits[] = {
    {"attention.wq.weight", SplitRule::Rows},
    {"attention.wk.weight", SplitRule::Rows},
    {"attention.wv.weight", SplitRule::Rows},
    {"attention.wo.weight", SplitRule::Columns},
    {"feed_forward.w1.weight", SplitRule::Rows},
    {"feed_forward.w2.weight", SplitRule::Columns},
    {"feed_forward.w3.weight", SplitRule::Rows},
    {"tok_embeddings.weight", SplitRule::Embedding},
    {"output.weight", SplitRule::Rows},
    {"norm.weight", SplitRule::Replicated},  // also attention_norm, ffn_norm
};

// Computed by us; Meta's first files carry them, the very first one in each layer
// ("layers.0.attention.inner_attention.rope.freqs").
bool isComputedHere(std::string_view name) {
    return name == "rope.freqs" || name.ends_with(".rope.freqs");
}

std::optional<SplitRule> ruleOf(std::string_view name) {
    for (const SplitLine& line : kSplits)
        if (name.ends_with(line.suffix)) return line.rule;
    return std::nullopt;
}

const StoredTensor* find(const StateDict& shard, const std::string& name) {
    const auto found = shard.tensors.find(name);
    return found == shard.tensors.end() ? nullptr : &found->second;
}

// The norms are never split, so they know the width better than params.json does.
std::int64_t trueWidth(const StateDict& shard, std::int64_t dim) {
    const StoredTensor* norm = find(shard, "norm.weight");
    return norm != nullptr && norm->shape.size() == 1 ? norm->shape[0] : dim;
}

// Of the same type and shape. What no norm is (a matrix, an odd stride) counts as the same.
bool isSameVector(const StoredTensor& left, const StoredTensor& right) {
    if (left.shape.size() != 1 || !left.isContiguous() || !right.isContiguous()) return true;
    const std::int64_t bytes = left.elementCount() * sizeOf(left.dtype);
    return std::memcmp(left.data(), right.data(), static_cast<std::size_t>(bytes)) == 0;
}

// Enough of a part of a matrix to tell it from another; empty for an odd stride.
std::span<const std::byte> beginningOf(const StoredTensor& part) {
    constexpr std::int64_t kBytes = std::int64_t{64} << 10;
    if (!part.isContiguous()) return {};
    const std::int64_t bytes = part.elementCount() * sizeOf(part.dtype);
    return {part.data(), static_cast<std::size_t>(std::min(bytes, kBytes))};
}

// Whether not all elements are the same.
bool isVaried(std::span<const std::byte> bytes, DType dtype) {
    const auto size = static_cast<std::size_t>(sizeOf(dtype));
    return bytes.size() > size &&
           !std::ranges::equal(bytes.subspan(size), bytes.first(bytes.size() - size));
}

// Whether two shards hold the same parts of all matrices, and not constants alone.
bool areCopies(const TensorCatalog& catalog, std::size_t left, std::size_t right) {
    bool isTold = false;
    for (const auto& [name, tensor] : catalog) {
        if (tensor.parts.size() <= right) continue;
        const std::span<const std::byte> bytes = beginningOf(tensor.parts[left]);
        if (!std::ranges::equal(bytes, beginningOf(tensor.parts[right]))) return false;
        isTold = isTold || isVaried(bytes, tensor.dtype);
    }
    return isTold;
}

class Merger {
public:
    Merger(std::vector<Shard>& shards, std::int64_t dim, std::int64_t vocabularySize,
           std::vector<std::string>& notes, std::vector<std::string>& warnings)
        : m_shards(shards),
          m_dim(trueWidth(shards.front().content, dim)),
          m_vocabularySize(vocabularySize),
          m_notes(notes),
          m_warnings(warnings) {}

    Result<TensorCatalog> merge();

private:
    using Parts = std::vector<StoredTensor>;

    [[nodiscard]] Error failure(const std::string& message, std::size_t shard) const {
        return {ErrorCode::InvalidFile, message, m_shards[shard].path.string()};
    }
    [[nodiscard]] std::int64_t shardCount() const {
        return static_cast<std::int64_t>(m_shards.size());
    }
    Result<Parts> collect(const std::string& name) const;
    Result<void> checkParts(const std::string& name, const Parts& parts) const;
    void compareCopies(const std::string& name, const Parts& parts);
    void findCopiedShards(const TensorCatalog& catalog);
    Result<JoinAxis> axisOf(const std::string& name, SplitRule rule, const Parts& parts) const;
    Result<JoinAxis> embeddingAxis(const std::string& name, const Parts& parts) const;
    [[nodiscard]] std::int64_t vocabularyFromOutput() const;

    std::vector<Shard>& m_shards;
    std::int64_t m_dim;
    std::int64_t m_vocabularySize;
    std::vector<std::string>& m_notes;
    std::vector<std::string>& m_warnings;
};

Result<Merger::Parts> Merger::collect(const std::string& name) const {
    Parts parts;
    for (std::size_t shard = 0; shard < m_shards.size(); ++shard) {
        const StoredTensor* part = find(m_shards[shard].content, name);
        if (part == nullptr)
            return failure("Tensor \"" + printable(name) +
                               "\" is missing from this file, though the other files of the model "
                               "have it.",
                           shard);
        parts.push_back(*part);
    }
    return parts;
}

Result<void> Merger::checkParts(const std::string& name, const Parts& parts) const {
    for (std::size_t shard = 1; shard < parts.size(); ++shard) {
        if (parts[shard].dtype != parts[0].dtype)
            return failure("Tensor \"" + printable(name) + "\" is " +
                               std::string(nameOf(parts[shard].dtype)) + " here but " +
                               std::string(nameOf(parts[0].dtype)) + " in the first file.",
                           shard);
        if (parts[shard].shape != parts[0].shape)
            return failure("Tensor \"" + printable(name) + "\" has the shape " +
                               shapeText(parts[shard].shape) + " here but " +
                               shapeText(parts[0].shape) +
                               " in the first file; the files do not belong together.",
                           shard);
    }
    return {};
}

// Shards of one model were written by one training step; norms tell whether they were.
void Merger::compareCopies(const std::string& name, const Parts& parts) {
    if (!m_warnings.empty()) return;
    for (std::size_t shard = 1; shard < parts.size(); ++shard) {
        if (isSameVector(parts[0], parts[shard])) continue;
        m_warnings.push_back(
            "Tensor \"" + printable(name) + "\" is another one in " +
            m_shards[shard].path.filename().string() + " than in " +
            m_shards[0].path.filename().string() +
            ", though all files of a model have the same: they may be of different "
            "models. That of the first file is used.");
        return;
    }
}

// One file saved under several names gives text without sense.
void Merger::findCopiedShards(const TensorCatalog& catalog) {
    for (std::size_t left = 0; left + 1 < m_shards.size(); ++left) {
        std::string copies;
        for (std::size_t right = left + 1; right < m_shards.size(); ++right)
            if (areCopies(catalog, left, right))
                copies += ", " + m_shards[right].path.filename().string();
        if (copies.empty()) continue;
        m_warnings.push_back(
            "These files hold the same weights, though every file of a model holds different "
            "ones: " +
            m_shards[left].path.filename().string() + copies +
            ". All but one are probably copies under a wrong name. Find out which with the model's "
            "checksums, or download them again.");
        return;
    }
}

std::int64_t Merger::vocabularyFromOutput() const {
    const StoredTensor* output = find(m_shards.front().content, "output.weight");
    const bool usable = output != nullptr && output->shape.size() == 2;
    return usable ? output->shape[0] * shardCount() : m_vocabularySize;
}

// [vocabulary, dim / shards] is split by columns, [vocabulary / shards, dim] by rows.
Result<JoinAxis> Merger::embeddingAxis(const std::string& name, const Parts& parts) const {
    const auto& shape = parts[0].shape;
    const std::int64_t vocabulary = vocabularyFromOutput();
    const bool byColumns = shape[1] <= m_dim && shape[1] * shardCount() == m_dim &&
                           (vocabulary == 0 || shape[0] == vocabulary);
    const bool byRows =
        shape[1] == m_dim &&
        (vocabulary == 0 || (shape[0] <= vocabulary && shape[0] * shardCount() == vocabulary));
    if (byColumns) return JoinAxis::Columns;
    if (byRows) return JoinAxis::Rows;
    const std::string vocabularyText =
        vocabulary == 0 ? "an unknown vocabulary" : "a vocabulary of " + std::to_string(vocabulary);
    return failure("Tensor \"" + name + "\" has the shape " + shapeText(shape) + " in each of " +
                       countText(shardCount(), "file") +
                       ", which joined by rows or by columns does not make a model of width " +
                       std::to_string(m_dim) + " with " + vocabularyText + ".",
                   0);
}

Result<JoinAxis> Merger::axisOf(const std::string& name, SplitRule rule, const Parts& parts) const {
    if (rule == SplitRule::Replicated) return JoinAxis::None;
    if (parts[0].shape.size() != 2)
        return failure("Tensor \"" + printable(name) + "\" should be a matrix but has the shape " +
                           shapeText(parts[0].shape) + ".",
                       0);
    if (rule == SplitRule::Embedding) return embeddingAxis(name, parts);
    return rule == SplitRule::Rows ? JoinAxis::Rows : JoinAxis::Columns;
}

Result<TensorCatalog> Merger::merge() {
    std::set<std::string> names;
    for (const Shard& shard : m_shards)
        for (const auto& [name, tensor] : shard.content.tensors)
            if (!isComputedHere(name)) names.insert(name);
    TensorCatalog catalog;
    NameList unknown;
    for (const std::string& name : names) {
        const std::optional<SplitRule> rule = ruleOf(name);
        if (!rule && m_shards.size() > 1) {
            unknown.add(name);
            continue;
        }
        QLLAMA_TRY(Parts parts, collect(name));
        QLLAMA_CHECK(checkParts(name, parts));
        CatalogTensor tensor;
        tensor.name = name;
        tensor.dtype = parts[0].dtype;
        tensor.shape = parts[0].shape;
        if (m_shards.size() > 1) {
            QLLAMA_TRY(tensor.axis, axisOf(name, *rule, parts));
        }
        if (tensor.axis == JoinAxis::None) {
            compareCopies(name, parts);
            parts.resize(1);
        }
        if (tensor.axis == JoinAxis::Rows) tensor.shape[0] *= shardCount();
        if (tensor.axis == JoinAxis::Columns) tensor.shape[1] *= shardCount();
        tensor.parts = std::move(parts);
        catalog.emplace(name, std::move(tensor));
    }
    findCopiedShards(catalog);
    if (unknown.count() > 0)
        m_notes.push_back(
            "Tensors were left out because no LLaMA has any of that name: " + unknown.text() + ".");
    return catalog;
}

}  // namespace

// Queries of all heads make up the model's width: wq is [dim / shards, dim], wo [dim, dim / shards].
std::optional<std::int64_t> shardCountImplied(const StateDict& shard, std::int64_t dim) {
    const std::int64_t width = trueWidth(shard, dim);
    const StoredTensor* query = find(shard, "layers.0.attention.wq.weight");
    const StoredTensor* projection = find(shard, "layers.0.attention.wo.weight");
    if (query == nullptr || projection == nullptr || query->shape.size() != 2) return std::nullopt;
    const std::int64_t part = query->shape[0];
    const std::vector<std::int64_t> expected{width, part};
    if (query->shape[1] != width || projection->shape != expected) return std::nullopt;
    if (part <= 0 || width % part != 0) return std::nullopt;
    return width / part;
}

Result<TensorCatalog> mergeShards(std::vector<Shard> shards, std::int64_t dim,
                                  std::int64_t vocabularySize, std::vector<std::string>& notes,
                                  std::vector<std::string>& warnings) {
    return Merger(shards, dim, vocabularySize, notes, warnings).merge();
}

}  // namespace qllama
