#include "engine/session/model_maker.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <fstream>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "engine/checkpoint/checkpoint_writer.h"
#include "engine/common/thread_pool.h"
#include "engine/model/llama_config.h"
#include "engine/session/random_weights.h"
#include "engine/tokenizer/tokenizer.h"

namespace qllama {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kDefaultVocabulary = 32000;
constexpr std::int64_t kPortion = std::int64_t{4} << 20;  // elements made while others are written
constexpr std::int64_t kPiece = std::int64_t{64} << 10;   // elements a thread makes at a time

// Which extent Meta's model parallelism divides.
enum class Split { None, Rows, Columns };

struct PlannedTensor {
    std::string name;
    std::vector<std::int64_t> shape;  // of the whole tensor
    Split split = Split::None;
    double standardDeviation = 0;  // 0: all ones
};

// Products keep the size of what they multiply; the two that end a block are small enough that the
// residual stream, made of 2 x layers of them, grows by no more than its own size.
std::vector<PlannedTensor> plan(const ModelShape& shape, std::int64_t vocabulary) {
    const std::int64_t dim = shape.dim;
    const std::int64_t ffn = shape.ffnDim;
    const std::int64_t kvWidth = shape.kvHeadCount * (dim / shape.headCount);
    const double in = 1 / std::sqrt(static_cast<double>(dim));
    const double blocks = std::sqrt(2.0 * static_cast<double>(shape.layerCount));
    std::vector<PlannedTensor> tensors = {
        {"tok_embeddings.weight", {vocabulary, dim}, Split::Columns, 1},
        {"norm.weight", {dim}, Split::None, 0},
        {"output.weight", {vocabulary, dim}, Split::Rows, in},
    };
    for (std::int64_t layer = 0; layer < shape.layerCount; ++layer) {
        const auto add = [&](const char* part, std::vector<std::int64_t> extents, Split split,
                             double deviation) {
            tensors.push_back({layerTensorName(layer, part), std::move(extents), split, deviation});
        };
        add("attention.wq.weight", {dim, dim}, Split::Rows, in);
        add("attention.wk.weight", {kvWidth, dim}, Split::Rows, in);
        add("attention.wv.weight", {kvWidth, dim}, Split::Rows, in);
        add("attention.wo.weight", {dim, dim}, Split::Columns, in / blocks);
        add("feed_forward.w1.weight", {ffn, dim}, Split::Rows, in);
        add("feed_forward.w2.weight", {dim, ffn}, Split::Columns,
            1 / std::sqrt(static_cast<double>(ffn)) / blocks);
        add("feed_forward.w3.weight", {ffn, dim}, Split::Rows, in);
        add("attention_norm.weight", {dim}, Split::None, 0);
        add("ffn_norm.weight", {dim}, Split::None, 0);
    }
    return tensors;
}

std::vector<std::int64_t> partShape(const PlannedTensor& tensor, int shardCount) {
    std::vector<std::int64_t> shape = tensor.shape;
    if (tensor.split == Split::Rows) shape.front() /= shardCount;
    if (tensor.split == Split::Columns) shape.back() /= shardCount;
    return shape;
}

// The part of a tensor that one shard holds, as numbers of the tensor's series.
class TensorPart {
public:
    TensorPart(const PlannedTensor& tensor, DType dtype, std::uint64_t seed, int shard,
               int shardCount)
        : m_one(dtype == DType::F16 ? floatToHalf(1) : floatToBfloat16(1)),
          m_columns(tensor.shape.back()),
          m_partColumns(m_columns) {
        if (tensor.standardDeviation > 0) m_series.emplace(seed, tensor.standardDeviation, dtype);
        if (tensor.split == Split::Rows)
            m_start = shard * (tensor.shape.front() / shardCount) * m_columns;
        if (tensor.split == Split::Columns) {
            m_partColumns = m_columns / shardCount;
            m_start = shard * m_partColumns;
        }
    }

