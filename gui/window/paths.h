// Between Qt's strings and the engine's paths, without losing bytes that are not UTF-8.
#pragma once

#include <QFile>
#include <QString>
#include <filesystem>

namespace qllama {

inline std::filesystem::path toPath(const QString& name) {
    return std::filesystem::path(QFile::encodeName(name).toStdString());
}

inline QString pathText(const std::filesystem::path& path) {
    return QFile::decodeName(path.string().c_str());
}

}  // namespace qllama
