// The writing half of weight_cache.h.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/common/block_writer.h"
#include "engine/common/mapped_file.h"
#include "engine/common/result.h"
#include "engine/quant/weight_cache_file.h"

namespace qllama {

// The extension of a file that is not finished. Its writer holds a lock on it as long as it lives.
constexpr std::string_view kUnfinishedWeights = ".partial";
// What has that extension and is not being written was left behind by a crash.
[[nodiscard]] bool isBeingWritten(const std::filesystem::path& path);

// One file while it is made. Called by one thread; another of its own writes. Errors are Io and say
// only why, as in "No space left on device".
class WeightCacheWriter {
public:
    // `index` names the model and has no matrices yet; payloadBytes: see WeightCache::Options.
    static Result<std::unique_ptr<WeightCacheWriter>> begin(const std::filesystem::path& folder,
                                                            CacheIndex index,
                                                            std::int64_t payloadBytes);
    ~WeightCacheWriter();  // an unfinished file is removed
    WeightCacheWriter(const WeightCacheWriter&) = delete;
    WeightCacheWriter& operator=(const WeightCacheWriter&) = delete;

    // See BlockStore. Both return before the matrix is written, unless a lot is waiting already;
    // the first matrix of a name counts, for a model may be loaded in several attempts.
    void keep(std::string_view name, const BlockMatrix& matrix);
    std::optional<BlockMatrix> exchange(std::string_view name, const BlockMatrix& matrix);

    // Completes the file and moves it to `path`; one without matrices is removed.
    Result<void> finish(const std::filesystem::path& path);

    // Whether no matrix that exchange() returned lacks its bytes; after finish().
    [[nodiscard]] bool copiesAreWhole() const { return m_isWritten || !m_gaveCopies; }

private:
    struct Job {
        CachedMatrix place;
        BlockMatrix matrix;
        bool isExchanged = false;
    };

    WeightCacheWriter(CacheIndex index, std::filesystem::path path, int descriptor);
    Result<void> reserve(std::int64_t payloadBytes);
    std::optional<CachedMatrix> accept(std::string_view name, const BlockMatrix& matrix,
                                       bool isExchanged);
    [[nodiscard]] bool isReserved(const CachedMatrix& place) const;
    void enqueue(Job job);
    void writeQueued();
    std::optional<Job> nextJob();
    void write(const Job& job);
    void holdInMemory(const CachedMatrix& place) const;
    void awaitWriting();
    Result<void> complete(const std::filesystem::path& path);
    void abandon();

    CacheIndex m_index;   // its checksums are added at the end
    std::uint64_t m_end;  // of the payload that was accepted
    std::filesystem::path m_path;
    int m_descriptor;
    std::shared_ptr<const MappedFile> m_reserved;  // the whole file, if its place is reserved
    bool m_gaveCopies = false;                     // that lie there
    bool m_isWritten = false;

    std::mutex m_mutex;  // of the next four
    std::condition_variable m_hasRoom;
    std::deque<Job> m_queue;
    std::uint64_t m_queuedBytes = 0;  // with the one that is being written
    bool m_isWriting = false;         // a thread is at it, and looks at the queue again
    std::future<void> m_writing;
    std::atomic<int> m_errorNumber = 0;  // set by the writing thread
    // The writing thread's own, until awaitWriting():
    BlockWriter m_writer;
    std::vector<std::uint64_t> m_checksums;
};

}  // namespace qllama
