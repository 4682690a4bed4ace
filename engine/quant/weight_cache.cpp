#include "engine/quant/weight_cache.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "engine/common/content_checksum.h"
#include "engine/common/thread_pool.h"

namespace qllama {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExtension = ".qweights";

// Files of ours in the folder, finished and not.
std::vector<fs::path> cacheFiles(const fs::path& folder, std::error_code& failed) {
    std::vector<fs::path> paths;
    fs::directory_iterator entry(folder, failed);
    for (; !failed && entry != fs::directory_iterator(); entry.increment(failed)) {
        std::error_code unknown;
        const fs::path extension = entry->path().extension();
        if ((extension == kExtension || extension == kUnfinishedWeights) &&
            entry->is_regular_file(unknown))
            paths.push_back(entry->path());
    }
    if (failed == std::errc::no_such_file_or_directory) failed.clear();
    return paths;
}

bool isLeftOver(const fs::path& path) {
    if (path.extension() == kUnfinishedWeights) return !isBeingWritten(path);
    const auto file = MappedFile::open(path);
    return file.ok() && isOutdated(file.value()->bytes());
}

// What a crash or an earlier version left behind.
void removeLeftovers(const fs::path& folder) {
    std::error_code ignored;
    for (const fs::path& path : cacheFiles(folder, ignored))
        if (isLeftOver(path)) fs::remove(path, ignored);
}

Error folderError(const fs::path& folder, const std::error_code& failed) {
    return {ErrorCode::Io, "Cannot list the folder of kept weights: " + failed.message() + ".",
            folder.string()};
}

}  // namespace

WeightCache::WeightCache(const Options& options)
    : m_options(options), m_path(options.folder / (options.key + std::string(kExtension))) {}

Result<std::shared_ptr<WeightCache>> WeightCache::open(const Options& options,
                                                       std::stop_token stop) {
    std::shared_ptr<WeightCache> cache(new WeightCache(options));
    QLLAMA_CHECK(cache->openFile(std::move(stop)));
    if (!cache->m_file) cache->beginFile();
    return cache;
}

Result<void> WeightCache::openFile(std::stop_token stop) {
    auto file = MappedFile::open(m_path);
    if (!file.ok() && file.error().code == ErrorCode::NotFound) return {};
    if (file.ok() && isOutdated(file.value()->bytes())) return {};
    std::string problem;
    if (!file.ok()) {
        problem = file.error().message;
    } else if (auto index = decodeCacheFile(file.value()->bytes()); !index.ok()) {
        problem = index.error().message + ".";
    } else {
        QLLAMA_TRY(const bool undamaged, isUndamaged(index.value(), *file.value(), stop));
        if (undamaged && index.value().key == m_options.key) {
            m_file = std::move(file).value();
            m_index = std::move(index).value();
            for (const CachedMatrix& matrix : m_index.matrices)
                m_byName.emplace(matrix.name, &matrix);
            return {};
        }
        problem = "its weights do not match their checksums.";
    }
    m_notes.push_back("The file of weights kept from an earlier start was damaged (" +
                      problem.substr(0, problem.size() - 1) + "); they were made again.");
    return {};
}

// As fast as memory: the pages are brought in and read once, by all threads.
Result<bool> WeightCache::isUndamaged(const CacheIndex& index, const MappedFile& file,
                                      const std::stop_token& stop) const {
    const std::shared_ptr<const MappedFile> borrowed(&file, [](const MappedFile*) {});
    std::vector<std::span<const std::byte>> chunks;
    std::vector<std::size_t> ends;  // of each matrix, among the chunks
    for (const CachedMatrix& matrix : index.matrices) {
        const auto more = checksumChunks(matrix.in(borrowed));
        chunks.insert(chunks.end(), more.begin(), more.end());
        ends.push_back(chunks.size());
    }
    std::vector<std::uint64_t> sums(chunks.size());
    std::atomic<std::size_t> next{0};
    QLLAMA_TRY(auto pool, ThreadPool::start(m_options.threadCount));
    pool.run([&](int) {
        for (std::size_t i; (i = next.fetch_add(1)) < chunks.size() && !stop.stop_requested();) {
            file.populate(chunks[i]);
            sums[i] = contentChecksum(chunks[i]);
        }
    });
    if (stop.stop_requested()) return cancelledError();
    std::size_t begin = 0;
    for (std::size_t i = 0; i < ends.size(); begin = ends[i++])
        if (joinChecksums(std::span(sums).subspan(begin, ends[i] - begin)) !=
            index.matrices[i].checksum)
            return false;
    return true;
}

