#include "engine/checkpoint/checkpoint_writer.h"

#include <algorithm>
#include <cassert>
#include <string_view>
#include <system_error>
#include <utility>

#include "engine/checkpoint/quazip_writer.h"
#include "engine/checkpoint/state_dict_pickle.h"

namespace qllama {
namespace {

// Any name serves; torch calls it after the file.
constexpr const char* kPrefix = "consolidated/";

Result<void> writeSmall(ZipWriter& zip, const std::string& name, std::string_view content) {
    QLLAMA_CHECK(zip.beginMember(kPrefix + name, content.size()));
    return zip.write(std::as_bytes(std::span(content)));
}

}  // namespace

std::int64_t TensorHeader::elementCount() const {
    std::int64_t count = 1;
    for (const std::int64_t extent : shape)
        count *= extent;
    return count;
}

std::int64_t TensorHeader::sizeBytes() const {
    return elementCount() * sizeOf(dtype);
}

CheckpointWriter::CheckpointWriter(std::filesystem::path path, std::vector<TensorHeader> tensors)
    : m_path(std::move(path)), m_temporary(m_path), m_tensors(std::move(tensors)) {
    m_temporary += ".partial";
}

CheckpointWriter::~CheckpointWriter() {
    m_zip.reset();
    std::error_code ignored;
    if (m_removesTemporary) std::filesystem::remove(m_temporary, ignored);
}

Result<std::unique_ptr<CheckpointWriter>> CheckpointWriter::create(
    const std::filesystem::path& path, std::vector<TensorHeader> tensors) {
    std::unique_ptr<CheckpointWriter> writer(new CheckpointWriter(path, std::move(tensors)));
    QLLAMA_TRY(writer->m_zip, ZipWriter::create(writer->m_temporary));
    writer->m_removesTemporary = true;
    QLLAMA_CHECK(writeSmall(*writer->m_zip, "data.pkl", stateDictPickle(writer->m_tensors)));
    QLLAMA_CHECK(writeSmall(*writer->m_zip, "byteorder", "little"));
    return writer;
}

Result<void> CheckpointWriter::beginNextTensor() {
    assert(m_next < m_tensors.size());
    m_remaining = static_cast<std::uint64_t>(m_tensors[m_next].sizeBytes());
    QLLAMA_CHECK(m_zip->beginMember(kPrefix + ("data/" + std::to_string(m_next)), m_remaining));
    ++m_next;
    return {};
}

Result<void> CheckpointWriter::write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        while (m_remaining == 0)
            QLLAMA_CHECK(beginNextTensor());
        const auto step = bytes.first(std::min<std::size_t>(bytes.size(), m_remaining));
        QLLAMA_CHECK(m_zip->write(step));
        m_remaining -= step.size();
        bytes = bytes.subspan(step.size());
    }
    return {};
}

Result<void> CheckpointWriter::finish() {
    assert(m_remaining == 0 && m_next == m_tensors.size());
    QLLAMA_CHECK(writeSmall(*m_zip, "version", "3\n"));
    return m_zip->finish();
}

Result<void> CheckpointWriter::commit() {
    m_zip.reset();
    std::error_code failed;
    std::filesystem::rename(m_temporary, m_path, failed);
    if (failed)
        return Error{ErrorCode::Io, "Cannot give the file its name: " + failed.message() + ".",
                     m_path.string()};
    m_removesTemporary = false;
    return {};
}

}  // namespace qllama
