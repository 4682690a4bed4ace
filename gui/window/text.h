// Small steps between the engine's UTF-8 and the window's strings.
#pragma once

#include <QString>
#include <string_view>

namespace qllama {

inline QString toQString(std::string_view utf8) {
    return QString::fromUtf8(utf8.data(), static_cast<qsizetype>(utf8.size()));
}

// For menus and buttons: an ampersand in a name is not a shortcut.
inline QString withoutShortcuts(QString text) {
    return text.replace(QStringLiteral("&"), QStringLiteral("&&"));
}

}  // namespace qllama
