// Columns of text, for lists on the terminal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace qllama {

using TextRow = std::vector<std::string>;

// Every column as wide as its widest cell, two spaces between, each line indented by two.
std::string textTable(const std::vector<TextRow>& rows);

std::string number(double value, int decimals);
std::string byteText(std::int64_t bytes);  // "12.6 GiB"

}  // namespace qllama
