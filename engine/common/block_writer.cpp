#include "engine/common/block_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace qllama {
namespace {

constexpr std::uint64_t kBlockBytes = std::uint64_t{2} << 20;

std::uint64_t toNextBlock(std::uint64_t offset) {
    return kBlockBytes - offset % kBlockBytes;
}

}  // namespace

bool BlockWriter::append(std::span<const std::byte> bytes) {
    while (!bytes.empty() && m_errorNumber == 0) {
        if (m_held.empty() && bytes.size() >= toNextBlock(m_heldFrom)) {
            const std::uint64_t end = m_heldFrom + bytes.size();
            const auto whole = bytes.first(end / kBlockBytes * kBlockBytes - m_heldFrom);
            if (!writeAt(m_heldFrom, whole)) break;
            m_heldFrom += whole.size();
            bytes = bytes.subspan(whole.size());
            continue;
        }
        const auto part = bytes.first(std::min(bytes.size(), toNextBlock(position())));
        m_held.insert(m_held.end(), part.begin(), part.end());
        bytes = bytes.subspan(part.size());
        if (position() % kBlockBytes == 0) flush();
    }
    return m_errorNumber == 0;
}

bool BlockWriter::appendZeros(std::uint64_t count) {
    return append(std::vector<std::byte>(count));
}

bool BlockWriter::overwrite(std::uint64_t offset, std::span<const std::byte> bytes) {
    if (offset < m_heldFrom) {
        const auto written = bytes.first(std::min(bytes.size(), m_heldFrom - offset));
        if (!writeAt(offset, written)) return false;
        offset += written.size();
        bytes = bytes.subspan(written.size());
    }
    std::copy(bytes.begin(), bytes.end(),
              m_held.begin() + static_cast<std::ptrdiff_t>(offset - m_heldFrom));
    return m_errorNumber == 0;
}

bool BlockWriter::flush() {
    if (!writeAt(m_heldFrom, m_held)) return false;
    m_heldFrom += m_held.size();
    m_held.clear();
    return true;
}

bool BlockWriter::writeAt(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty() && m_errorNumber == 0) {
        const ssize_t count =
            ::pwrite(m_descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (count < 0) {
            if (errno != EINTR) m_errorNumber = errno;
            continue;
        }
        offset += static_cast<std::uint64_t>(count);
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    return m_errorNumber == 0;
}

}  // namespace qllama
