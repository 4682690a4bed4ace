// Quantised and packed weights kept on disk, so that the second start maps them instead of making them again.
// The files are in a folder of their own and can be deleted at any time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/common/mapped_file.h"
#include "engine/common/result.h"
#include "engine/quant/block_store.h"
#include "engine/quant/weight_cache_file.h"
#include "engine/quant/weight_cache_writer.h"

namespace qllama {

// The file of one model in one precision: either found and given out, or written while the model
// is quantised. No failure of the disk keeps a model from loading: it becomes a note.
class WeightCache final : public BlockStore {
public:
    struct Options {
        std::filesystem::path folder;
        std::string key;        // what makes the weights what they are; 32 hexadecimal digits
        std::string modelName;  // for people
        std::string precision;
        int threadCount = 0;  // that check the file; 0: physical cores
        // The most that the matrices take, each with a page (kCachePage) to begin at a boundary. A
        // new file has this place reserved, and then its matrices can be used from there. 0: not known.
        std::int64_t payloadBytes = 0;
    };

    // Maps the file of this key, brings all of it into memory and checks it; if there is none, or
    // it is damaged, begins a new one. Fails only with Cancelled.
    static Result<std::shared_ptr<WeightCache>> open(const Options& options, std::stop_token stop);

    std::optional<BlockMatrix> find(std::string_view name, BlockFormat format, std::int64_t rows,
                                    std::int64_t columns) override;
    // The first matrix of a name counts: a model may be loaded in several attempts. It is written by
    // another thread, while the caller makes the next one; the matrix must own its memory.
    void keep(std::string_view name, const BlockMatrix& matrix) override;
    std::optional<BlockMatrix> exchange(std::string_view name, const BlockMatrix& matrix) override;

    // To be called when the whole model is loaded: puts a new file in its place. False when a matrix
    // that exchange() returned has not got its bytes: the model must be loaded again without this store.
    [[nodiscard]] bool finish();

    [[nodiscard]] bool wasFound() const { return m_file != nullptr; }
    [[nodiscard]] const std::vector<std::string>& notes() const { return m_notes; }

private:
    explicit WeightCache(const Options& options);
    Result<void> openFile(std::stop_token stop);
    Result<bool> isUndamaged(const CacheIndex& index, const MappedFile& file,
                             const std::stop_token& stop) const;
    void beginFile();
    void addWriteNote(const std::string& why);

    Options m_options;
    std::filesystem::path m_path;
    std::vector<std::string> m_notes;
    // Reading:
    CacheIndex m_index;
    std::shared_ptr<const MappedFile> m_file;
    std::unordered_map<std::string_view, const CachedMatrix*> m_byName;  // of m_index
    bool m_isStale = false;  // the file lacks what was asked for
    // Writing, while it goes well:
    std::unique_ptr<WeightCacheWriter> m_writer;
};

// $XDG_CACHE_HOME/qllama/weights, else ~/.cache/qllama/weights; empty when neither is known.
std::filesystem::path defaultWeightCacheFolder();

struct WeightCacheEntry {
    std::filesystem::path path;
    std::string modelName;  // empty: unfinished or unreadable
    std::string precision;
    std::int64_t sizeBytes = 0;
};

// What is in the folder, largest first. A folder that does not exist has nothing in it.
Result<std::vector<WeightCacheEntry>> listWeightCache(const std::filesystem::path& folder);

// Deletes everything that a WeightCache left in the folder, except files being written right now;
// returns the bytes that were freed. Models that are loaded stay usable.
Result<std::int64_t> clearWeightCache(const std::filesystem::path& folder);

}  // namespace qllama
