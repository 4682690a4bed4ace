// The model's own tokenizer, through the sentencepiece library: exactly its encoding.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "engine/common/result.h"

namespace qllama {

using TokenId = std::int32_t;

// Immutable after open(); may be used from any thread.
class Tokenizer {
public:
    // Fails with a sentence when the file is missing, over 64 MiB, cut short, not a sentencepiece
    // model (a tiktoken file as LLaMA 3 has and other usual mix-ups are recognised and named), or
    // without BOS and EOS pieces. The file may be replaced or deleted afterwards.
    static Result<std::shared_ptr<const Tokenizer>> open(const std::filesystem::path& path);
    ~Tokenizer();
    Tokenizer(const Tokenizer&) = delete;
    Tokenizer& operator=(const Tokenizer&) = delete;

    // BOS, then the pieces of `text` (any bytes; what is not UTF-8 becomes U+FFFD, as sentencepiece
    // does); BOS alone for an empty text. Some hundred kilobytes a second: once `stop` is requested, the
    // tokens end early, where the tokenizer lets a long text be divided.
    [[nodiscard]] std::vector<TokenId> encode(std::string_view text,
                                              const std::stop_token& stop = {}) const;

    // A lower bound of how many tokens encode() makes of a text of so many bytes, at no cost: as if
    // all were the longest piece. BOS alone where the tokenizer shortens texts before.
    [[nodiscard]] std::int64_t fewestTokens(std::size_t textBytes) const;

    // The bytes that `token` adds to a running text: U+2581 becomes a space, a byte piece its byte,
    // control pieces (BOS, EOS, unknown) nothing. May be a part of a UTF-8 character. Nothing for
    // an id outside [0, vocabularySize()): a model's vocabulary may be padded. Valid as long as
    // the tokenizer.
    [[nodiscard]] std::string_view pieceBytes(TokenId token) const;

    // Sentencepiece puts a space before the first word; decoding drops it again. True when the
    // model does so: whoever decodes from the start drops one leading space.
    [[nodiscard]] bool addsDummyPrefix() const;

    [[nodiscard]] TokenId bos() const;
    [[nodiscard]] TokenId eos() const;
    [[nodiscard]] std::int64_t vocabularySize() const;
    [[nodiscard]] const std::filesystem::path& path() const;

private:
    struct Impl;
    explicit Tokenizer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> m_impl;
};

}  // namespace qllama
