#include "engine/tokenizer/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <optional>
#include <utility>

#include "engine/common/mapped_file.h"
#include "engine/tokenizer/tokenizer_file.h"

namespace qllama {
namespace {

// LLaMA's file is 500 kB, the largest known sentencepiece vocabularies (256k pieces) about 5 MB.
constexpr std::size_t kMaximumFileBytes = 64U << 20;

// Of a text that can be divided: a moment's work, and little memory, of which the library needs 140 times as
// much.
constexpr std::size_t kEncodedTogether = std::size_t{64} << 10;

constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581, sentencepiece's space

// A byte piece is written "<0x0A>".
std::string byteOfPiece(std::string_view piece) {
    unsigned value = 0;
    if (piece.size() == 6) std::from_chars(piece.data() + 3, piece.data() + 5, value, 16);
    return {static_cast<char>(value)};
}

std::string withSpaces(std::string_view piece) {
    std::string text;
    for (std::size_t found; (found = piece.find(kSpaceSymbol)) != std::string_view::npos;) {
        text += piece.substr(0, found);
        text += ' ';
        piece.remove_prefix(found + kSpaceSymbol.size());
    }
    return text += piece;
}

// Asks the library as little as it can: each question costs it more than the answer.
std::string bytesOf(const sentencepiece::SentencePieceProcessor& processor, TokenId token,
                    const std::string& piece) {
    if (processor.IsControl(token)) return {};
    const bool mayBeByte = piece.size() == 6 && piece.starts_with("<0x");
    return mayBeByte && processor.IsByte(token) ? byteOfPiece(piece) : withSpaces(piece);
}

// The library begins some messages with its own line and condition, "./src/a.cc(12) [x != 0] ", and
// often says nothing more.
std::string withoutSource(std::string_view message) {
    const std::size_t source = message.find(".cc(");
    if (source == std::string_view::npos) return std::string(message);
    const std::size_t end = message.find("] ", source);
    return std::string(end == std::string_view::npos ? "" : message.substr(end + 2));
}

Error missingPiece(const sentencepiece::SentencePieceProcessor& processor, std::string where) {
    const bool both = processor.bos_id() < 0 && processor.eos_id() < 0;
    const std::string which = both                     ? "neither a BOS nor an EOS piece"
                              : processor.bos_id() < 0 ? "no BOS piece"
                                                       : "no EOS piece";
    return {ErrorCode::Unsupported,
            "The tokenizer has " + which +
                " (the pieces that begin and end a text), which LLaMA models need. It belongs to "
                "another kind of model.",
            std::move(where)};
}

}  // namespace

struct Tokenizer::Impl {
    std::filesystem::path path;
    sentencepiece::SentencePieceProcessor processor;
    std::vector<std::string> pieces;  // [vocabularySize], bytes of each
    bool addsDummyPrefix = false;
    std::size_t longestPiece = 0;  // in bytes, a space as sentencepiece writes it; 0: unknown
    // What the library puts before a line feed that begins a text. Empty (not even that): line feeds are no
    // places to divide a text at.
    std::optional<std::vector<int>> beforeLineFeed;

    [[nodiscard]] std::vector<int> encode(std::string_view text) const {
        std::vector<int> ids;
        // Fails only for a model that is not loaded, which open() excludes.
        [[maybe_unused]] const auto status = processor.Encode(text, &ids);
        assert(status.ok());
        return ids;
    }

    // Where no piece goes across a line feed, what is on both sides does not matter to the other.
    void lookAtLineFeeds() {
        const auto across = [](const std::string& piece) {
            return piece.size() > 1 && piece.find('\n') != std::string::npos;
        };
        if (std::any_of(pieces.begin(), pieces.end(), across)) return;
        std::vector<int> one = encode("\n");
        std::vector<int> two = encode("\n\n");
        if (one.empty() || two.size() != one.size() + 1 || two.back() != one.back()) return;
        if (pieces[static_cast<std::size_t>(one.back())] != "\n") return;  // a space comes last
        one.pop_back();
        if (std::equal(one.begin(), one.end(), two.begin())) beforeLineFeed = std::move(one);
    }

