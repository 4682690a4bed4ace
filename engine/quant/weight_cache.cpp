#include "engine/quant/weight_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>

#include "engine/common/content_checksum.h"
#include "engine/common/thread_pool.h"

namespace qllama {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExtension = ".qweights";
constexpr std::string_view kUnfinished = ".partial";

QuantizedMatrix matrixIn(const CachedMatrix& cached,
                         const std::shared_ptr<const MappedFile>& file) {
    QuantizedMatrix matrix = cached.form();
    matrix.tiles = file->bytes().data() + cached.offset;
    if (infoOf(matrix.format).hasRowFactors)
        matrix.rowFactors = reinterpret_cast<const float*>(matrix.tiles + matrix.tilesBytes());
    matrix.owner = file;
    return matrix;
}

// A writer holds a lock on its file as long as it lives: what nobody has locked was left behind.
bool isBeingWritten(const fs::path& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return false;
    const bool locked = ::flock(descriptor, LOCK_EX | LOCK_NB) != 0;
    ::close(descriptor);
    return locked;
}

// Files of ours in the folder, finished and not.
std::vector<fs::path> cacheFiles(const fs::path& folder, std::error_code& failed) {
    std::vector<fs::path> paths;
    fs::directory_iterator entry(folder, failed);
    for (; !failed && entry != fs::directory_iterator(); entry.increment(failed)) {
        const fs::path extension = entry->path().extension();
        if (extension == kExtension || extension == kUnfinished) paths.push_back(entry->path());
    }
    if (failed == std::errc::no_such_file_or_directory) failed.clear();
    return paths;
}

bool isLeftOver(const fs::path& path) {
    if (path.extension() == kUnfinished) return !isBeingWritten(path);
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
    : m_options(options), m_path(options.folder / (options.key + std::string(kExtension))) {
    m_index.key = options.key;
    m_index.modelName = options.modelName;
    m_index.precision = options.precision;
}

WeightCache::~WeightCache() {
    awaitWriting();
    giveUp();
}

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
    m_notes.push_back("The file of quantised weights kept from an earlier start was damaged (" +
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
        const auto more = checksumChunks(matrixIn(matrix, borrowed));
        chunks.insert(chunks.end(), more.begin(), more.end());
        ends.push_back(chunks.size());
    }
    std::vector<std::uint64_t> sums(chunks.size());
    std::atomic<std::size_t> next{0};
    ThreadPool pool(m_options.threadCount > 0 ? m_options.threadCount : physicalCoreCount());
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

std::optional<QuantizedMatrix> WeightCache::find(std::string_view name, QuantFormat format,
                                                 std::int64_t rows, std::int64_t columns) {
    if (!m_file) return std::nullopt;
    const auto found = m_byName.find(name);
    if (found != m_byName.end()) {
        const CachedMatrix& cached = *found->second;
        if (cached.format == format && cached.rows == rows && cached.columns == columns)
            return matrixIn(cached, m_file);
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
    std::string name =
        (m_options.folder / (m_options.key + ".XXXXXX" + std::string(kUnfinished))).string();
    m_descriptor = ::mkostemps(name.data(), static_cast<int>(kUnfinished.size()), O_CLOEXEC);
    if (m_descriptor < 0) {
        addWriteNote(std::strerror(errno));
        return;
    }
    m_temporary = name;
    ::flock(m_descriptor, LOCK_EX | LOCK_NB);
    m_writer.emplace(m_descriptor).appendZeros(kCachePage);  // the header's place
}

void WeightCache::keep(std::string_view name, const QuantizedMatrix& matrix) {
    awaitWriting();
    const bool isKept = std::any_of(m_index.matrices.begin(), m_index.matrices.end(),
                                    [&](const CachedMatrix& kept) { return kept.name == name; });
    if (m_descriptor < 0 || isKept) return;
    // A constant: where no thread can be had, the library takes it a second time and defers it, to
    // awaitWriting().
    const auto task = [this, name = std::string(name), matrix] { writeOrGiveUp(name, matrix); };
    m_writing = std::async(std::launch::async | std::launch::deferred, task);
}

void WeightCache::awaitWriting() {
    if (m_writing.valid()) m_writing.get();
}

void WeightCache::writeOrGiveUp(const std::string& name, const QuantizedMatrix& matrix) {
    try {
        write(name, matrix);
    } catch (const std::bad_alloc&) {
        giveUp("there is not enough memory");
    }
}

void WeightCache::write(const std::string& name, const QuantizedMatrix& matrix) {
    CachedMatrix cached{name, matrix.format, matrix.rows, matrix.columns, m_writer->position(), 0};
    std::vector<std::uint64_t> sums;
    for (const auto chunk : checksumChunks(matrix)) {
        sums.push_back(contentChecksum(chunk));
        m_writer->append(chunk);
    }
    m_writer->appendZeros((kCachePage - m_writer->position() % kCachePage) % kCachePage);
    if (m_writer->errorNumber() != 0) return giveUp(std::strerror(m_writer->errorNumber()));
    cached.checksum = joinChecksums(sums);
    m_index.matrices.push_back(std::move(cached));
}

void WeightCache::finish() {
    awaitWriting();
    std::error_code failed;
    if (m_isStale) fs::remove(m_path, failed);
    if (m_descriptor < 0) return;
    if (m_index.matrices.empty()) {
        giveUp();
        return;
    }
    const std::string index = encodeCacheIndex(m_index);
    const auto indexBytes = std::as_bytes(std::span(index));
    const std::string header = encodeCacheHeader(m_index, m_writer->position(), indexBytes);
    m_writer->append(indexBytes);
    m_writer->overwrite(0, std::as_bytes(std::span(header)));
    if (!m_writer->flush()) return giveUp(std::strerror(m_writer->errorNumber()));
    fs::rename(m_temporary, m_path, failed);
    if (failed) return giveUp(failed.message());
    ::close(std::exchange(m_descriptor, -1));
}

void WeightCache::giveUp(const std::string& why) {
    addWriteNote(why);
    giveUp();
}

void WeightCache::giveUp() {
    if (m_descriptor < 0) return;
    std::error_code ignored;
    fs::remove(m_temporary, ignored);
    ::close(std::exchange(m_descriptor, -1));
}

void WeightCache::addWriteNote(const std::string& why) {
    m_notes.push_back("The quantised weights could not be kept for the next start: " + why + " (" +
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
        if (path.extension() == kUnfinished && isBeingWritten(path)) continue;
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