    // Elements [first, first + out.size()) of the part. Any thread.
    void fill(std::int64_t first, std::span<std::uint16_t> out) const {
        if (!m_series) {
            std::fill(out.begin(), out.end(), m_one);
            return;
        }
        while (!out.empty()) {
            const std::int64_t column = first % m_partColumns;
            const auto count =
                std::min(out.size(), static_cast<std::size_t>(m_partColumns - column));
            m_series->fill(
                static_cast<std::uint64_t>(m_start + first / m_partColumns * m_columns + column),
                out.first(count));
            first += static_cast<std::int64_t>(count);
            out = out.subspan(count);
        }
    }

private:
    std::uint16_t m_one;
    std::int64_t m_columns;
    std::int64_t m_partColumns;
    std::int64_t m_start = 0;  // element of the tensor that is element 0 of the part
    std::optional<NormalSeries> m_series;
};

// Everything that was made so far, taken away again unless keep() is called.
class Unfinished {
public:
    ~Unfinished() {
        std::error_code ignored;
        for (auto path = m_paths.rbegin(); path != m_paths.rend(); ++path)
            fs::remove(*path, ignored);
    }
    void add(fs::path path) { m_paths.push_back(std::move(path)); }
    void keep() { m_paths.clear(); }

private:
    std::vector<fs::path> m_paths;
};

class ModelMaker {
public:
    ModelMaker(const ModelMakerRequest& request, const MakeProgressSink& progress,
               std::stop_token stop, ThreadPool pool)
        : m_request(request),
          m_progress(progress),
          m_stop(std::move(stop)),
          m_pool(std::move(pool)) {}

    Result<MadeModel> make();

private:
    Result<void> resolveVocabulary();
    void planFiles();
    [[nodiscard]] std::vector<TensorHeader> headers() const;
    Result<void> prepareFolder();
    Result<void> checkSpace() const;
    Result<void> writeShard(int shard);
    Result<void> writeTensor(CheckpointWriter& writer, const TensorPart& part,
                             std::int64_t elements);
    Result<void> writeCompanions();

