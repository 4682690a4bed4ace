// Writes a vector of floats as a NumPy file.
#pragma once

#include <QSaveFile>
#include <filesystem>
#include <memory>
#include <span>

#include "engine/common/result.h"

namespace qllama {

// The file appears under its name whole or not at all. It is opened early, so that a folder that
// cannot be written is known before hours of work, and abandoned unless write() is called.
// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, version 1.0.
class NpyFile {
public:
    static Result<std::unique_ptr<NpyFile>> open(const std::filesystem::path& path);

    // Little-endian f32 of shape (values.size(),). Call once.
    Result<void> write(std::span<const float> values);

private:
    explicit NpyFile(const std::filesystem::path& path);
    [[nodiscard]] Error writeError() const;

    std::filesystem::path m_path;
    QSaveFile m_file;
};

}  // namespace qllama
