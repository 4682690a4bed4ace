#include "gui/window/stop_string_lines.h"

#include <QStringList>

#include "gui/window/text.h"

namespace qllama {
namespace {

struct Escape {
    char16_t letter;
    char16_t meaning;
};
constexpr Escape kEscapes[] = {{u'\\', u'\\'}, {u'n', u'\n'}, {u't', u'\t'}, {u'r', u'\r'}};

QString unescaped(const QString& line) {
    QString text;
    for (qsizetype at = 0; at < line.size(); ++at) {
        QChar character = line.at(at);
        if (character == u'\\' && at + 1 < line.size()) {
            for (const Escape& escape : kEscapes) {
                if (line.at(at + 1) != escape.letter) continue;
                character = escape.meaning;
                ++at;
                break;
            }
        }
        text += character;
    }
    return text;
}

QString escaped(const QString& text) {
    QString line;
    for (const QChar character : text) {
        const auto* escape = std::find_if(
            std::begin(kEscapes), std::end(kEscapes),
            [character](const Escape& candidate) { return character == candidate.meaning; });
        if (escape == std::end(kEscapes)) {
            line += character;
            continue;
        }
        line += u'\\';
        line += escape->letter;
    }
    return line;
}

}  // namespace

std::vector<std::string> parseStopStrings(const QString& lines) {
    std::vector<std::string> stopStrings;
    for (const QString& line : lines.split(u'\n'))
        if (!line.isEmpty()) stopStrings.push_back(unescaped(line).toStdString());
    return stopStrings;
}

QString formatStopStrings(const std::vector<std::string>& stopStrings) {
    QStringList lines;
    for (const std::string& text : stopStrings)
        if (!text.empty()) lines.append(escaped(toQString(text)));
    return lines.join(u'\n');
}

}  // namespace qllama