    const ModelMakerRequest& m_request;
    const MakeProgressSink& m_progress;
    std::stop_token m_stop;
    ThreadPool m_pool;
    MadeModel m_made;
    std::vector<PlannedTensor> m_tensors;
    Unfinished m_unfinished;  // before the writers: the folder goes last
    std::vector<std::unique_ptr<CheckpointWriter>> m_writers;
    std::int64_t m_doneBytes = 0;
    std::vector<std::uint16_t> m_fresh = std::vector<std::uint16_t>(kPortion);
    std::vector<std::uint16_t> m_full = std::vector<std::uint16_t>(kPortion);
};

Result<void> ModelMaker::resolveVocabulary() {
    const std::optional<std::int64_t> wanted = m_request.shape.vocabularySize;
    m_made.vocabularySize = wanted.value_or(kDefaultVocabulary);
    if (!m_request.tokenizer) return {};
    QLLAMA_TRY(const auto tokenizer, Tokenizer::open(*m_request.tokenizer));
    if (wanted && *wanted != tokenizer->vocabularySize())
        return Error{ErrorCode::InvalidRequest,
                     "The shape has a vocabulary of " + std::to_string(*wanted) +
                         ", but the tokenizer has " + std::to_string(tokenizer->vocabularySize()) +
                         " pieces.",
                     m_request.tokenizer->string()};
    m_made.vocabularySize = tokenizer->vocabularySize();
    return {};
}

void ModelMaker::planFiles() {
    m_tensors = plan(m_request.shape, m_made.vocabularySize);
    m_made.shardCount = m_request.shardCount;
    for (const PlannedTensor& tensor : m_tensors)
        m_made.parameterCount += TensorHeader{"", m_request.dtype, tensor.shape}.elementCount();
    for (const TensorHeader& header : headers())
        m_made.sizeBytes += header.sizeBytes() * m_request.shardCount;
}

std::vector<TensorHeader> ModelMaker::headers() const {
    std::vector<TensorHeader> made;
    for (const PlannedTensor& tensor : m_tensors)
        made.push_back({tensor.name, m_request.dtype, partShape(tensor, m_request.shardCount)});
    return made;
}

Result<void> ModelMaker::prepareFolder() {
    const fs::path& folder = m_request.folder;
    std::error_code failed;
    if (fs::exists(folder, failed)) {
        if (!fs::is_directory(folder, failed) || !fs::is_empty(folder, failed) || failed)
            return Error{ErrorCode::InvalidRequest,
                         "A model can only be made in a new or an empty folder; this one holds "
                         "something already, or is none. Choose another name.",
                         folder.string()};
        return checkSpace();
    }
    // From the outermost missing folder inwards, so that a failure takes all of them away again.
    std::vector<fs::path> missing;
    for (fs::path path = fs::absolute(folder, failed); !path.empty() && !fs::exists(path, failed);
         path = path.parent_path())
        if (path.has_filename()) missing.push_back(path);
    for (; !missing.empty(); missing.pop_back()) {
        const bool isMade = fs::create_directory(missing.back(), failed);
        if (failed)
            return Error{ErrorCode::Io, "Cannot make the folder: " + failed.message() + ".",
                         missing.back().string()};
        if (isMade) m_unfinished.add(missing.back());  // "new/.." is there once "new" is
    }
    return checkSpace();
}

Result<void> ModelMaker::checkSpace() const {
    constexpr std::int64_t kDirectoryBytes = std::int64_t{1} << 20;  // of each zip, and its pickle
    std::error_code failed;
    const fs::space_info space = fs::space(m_request.folder, failed);
    const std::int64_t needed = m_made.sizeBytes + kDirectoryBytes * m_request.shardCount;
    if (failed || space.available >= static_cast<std::uintmax_t>(needed)) return {};
    return Error{ErrorCode::Io,
                 "The model takes " + std::to_string(needed) + " bytes, but the disk has only " +
                     std::to_string(space.available) + " free.",
                 m_request.folder.string()};
}

// One thread writes what the others made in the round before.
Result<void> ModelMaker::writeTensor(CheckpointWriter& writer, const TensorPart& part,
                                     std::int64_t elements) {
    std::int64_t made = 0;
    std::int64_t waiting = 0;  // elements in m_full
    while (made < elements || waiting > 0) {
        if (m_stop.stop_requested()) return cancelledError();
        const std::int64_t count = std::min(kPortion, elements - made);
        const std::int64_t pieces = (count + kPiece - 1) / kPiece;
        std::atomic<std::int64_t> next{-1};
        Result<void> written;
        m_pool.run([&](int) {
            for (std::int64_t piece; (piece = next.fetch_add(1)) < pieces;) {
                if (piece < 0) {
                    written = writer.write(
                        std::as_bytes(std::span(m_full).first(static_cast<std::size_t>(waiting))));
                } else {
                    const std::int64_t begin = piece * kPiece;
                    part.fill(made + begin,
                              std::span(m_fresh).subspan(
                                  static_cast<std::size_t>(begin),
                                  static_cast<std::size_t>(std::min(kPiece, count - begin))));
                }
            }
        });
        QLLAMA_CHECK(std::move(written));
        m_doneBytes += waiting * 2;
        if (m_progress && waiting > 0) m_progress(m_doneBytes, m_made.sizeBytes);
        std::swap(m_fresh, m_full);
        made += count;
        waiting = count;
    }
    return {};
}

Result<void> ModelMaker::writeShard(int shard) {
    char name[32];
    std::snprintf(name, sizeof name, "consolidated.%02d.pth", shard);
    QLLAMA_TRY(auto writer, CheckpointWriter::create(m_request.folder / name, headers()));
    for (std::size_t index = 0; index < m_tensors.size(); ++index) {
        const TensorPart part(m_tensors[index], m_request.dtype, m_request.seed + (index << 32),
                              shard, m_request.shardCount);
        const TensorHeader header{"", m_request.dtype,
                                  partShape(m_tensors[index], m_request.shardCount)};
        QLLAMA_CHECK(writeTensor(*writer, part, header.elementCount()));
    }
    QLLAMA_CHECK(writer->finish());
    m_writers.push_back(std::move(writer));
    m_unfinished.add(m_request.folder / name);
    return {};
}

// The tokenizer and params.json.
Result<void> ModelMaker::writeCompanions() {
    std::error_code failed;
    if (m_request.tokenizer) {
        const fs::path copy = m_request.folder / "tokenizer.model";
        m_unfinished.add(copy);
        fs::copy_file(*m_request.tokenizer, copy, failed);
        if (failed)
            return Error{ErrorCode::Io, "Cannot copy the tokenizer: " + failed.message() + ".",
                         copy.string()};
    }
    const fs::path params = m_request.folder / "params.json";
    m_unfinished.add(params);
    std::ofstream file(params, std::ios::binary);
    file << paramsJson(m_request.shape) << std::flush;
    if (!file) return Error{ErrorCode::Io, "Cannot write the file.", params.string()};
    return {};
}

Result<MadeModel> ModelMaker::make() {
    const auto start = std::chrono::steady_clock::now();
    QLLAMA_CHECK(resolveVocabulary());
    QLLAMA_CHECK(checkShards(m_request.shape, m_made.vocabularySize, m_request.shardCount));
    planFiles();
    QLLAMA_CHECK(prepareFolder());
    for (int shard = 0; shard < m_request.shardCount; ++shard)
        QLLAMA_CHECK(writeShard(shard));
    QLLAMA_CHECK(writeCompanions());
    for (const auto& writer : m_writers)
        QLLAMA_CHECK(writer->commit());
    m_unfinished.keep();
    m_made.ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    return m_made;
}

}  // namespace

Result<MadeModel> makeModel(const ModelMakerRequest& request, const MakeProgressSink& progress,
                            std::stop_token stop) {
    QLLAMA_TRY(auto pool, ThreadPool::start(request.threadCount));
    return ModelMaker(request, progress, std::move(stop), std::move(pool)).make();
}

}  // namespace qllama
