// The demo model with single weights replaced.
#pragma once

#include <QFile>
#include <QString>
#include <cstdint>

#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/common/mapped_file.h"

namespace qllama::test {

inline constexpr std::uint16_t kHalfNaN = 0x7E00;
inline constexpr std::uint16_t kHalfInfinity = 0x7C00;

inline bool copyDemoModel(const QString& folder) {
    for (const char* name : {"consolidated.00.pth", "params.json", "tokenizer.model"}) {
        const QString copy = folder + "/" + name;
        if (!QFile::copy(QStringLiteral(QLLAMA_RESOURCE_DIR "/demo-model/") + name, copy) ||
            !QFile::setPermissions(copy, QFile::ReadOwner | QFile::WriteOwner))
            return false;
    }
    return true;
}

// Writes `bits` over an f16 element of a tensor, counted along its rows, in the copy in `folder`.
inline bool replaceWeight(const QString& folder, const std::string& tensor, std::int64_t element,
                          std::uint16_t bits) {
    const auto checkpoint =
        openCheckpoint({.model = folder.toStdString(), .tokenizer = {}, .params = {}}, {});
    if (!checkpoint.ok() || !checkpoint.value().tensors.contains(tensor)) return false;
    const StoredTensor& part = checkpoint.value().tensors.at(tensor).parts.front();
    if (part.dtype != DType::F16 || !part.isContiguous() || !part.storage.mapping) return false;
    QFile file(QString::fromStdString(part.storage.mapping->path().string()));
    const std::byte* place = part.data() + element * sizeOf(part.dtype);
    return file.open(QIODevice::ReadWrite) &&
           file.seek(place - part.storage.mapping->bytes().data()) &&
           file.write(reinterpret_cast<const char*>(&bits), sizeof bits) == sizeof bits;
}

}  // namespace qllama::test
