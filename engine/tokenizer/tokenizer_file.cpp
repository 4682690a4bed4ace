#include "engine/tokenizer/tokenizer_file.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/tokenizer/character_map.h"

namespace qllama {
namespace {

std::string_view trimmedStart(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    return first == std::string_view::npos ? std::string_view{} : text.substr(first);
}

bool startsWithNoCase(std::string_view text, std::string_view lowerCasePrefix) {
    return text.size() >= lowerCasePrefix.size() &&
           std::equal(lowerCasePrefix.begin(), lowerCasePrefix.end(), text.begin(),
                      [](char expected, char found) {
                          return expected == std::tolower(static_cast<unsigned char>(found));
                      });
}

bool isWebPage(std::string_view text) {
    text = trimmedStart(text);
    return startsWithNoCase(text, "<!doctype") || startsWithNoCase(text, "<html");
}

bool isGitLfsPointer(std::string_view text) {
    return text.starts_with("version https://git-lfs.github.com/spec/");
}

bool isJson(std::string_view text) {
    return text.starts_with('{') && trimmedStart(text.substr(1)).starts_with('"');
}

bool isZip(std::string_view text) {
    return text.starts_with("PK\x03\x04");
}

bool isGguf(std::string_view text) {
    return text.starts_with("GGUF");
}

bool isBase64(char byte) {
    return std::isalnum(static_cast<unsigned char>(byte)) != 0 || byte == '+' || byte == '/' ||
           byte == '=';
}

bool isDigit(char byte) {
    return byte >= '0' && byte <= '9';
}

// "IQ== 0": each line of a tiktoken file is a piece in base64, a space and its rank.
bool isTiktoken(std::string_view text) {
    std::string_view line = text.substr(0, std::min(text.find('\n'), text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos || space == 0 || space % 4 != 0) return false;
    const std::string_view rank = line.substr(space + 1);
    return std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(space), isBase64) &&
           !rank.empty() && std::all_of(rank.begin(), rank.end(), isDigit);
}

struct MixUp {
    bool (*matches)(std::string_view text);
    ErrorCode code;
    std::string_view message;
};

constexpr MixUp kMixUps[] = {
    {isTiktoken, ErrorCode::Unsupported,
     "This is a tiktoken file, the tokenizer of LLaMA 3; this program reads sentencepiece models, "
     "the tokenizer.model of LLaMA 1 and 2."},
    {isWebPage, ErrorCode::InvalidFile,
     "This is a web page (HTML), not a tokenizer: the download fetched an error or sign-in page. "
     "Download tokenizer.model again."},
    {isGitLfsPointer, ErrorCode::InvalidFile,
     "This is a Git LFS pointer, a note that stands in for the real tokenizer. Run \"git lfs "
     "pull\" in the folder of the model, or download tokenizer.model itself."},
    {isJson, ErrorCode::Unsupported,
     "This is a JSON file, not a sentencepiece model. Choose the file tokenizer.model."},
    {isZip, ErrorCode::InvalidFile,
     "This is a zip archive (perhaps the model's .pth file), not a tokenizer. Choose the file "
     "tokenizer.model."},
    {isGguf, ErrorCode::InvalidFile,
     "This is a GGUF model, not a tokenizer. Choose the file tokenizer.model."},
};

// Fields of sentencepiece's ModelProto (sentencepiece_model.proto); every trainer writes the first
// three.
constexpr std::uint64_t kPieces = 1;
constexpr std::uint64_t kTrainerSpec = 2;
constexpr std::uint64_t kNormalizerSpec = 3;
constexpr std::uint64_t kDenormalizerSpec = 5;
// Of TrainerSpec; false if it is not there.
constexpr std::uint64_t kByteFallback = 35;
// Of NormalizerSpec; the second is true if it is not there.
constexpr std::uint64_t kCharacterMap = 2;
constexpr std::uint64_t kRemoveExtraSpaces = 4;

// Protocol buffers' base-128 number; moves `bytes` past it.
std::optional<std::uint64_t> readVarint(std::span<const std::byte>& bytes) {
    std::uint64_t value = 0;
    for (std::size_t index = 0; index < 10 && index < bytes.size(); ++index) {
        const auto byte = std::to_integer<std::uint64_t>(bytes[index]);
        value |= (byte & 0x7FU) << (7 * index);
        if ((byte & 0x80U) == 0) {
            bytes = bytes.subspan(index + 1);
            return value;
        }
    }
    return std::nullopt;
}

struct Field {
    std::uint64_t number = 0;
    std::span<const std::byte> content;  // of strings and messages; empty for numbers
    std::uint64_t value = 0;             // of varints
};

// The field at the start of `bytes`, which it moves past it; empty when it runs past the end or is
// no valid field (groups, which protocol buffers gave up long ago, count as none).
std::optional<Field> readField(std::span<const std::byte>& bytes) {
    const auto tag = readVarint(bytes);
    if (!tag) return std::nullopt;
    Field field{*tag >> 3, {}, 0};
    const std::uint64_t wireType = *tag & 7U;
    if (wireType == 0) {
        const auto value = readVarint(bytes);
        field.value = value.value_or(0);
        return value ? std::optional(field) : std::nullopt;
    }
    std::uint64_t size = 0;
    if (wireType == 1) {
        size = 8;
    } else if (wireType == 5) {
        size = 4;
    } else if (wireType == 2) {
        const auto length = readVarint(bytes);
        if (!length) return std::nullopt;
        size = *length;
    } else {
        return std::nullopt;
    }
    if (size > bytes.size()) return std::nullopt;
    if (wireType == 2) field.content = bytes.first(static_cast<std::size_t>(size));
    bytes = bytes.subspan(static_cast<std::size_t>(size));
    return field;
}

// Of a NormalizerSpec message.
bool hasSoundCharacterMap(std::span<const std::byte> specification) {
    while (!specification.empty()) {
        const auto field = readField(specification);
        if (!field) return false;
        if (field->number == kCharacterMap && !isSoundCharacterMap(field->content)) return false;
    }
    return true;
}

// The number in a message that has it, else `otherwise`.
std::uint64_t numberIn(std::span<const std::byte> message, std::uint64_t number,
                       std::uint64_t otherwise) {
    while (!message.empty()) {
        const auto field = readField(message);
        if (!field) break;
        if (field->number == number) otherwise = field->value;
    }
    return otherwise;
}

bool hasCharacterMap(std::span<const std::byte> specification) {
    while (!specification.empty()) {
        const auto field = readField(specification);
        if (!field) break;
        if (field->number == kCharacterMap && !field->content.empty()) return true;
    }
    return false;
}

Error notSentencepiece() {
    return {ErrorCode::InvalidFile,
            "This is not a sentencepiece model: it is damaged, cut short or something else. Copy "
            "or download tokenizer.model again.",
            {}};
}

}  // namespace

// A file that ends between two fields parses without complaint, and the library then falls back to
// the default settings and encodes differently in silence: so the settings must be there.
Result<void> checkTokenizerFile(std::span<const std::byte> bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    for (const MixUp& mixUp : kMixUps)
        if (mixUp.matches(text)) return Error{mixUp.code, std::string(mixUp.message), {}};

    bool hasPieces = false;
    bool hasTrainer = false;
    bool hasNormalizer = false;
    while (!bytes.empty()) {
        const auto field = readField(bytes);
        if (!field) return notSentencepiece();
        hasPieces |= field->number == kPieces;
        hasTrainer |= field->number == kTrainerSpec;
        hasNormalizer |= field->number == kNormalizerSpec;
        if ((field->number == kNormalizerSpec || field->number == kDenormalizerSpec) &&
            !hasSoundCharacterMap(field->content))
            return Error{ErrorCode::InvalidFile,
                         "The tokenizer's character map is damaged. Copy or download "
                         "tokenizer.model again.",
                         {}};
    }
    if (!hasPieces) return notSentencepiece();
    if (!hasTrainer || !hasNormalizer)
        return Error{ErrorCode::InvalidFile,
                     "The tokenizer ends before its settings: the file is cut short. Copy or "
                     "download tokenizer.model again.",
                     {}};
    return {};
}

bool keepsEveryByte(std::span<const std::byte> bytes) {
    bool keepsBytes = false;
    bool keepsText = false;
    while (!bytes.empty()) {
        const auto field = readField(bytes);
        if (!field) return false;
        if (field->number == kTrainerSpec)
            keepsBytes = numberIn(field->content, kByteFallback, 0) != 0;
        if (field->number == kNormalizerSpec)
            keepsText = !hasCharacterMap(field->content) &&
                        numberIn(field->content, kRemoveExtraSpaces, 1) == 0;
    }
    return keepsBytes && keepsText;
}

}  // namespace qllama
