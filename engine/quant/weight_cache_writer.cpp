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

Error because(std::string why) {
    return {ErrorCode::Io, std::move(why), {}};
}

std::uint64_t paddingAt(std::uint64_t offset) {
    return (kCachePage - offset % kCachePage) % kCachePage;
}

std::uint64_t bytesIn(const CachedMatrix& matrix) {
    return static_cast<std::uint64_t>(matrix.form().sizeBytes());
}

}  // namespace

bool isBeingWritten(const fs::path& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return false;
    const bool locked = ::flock(descriptor, LOCK_EX | LOCK_NB) != 0;
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
    if (descriptor < 0) return because(std::strerror(errno));
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

// With its place on the disk reserved, writing fails only if the disk does: good enough to let the
// model lie in the file alone while it is made, and not in memory of its own as well.
Result<void> WeightCacheWriter::reserve(std::int64_t payloadBytes) {
    constexpr std::int64_t kHeaderAndIndexBytes = 1 << 20;  // what is too much goes back at the end
    if (::fallocate(m_descriptor, 0, 0, payloadBytes + kHeaderAndIndexBytes) == 0) {
        if (auto file = MappedFile::open(m_path); file.ok()) m_reserved = std::move(file).value();
        return {};
    }
    const bool isUnknown = errno == EOPNOTSUPP || errno == ENOSYS;  // to this file system
    return isUnknown ? Result<void>() : because(std::strerror(errno));
}

std::optional<QuantizedMatrix> WeightCacheWriter::keep(std::string_view name,
                                                       const QuantizedMatrix& matrix) {
    if (m_failed) abandon();
    if (m_descriptor < 0) return std::nullopt;
    for (const CachedMatrix& kept : m_index.matrices)
        if (kept.name == name) return copyOf(kept);
    const CachedMatrix place{std::string(name), matrix.format, matrix.rows,
                             matrix.columns,    m_end,         0};
    m_index.matrices.push_back(place);
    m_end += bytesIn(place);
    m_end += paddingAt(m_end);
    enqueue({place, matrix});
    return copyOf(place);
}

std::optional<QuantizedMatrix> WeightCacheWriter::copyOf(const CachedMatrix& kept) {
    if (!m_reserved || kept.offset + bytesIn(kept) > m_reserved->bytes().size())
        return std::nullopt;
    m_gaveCopies = true;
    return kept.in(m_reserved);
}

void WeightCacheWriter::enqueue(Job job) {
    const std::uint64_t bytes = bytesIn(job.place);
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
            if (!m_failed) write(*job);
        } catch (const std::bad_alloc&) {
            m_failure = "there is not enough memory";
            m_failed = true;
        }
        const std::uint64_t bytes = bytesIn(job->place);
        job.reset();  // before its copy takes memory
        if (!m_failed) holdInMemory();
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
    if (m_writer.errorNumber() == 0) return;
    m_failure = std::strerror(m_writer.errorNumber());
    m_failed = true;
}

// Where memory is short the system gives up pages that were only written before those that were read,
// and those of the checkpoint, which nobody needs again, are among these.
void WeightCacheWriter::holdInMemory() {
    if (!m_reserved) return;
    const auto file = m_reserved->bytes().first(
        std::min<std::size_t>(m_writer.written(), m_reserved->bytes().size()));
    m_reserved->populate(file.subspan(m_held));
    m_held = file.size();
}

void WeightCacheWriter::awaitWriting() {
    if (m_writing.valid()) m_writing.get();
}

Result<void> WeightCacheWriter::finish(const fs::path& path) {
    awaitWriting();
    if (m_failed) {
        abandon();
        return because(m_failure);
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
    if (!m_writer.flush()) return because(std::strerror(m_writer.errorNumber()));
    m_isWritten = true;
    std::error_code failed;
    fs::resize_file(m_path, m_writer.position(), failed);  // from what was reserved
    if (!failed) fs::rename(m_path, path, failed);
    if (failed) return because(failed.message());
    ::close(std::exchange(m_descriptor, -1));
    return {};
}

void WeightCacheWriter::abandon() {
    {
        const std::lock_guard lock(m_mutex);
        for (const Job& job : m_queue)
            m_queuedBytes -= bytesIn(job.place);
        m_queue.clear();
    }
    awaitWriting();
    if (m_descriptor < 0) return;
    std::error_code ignored;
    fs::remove(m_path, ignored);
    ::close(std::exchange(m_descriptor, -1));
}

}  // namespace qllama
