#include "gui/terminal/text_table.h"

#include <QString>
#include <algorithm>

#include "gui/terminal/output.h"

namespace qllama {

std::string textTable(const std::vector<TextRow>& rows) {
    std::vector<qsizetype> widths;
    std::vector<std::vector<QString>> cells;  // QString counts characters, not bytes
    for (const TextRow& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        cells.emplace_back();
        for (std::size_t column = 0; column < row.size(); ++column) {
            cells.back().push_back(QString::fromStdString(withoutControls(row[column])));
            widths[column] = std::max(widths[column], cells.back().back().size());
        }
    }
    std::string text;
    for (const std::vector<QString>& row : cells) {
        QString line;
        for (std::size_t column = 0; column < row.size(); ++column)
            line += "  " + row[column].leftJustified(widths[column]);
        while (line.endsWith(' '))
            line.chop(1);
        text += line.toStdString() + "\n";
    }
    return text;
}

std::string number(double value, int decimals) {
    return QString::number(value, 'f', decimals).toStdString();
}

std::string byteText(std::int64_t bytes) {
    constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double amount = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (amount >= 1024 && unit + 1 < std::size(kUnits)) {
        amount /= 1024;
        ++unit;
    }
    return number(amount, unit == 0 ? 0 : 1) + " " + kUnits[unit];
}

}  // namespace qllama
