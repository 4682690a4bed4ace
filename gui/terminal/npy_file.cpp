#include "gui/terminal/npy_file.h"

#include <QFile>
#include <bit>
#include <string>
#include <system_error>

#include "gui/save_file.h"

namespace qllama {
namespace {

// The data start at a multiple of this, as NumPy writes it.
constexpr std::size_t kAlignment = 64;

// Magic, version 1.0, length of the dictionary in two bytes, the dictionary padded with spaces.
std::string headerOf(std::size_t length) {
    const std::string dictionary =
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(length) + ",), }";
    std::string header("\x93NUMPY\x01\x00", 8);
    const std::size_t used = header.size() + 2 + dictionary.size() + 1;
    const std::size_t padding = (kAlignment - used % kAlignment) % kAlignment;
    const std::size_t size = dictionary.size() + padding + 1;
    header += static_cast<char>(size & 0xFF);
    header += static_cast<char>(size >> 8);
    return header + dictionary + std::string(padding, ' ') + "\n";
}

}  // namespace

NpyFile::NpyFile(const std::filesystem::path& path)
    : m_path(path), m_file(QFile::decodeName(path.c_str())) {}

Result<std::unique_ptr<NpyFile>> NpyFile::open(const std::filesystem::path& path) {
    if (QFile::encodeName(QFile::decodeName(path.c_str())) != path.c_str())
        return Error{ErrorCode::InvalidRequest,
                     "The logits can only be written under a name in UTF-8, and this one is not.",
                     path.string()};
    std::error_code problem;
    const auto status = std::filesystem::status(path, problem);
    // Replacing a device or a pipe by a file would do harm.
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
        return Error{ErrorCode::InvalidRequest, "The logits can only be written to a regular file.",
                     path.string()};
    std::unique_ptr<NpyFile> file(new NpyFile(path));
    if (!file->m_file.open(QIODevice::WriteOnly | QIODevice::Unbuffered)) return file->writeError();
    return file;
}

Result<void> NpyFile::write(std::span<const float> values) {
    static_assert(std::endian::native == std::endian::little, "The bytes are written as they are");
    const std::string header = headerOf(values.size());
    const std::span data(reinterpret_cast<const char*>(values.data()), values.size_bytes());
    const bool isWritten = writeWhole(m_file, header) && writeWhole(m_file, data);
    return isWritten && m_file.commit() ? Result<void>() : writeError();
}

Error NpyFile::writeError() const {
    return {ErrorCode::Io, "Cannot write the logits: " + m_file.errorString().toStdString() + ".",
            m_path.string()};
}

}  // namespace qllama
