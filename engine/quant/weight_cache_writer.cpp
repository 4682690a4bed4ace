#include "engine/quant/weight_cache_writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

#include "engine/common/content_checksum.h"

namespace qllama {
namespace {

namespace fs = std::filesystem;

// Of matrices in memory of their own, made but not written. Enough that neither those who make
// them nor the one who writes waits for the other where small ones follow large ones.
constexpr std::uint64_t kMaxQueuedBytes = std::uint64_t{64} << 20;

Error because(int errorNumber) {
    return {ErrorCode::Io, std::strerror(errorNumber), {}};
}

std::uint64_t paddingAt(std::uint64_t offset) {
    return (kCachePage - offset % kCachePage) % kCachePage;
}

}  // namespace

bool isBeingWritten(const fs::path& path) {
    // For writing, where that may be: NFS locks nothing else. A file system without locks knows of none.
    int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (descriptor < 0) descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return false;
    const bool locked = ::flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    ::close(descriptor);
    return locked;
}

Result<std::unique_ptr<WeightCacheWriter>> WeightCacheWriter::begin(const fs::path& folder,
                                                                    CacheIndex index,
                                                                    std::int64_t payloadBytes) {
    std::string name =
        (folder / (index.key + ".XXXXXX" + std::string(kUnfinishedWeights))).string();
    const int descriptor =
        ::mkostemps(name.data(), static_cast<int>(kUnfinishedWeights.size()), O_CLOEXEC);
    if (descriptor < 0) return because(errno);
    ::flock(descriptor, LOCK_EX | LOCK_NB);
    std::unique_ptr<WeightCacheWriter> writer(
        new WeightCacheWriter(std::move(index), name, descriptor));
    if (payloadBytes > 0) QLLAMA_CHECK(writer->reserve(payloadBytes));
    return writer;
}

WeightCacheWriter::WeightCacheWriter(CacheIndex index, fs::path path, int descriptor)
    : m_index(std::move(index)),
      m_end(kCachePage),
      m_path(std::move(path)),
      m_descriptor(descriptor),
      m_writer(descriptor) {
    m_writer.appendZeros(kCachePage);  // the header's place
}

WeightCacheWriter::~WeightCacheWriter() {
    abandon();
}

// With its place reserved, no full disk and no quota stops the writing, only a disk that is broken; a
// checkpoint used where it lies relies on as much. So the model may lie in the file alone while it is
// made, and not in memory of its own as well.
Result<void> WeightCacheWriter::reserve(std::int64_t payloadBytes) {
    constexpr std::int64_t kHeaderAndIndexBytes = 1 << 20;  // what is too much goes back at the end
    int failed;
    do
        failed = ::fallocate(m_descriptor, 0, 0, payloadBytes + kHeaderAndIndexBytes);
    while (failed != 0 && errno == EINTR);
    if (failed == 0) {
        if (auto file = MappedFile::open(m_path); file.ok()) m_reserved = std::move(file).value();
        return {};
    }
    const bool isUnknown = errno == EOPNOTSUPP || errno == ENOSYS;  // to this file system
    return isUnknown ? Result<void>() : because(errno);
}

void WeightCacheWriter::keep(std::string_view name, const BlockMatrix& matrix) {
    accept(name, matrix, false);
}

std::optional<BlockMatrix> WeightCacheWriter::exchange(std::string_view name,
                                                       const BlockMatrix& matrix) {
    const auto place = accept(name, matrix, true);
    if (!place || !matrix.isMade() || !isReserved(*place)) return std::nullopt;
    m_gaveCopies = true;
    return place->in(m_reserved);
}

// Where the matrix is or will be written; empty after a failure.
std::optional<CachedMatrix> WeightCacheWriter::accept(std::string_view name,
                                                      const BlockMatrix& matrix, bool isExchanged) {
    if (m_errorNumber != 0) abandon();
    if (m_descriptor < 0) return std::nullopt;
    for (const CachedMatrix& kept : m_index.matrices)
        if (kept.name == name) return kept;
    const CachedMatrix place{.name = std::string(name),
                             .format = matrix.format,
                             .rows = matrix.rows,
                             .columns = matrix.columns,
                             .offset = matrix.isMade() ? m_end : 0};
    m_index.matrices.push_back(place);
    m_end += place.sizeBytes();
    m_end += paddingAt(m_end);
    enqueue({place, matrix, isExchanged && isReserved(place)});
    return place;
}

bool WeightCacheWriter::isReserved(const CachedMatrix& place) const {
    return m_reserved && place.offset + place.sizeBytes() <= m_reserved->bytes().size();
}

void WeightCacheWriter::enqueue(Job job) {
    const std::uint64_t bytes = job.place.sizeBytes();
    std::unique_lock lock(m_mutex);
    m_hasRoom.wait(lock,
                   [&] { return m_queuedBytes == 0 || m_queuedBytes + bytes <= kMaxQueuedBytes; });
    m_queuedBytes += bytes;
    m_queue.push_back(std::move(job));
    if (std::exchange(m_isWriting, true)) return;
    lock.unlock();
    awaitWriting();
    m_writing = std::async(std::launch::async | std::launch::deferred, [this] { writeQueued(); });
    // No thread can be had.
    if (m_writing.wait_for(std::chrono::seconds(0)) == std::future_status::deferred) awaitWriting();
}

void WeightCacheWriter::writeQueued() {
    while (auto job = nextJob()) {
        try {
            if (m_errorNumber == 0) write(*job);
        } catch (const std::bad_alloc&) {
            m_errorNumber = ENOMEM;
        }
        const std::uint64_t bytes = job->place.sizeBytes();
        job->matrix = {};  // before its copy takes memory
        if (m_errorNumber == 0 && job->isExchanged) holdInMemory(job->place);
        const std::lock_guard lock(m_mutex);
        m_queuedBytes -= bytes;
        m_hasRoom.notify_one();
    }
}

std::optional<WeightCacheWriter::Job> WeightCacheWriter::nextJob() {
    const std::lock_guard lock(m_mutex);
    m_isWriting = !m_queue.empty();
    if (!m_isWriting) return std::nullopt;
    Job job = std::move(m_queue.front());
    m_queue.pop_front();
    return job;
}

void WeightCacheWriter::write(const Job& job) {
    std::vector<std::uint64_t> sums;
    for (const auto chunk : checksumChunks(job.matrix)) {
        sums.push_back(contentChecksum(chunk));
        m_writer.append(chunk);
    }
    m_writer.appendZeros(paddingAt(m_writer.position()));
    m_checksums.push_back(joinChecksums(sums));
    m_errorNumber = m_writer.errorNumber();
}

// Where memory is short the system gives up pages that were only written before those that were read,
// and those of the checkpoint, which nobody needs again, are among these. The writer may hold back the
// end: that is read once it is there.
void WeightCacheWriter::holdInMemory(const CachedMatrix& place) const {
    const std::uint64_t end = std::min(place.offset + place.sizeBytes(), m_writer.written());
    if (end > place.offset)
        m_reserved->populate(m_reserved->bytes().subspan(place.offset, end - place.offset));
}

void WeightCacheWriter::awaitWriting() {
    if (m_writing.valid()) m_writing.get();
}

Result<void> WeightCacheWriter::finish(const fs::path& path) {
    awaitWriting();
    if (m_errorNumber != 0) {
        abandon();
        return because(m_errorNumber);
    }
    if (m_index.matrices.empty()) {
        abandon();
        return {};
    }
    auto completed = complete(path);
    if (!completed.ok()) abandon();
    return completed;
}

Result<void> WeightCacheWriter::complete(const fs::path& path) {
    for (std::size_t i = 0; i < m_checksums.size(); ++i)
        m_index.matrices[i].checksum = m_checksums[i];
    const std::string index = encodeCacheIndex(m_index);
    const auto indexBytes = std::as_bytes(std::span(index));
    const std::string header = encodeCacheHeader(m_index, m_writer.position(), indexBytes);
    m_writer.append(indexBytes);
    m_writer.overwrite(0, std::as_bytes(std::span(header)));
    if (!m_writer.flush()) return because(m_writer.errorNumber());
    m_isWritten = true;
    std::error_code failed;
    // From what was reserved; nothing of that is in use.
    if (::ftruncate(m_descriptor, static_cast<off_t>(m_writer.position())) != 0)
        return because(errno);
    fs::rename(m_path, path, failed);
    if (failed) return because(failed.value());
    ::close(std::exchange(m_descriptor, -1));
    return {};
}

void WeightCacheWriter::abandon() {
    {
        const std::lock_guard lock(m_mutex);
        for (const Job& job : m_queue)
            m_queuedBytes -= job.place.sizeBytes();
        m_queue.clear();
    }
    awaitWriting();
    if (m_descriptor < 0) return;
    std::error_code ignored;
    fs::remove(m_path, ignored);
    ::close(std::exchange(m_descriptor, -1));
    m_reserved.reset();  // matrices that were exchanged have it still
}

}  // namespace qllama