    // Asks the model itself instead of its settings: a letter gets a space before it or does not.
    [[nodiscard]] bool putsSpaceBefore(std::string_view letter) const {
        std::string text;
        for (const int id : encode(letter))
            text += pieces[static_cast<std::size_t>(id)];
        return text.starts_with(' ');
    }
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : m_impl(std::move(impl)) {}

Tokenizer::~Tokenizer() = default;

Result<std::shared_ptr<const Tokenizer>> Tokenizer::open(const std::filesystem::path& path) {
    QLLAMA_TRY(const auto file, MappedFile::open(path));
    const auto bytes = file->bytes();
    if (bytes.size() > kMaximumFileBytes)
        return Error{ErrorCode::InvalidFile,
                     "The tokenizer has " + std::to_string(bytes.size()) + " bytes; at most " +
                         std::to_string(kMaximumFileBytes) +
                         " are read. Choose the file tokenizer.model.",
                     path.string()};
    if (auto checked = checkTokenizerFile(bytes); !checked) {
        Error error = checked.error();
        error.where = path.string();
        return error;
    }

    auto impl = std::make_unique<Impl>();
    impl->path = path;
    auto& processor = impl->processor;
    const auto status = processor.LoadFromSerializedProto(
        {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    if (!status.ok()) {
        const std::string reason = withoutSource(status.error_message());
        return Error{ErrorCode::InvalidFile,
                     "This is not a usable sentencepiece model, the sentencepiece library says" +
                         (reason.empty() ? reason : ": \"" + reason + "\"") +
                         ". Copy or download tokenizer.model again.",
                     path.string()};
    }
    if (processor.bos_id() < 0 || processor.eos_id() < 0)
        return missingPiece(processor, path.string());

    const int size = processor.GetPieceSize();
    const TokenId unknown = processor.unk_id();
    impl->pieces.reserve(static_cast<std::size_t>(size));
    const bool isBounded = keepsEveryByte(bytes);
    for (TokenId token = 0; token < size; ++token) {
        const std::string& piece = processor.IdToPiece(token);
        impl->pieces.push_back(token == unknown ? "" : bytesOf(processor, token, piece));
        if (isBounded) impl->longestPiece = std::max(impl->longestPiece, piece.size());
    }
    impl->addsDummyPrefix = impl->putsSpaceBefore("a");
    if (isBounded) impl->lookAtLineFeeds();
    return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(impl)));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, const std::stop_token& stop) const {
    std::vector<TokenId> ids{bos()};
    std::size_t added = 0;  // tokens before the text of a part
    do {
        std::size_t end = text.size();
        if (m_impl->beforeLineFeed && end > kEncodedTogether)
            end = std::min(end, text.find('\n', kEncodedTogether));
        const std::vector<int> part = m_impl->encode(text.substr(0, end));
        ids.insert(ids.end(), part.begin() + static_cast<std::ptrdiff_t>(added), part.end());
        text.remove_prefix(end);
        if (!text.empty()) added = m_impl->beforeLineFeed->size();
    } while (!text.empty() && !stop.stop_requested());
    return ids;
}

std::int64_t Tokenizer::fewestTokens(std::size_t textBytes) const {
    const std::size_t longest = m_impl->longestPiece;
    if (longest == 0) return 1;
    return 1 + static_cast<std::int64_t>(textBytes / longest + (textBytes % longest != 0 ? 1 : 0));
}

std::string_view Tokenizer::pieceBytes(TokenId token) const {
    if (token < 0 || token >= vocabularySize()) return {};
    return m_impl->pieces[static_cast<std::size_t>(token)];
}

bool Tokenizer::addsDummyPrefix() const {
    return m_impl->addsDummyPrefix;
}

TokenId Tokenizer::bos() const {
    return m_impl->processor.bos_id();
}

TokenId Tokenizer::eos() const {
    return m_impl->processor.eos_id();
}

std::int64_t Tokenizer::vocabularySize() const {
    return static_cast<std::int64_t>(m_impl->pieces.size());
}

const std::filesystem::path& Tokenizer::path() const {
    return m_impl->path;
}

}  // namespace qllama
