// Stop strings as a person writes them: one a line, with \n for a line break.
#pragma once

#include <QString>
#include <string>
#include <vector>

namespace qllama {

// \n, \t, \r and \\ are escapes; any other backslash is itself. Empty lines are left out.
std::vector<std::string> parseStopStrings(const QString& lines);
QString formatStopStrings(const std::vector<std::string>& stopStrings);

}  // namespace qllama