std::optional<BlockMatrix> WeightCache::find(std::string_view name, BlockFormat format,
                                             std::int64_t rows, std::int64_t columns) {
    if (!m_file) return std::nullopt;
    const auto found = m_byName.find(name);
    if (found != m_byName.end()) {
        const CachedMatrix& cached = *found->second;
        if (cached.format == format && cached.rows == rows && cached.columns == columns) {
            const BlockMatrix matrix = cached.in(m_file);
            if (!matrix.isMade() || !infoOf(format).hasExceptions || matrix.hasSoundExceptions())
                return matrix;
        }
    }
    m_isStale = true;
    return std::nullopt;
}

void WeightCache::beginFile() {
    std::error_code failed;
    fs::create_directories(m_options.folder, failed);
    if (failed) {
        addWriteNote(failed.message());
        return;
    }
    removeLeftovers(m_options.folder);
    auto writer = WeightCacheWriter::begin(m_options.folder,
                                           {.key = m_options.key,
                                            .modelName = m_options.modelName,
                                            .precision = m_options.precision,
                                            .matrices = {}},
                                           m_options.payloadBytes);
    if (writer.ok())
        m_writer = std::move(writer).value();
    else
        addWriteNote(writer.error().message);
}

void WeightCache::keep(std::string_view name, const BlockMatrix& matrix) {
    if (m_writer) m_writer->keep(name, matrix);
}

std::optional<BlockMatrix> WeightCache::exchange(std::string_view name, const BlockMatrix& matrix) {
    return m_writer ? m_writer->exchange(name, matrix) : std::nullopt;
}

bool WeightCache::finish() {
    std::error_code ignored;
    if (m_isStale) fs::remove(m_path, ignored);
    if (!m_writer) return true;
    if (const auto finished = m_writer->finish(m_path); !finished.ok())
        addWriteNote(finished.error().message);
    return m_writer->copiesAreWhole();
}

void WeightCache::addWriteNote(const std::string& why) {
    m_notes.push_back("The weights could not be kept for the next start: " + why + " (" +
                      m_options.folder.string() + ").");
}

fs::path defaultWeightCacheFolder() {
    const char* cache = std::getenv("XDG_CACHE_HOME");
    const char* home = std::getenv("HOME");
    fs::path folder;
    if (cache != nullptr && *cache == '/')
        folder = cache;
    else if (home != nullptr && *home == '/')
        folder = fs::path(home) / ".cache";
    return folder.empty() ? folder : folder / "qllama" / "weights";
}

Result<std::vector<WeightCacheEntry>> listWeightCache(const fs::path& folder) {
    std::error_code failed;
    std::vector<WeightCacheEntry> entries;
    for (const fs::path& path : cacheFiles(folder, failed)) {
        WeightCacheEntry entry;
        entry.path = path;
        std::error_code gone;
        const std::uintmax_t size = fs::file_size(path, gone);
        if (gone) continue;
        entry.sizeBytes = static_cast<std::int64_t>(size);
        if (const auto file = MappedFile::open(path); file.ok())
            if (auto index = decodeCacheFile(file.value()->bytes()); index.ok()) {
                entry.modelName = index.value().modelName;
                entry.precision = index.value().precision;
            }
        entries.push_back(std::move(entry));
    }
    if (failed) return folderError(folder, failed);
    std::sort(entries.begin(), entries.end(), [](const auto& left, const auto& right) {
        return left.sizeBytes != right.sizeBytes ? left.sizeBytes > right.sizeBytes
                                                 : left.path < right.path;
    });
    return entries;
}

Result<std::int64_t> clearWeightCache(const fs::path& folder) {
    std::error_code failed;
    std::int64_t freed = 0;
    for (const fs::path& path : cacheFiles(folder, failed)) {
        if (path.extension() == kUnfinishedWeights && isBeingWritten(path)) continue;
        std::error_code kept;
        const std::uintmax_t size = fs::file_size(path, kept);
        if (!fs::remove(path, kept) && kept)
            return Error{ErrorCode::Io, "Cannot delete the file: " + kept.message() + ".",
                         path.string()};
        if (!kept) freed += static_cast<std::int64_t>(size);
    }
    if (failed) return folderError(folder, failed);
    return freed;
}

}  // namespace qllama
