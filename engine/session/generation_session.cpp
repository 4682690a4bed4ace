#include "engine/session/generation_session.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <utility>

#include "engine/session/odd_logits.h"
#include "engine/session/stop_strings.h"
#include "engine/tokenizer/utf8_stream.h"

namespace qllama {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::duration duration) {
    return std::chrono::duration<double, std::milli>(duration).count();
}

// 53 bits, so that the seed survives JSON and a spin box and can be typed in again.
std::uint64_t randomSeed() {
    std::random_device device;
    return ((static_cast<std::uint64_t>(device()) << 32) | device()) &
           ((std::uint64_t{1} << 53) - 1);
}

Error promptTooLong(const std::string& tokens, std::int64_t context) {
    return {ErrorCode::InvalidRequest,
            "The prompt has " + tokens + " tokens, but the context holds " +
                std::to_string(context) +
                ". Shorten the prompt or load the model with a longer context.",
            {}};
}

// Bytes of tokens -> whole characters -> text that is not part of a stop string.
class TextPipeline {
public:
    TextPipeline(const Tokenizer& tokenizer, std::vector<std::string> stopStrings, bool dropSpace)
        : m_tokenizer(tokenizer), m_stop(std::move(stopStrings)), m_dropSpace(dropSpace) {}

    std::string push(TokenId token) {
        std::string_view bytes = m_tokenizer.pieceBytes(token);
        // Sentencepiece's own space before the first word of a text is not part of the text.
        if (m_dropSpace && !bytes.empty()) {
            if (bytes.front() == ' ') bytes.remove_prefix(1);
            m_dropSpace = false;
        }
        return m_stop.push(m_characters.push(bytes));
    }
    std::string flush() {
        std::string text = m_stop.push(m_characters.flush());
        return text += m_stop.flush();
    }
    [[nodiscard]] bool isHolding() const { return m_characters.isHolding() || m_stop.isHolding(); }
    [[nodiscard]] bool stopped() const { return m_stop.found(); }

private:
    const Tokenizer& m_tokenizer;
    Utf8Stream m_characters;
    StopStringFilter m_stop;
    bool m_dropSpace;
};

}  // namespace

// The state of one generate() call.
class GenerationSession::Run {
public:
    Run(GenerationSession& session, const GenerationRequest& request, GenerationSink& sink,
        std::stop_token stop)
        : m_session(session),
          m_model(*session.m_model),
          m_request(request),
          m_sink(sink),
          m_stop(std::move(stop)),
          m_text(*m_model.tokenizer, request.stopStrings,
                 request.prompt.empty() && m_model.tokenizer->addsDummyPrefix()) {
        m_result.statistics.seed = request.seed ? *request.seed : randomSeed();
        m_result.statistics.contextLength = m_model.transformer->contextLength();
        m_result.statistics.bytesPerToken = m_model.transformer->bytesPerToken();
    }

    Result<GenerationResult> go() {
        const std::int64_t context = m_result.statistics.contextLength;
        // Encoding takes seconds for some megabytes.
        const std::int64_t fewest = m_model.tokenizer->fewestTokens(m_request.prompt.size());
        if (fewest > context) return promptTooLong("at least " + std::to_string(fewest), context);
        m_history = m_model.tokenizer->encode(m_request.prompt, m_stop);
        if (m_stop.stop_requested()) return finish(StopReason::Cancelled);
        const auto promptTokens = static_cast<std::int64_t>(m_history.size());
        if (promptTokens > context) return promptTooLong(std::to_string(promptTokens), context);
        m_sink.promptStarted(promptTokens, m_result.statistics.seed);
        const Result<void> prefilled = prefill();
        if (!prefilled.ok()) {
            if (prefilled.error().code != ErrorCode::Cancelled) return prefilled.error();
            return finish(StopReason::Cancelled);
        }
        if (m_request.maxTokens == 0) return finish(StopReason::Length);
        return decode();
    }

private:
    // Evaluates what the KV cache does not hold yet; at least the last token, for its logits.
    Result<void> prefill() {
        const Clock::time_point start = now();
        std::vector<TokenId>& cached = m_session.m_context;
        const std::size_t common = static_cast<std::size_t>(
            std::mismatch(cached.begin(), cached.end(), m_history.begin(), m_history.end()).first -
            cached.begin());
        const std::size_t reused = std::min(common, m_history.size() - 1);
        forget(reused);
        const auto report = [&](std::int64_t done) {
            m_sink.promptProgress(static_cast<std::int64_t>(reused) + done,
                                  static_cast<std::int64_t>(m_history.size()));
        };
        report(0);
        const std::span<const TokenId> fresh = std::span(m_history).subspan(reused);
        const Result<void> evaluated = evaluate(fresh, report);
        if (!evaluated.ok()) return evaluated;
        const std::span<const float> logits = m_model.transformer->logits();
        m_session.m_promptLogits.assign(logits.begin(), logits.end());
        // The sampler sees every logit anyway, but none may follow.
        if (!std::all_of(logits.begin(), logits.end(),
                         [](float logit) { return std::isfinite(logit); }))
            return notNumbers();
        PromptStatistics& prompt = m_result.statistics.prompt;
        prompt.tokens = m_history;
        prompt.reusedTokens = static_cast<std::int64_t>(reused);
        prompt.ms = milliseconds(now() - start);
        prompt.tokensPerSecond =
            prompt.ms > 0 ? static_cast<double>(fresh.size()) * 1000.0 / prompt.ms : 0;
        m_sink.promptDone(prompt);
        return {};
    }

    // What is held back belongs to the text however it ends.
    Result<GenerationResult> decode() {
        const Result<StopReason> reason = decodeTokens();
        if (m_held) {
            m_held->text += m_text.flush();
            giveHeld();
        }
        if (!reason.ok()) return reason.error();
        return finish(reason.value());
    }

    Result<StopReason> decodeTokens() {
        SamplerChain sampler(m_request.sampler, m_result.statistics.seed);
        Clock::time_point tokenStart = m_start;
        while (true) {
            if (m_stop.stop_requested()) return StopReason::Cancelled;
            const SampledToken sampled =
                sampler.sample(m_model.transformer->logits(), m_history, m_request.candidateCount);
            if (sampled.oddLogits > 0) return notNumbers();
            const std::optional<StopReason> reason = take(sampled, tokenStart);
            if (reason) return *reason;
            tokenStart = now();
            const TokenId next[] = {sampled.token};
            const Result<void> evaluated = evaluate(next, {});
            if (!evaluated.ok()) {
                if (evaluated.error().code != ErrorCode::Cancelled) return evaluated.error();
                return StopReason::Cancelled;
            }
        }
    }

    // Appends the last tokens of the history to the context: all of it again, without the device that
    // failed, where that may be left.
    Result<void> evaluate(std::span<const TokenId> tokens,
                          const std::function<void(std::int64_t)>& report) {
        Result<void> evaluated = m_model.transformer->forward(tokens, report, m_stop);
        remember();
        while (!evaluated.ok() && mayLeaveDevice(evaluated.error())) {
            QLLAMA_CHECK(leaveDevice(m_model, evaluated.error(), m_stop));
            m_sink.modelMoved(m_model.info);
            const auto reportAgain = [this](std::int64_t done) {
                m_sink.recomputeProgress(done, static_cast<std::int64_t>(m_history.size()));
            };
            reportAgain(0);
            evaluated = m_model.transformer->forward(m_history, reportAgain, m_stop);
            remember();
        }
        // Also in answer to the question whether it may be left.
        if (!evaluated.ok() && m_stop.stop_requested()) return cancelledError();
        return evaluated;
    }

    [[nodiscard]] bool mayLeaveDevice(const Error& error) {
        const bool isOfDevice =
            error.code == ErrorCode::Device || error.code == ErrorCode::OutOfMemory;
        const std::size_t failed = m_model.transformer->failedStage();
        if (!isOfDevice || m_model.backends[failed]->device().id == "cpu" ||
            !m_model.request.mayLeaveDevice)
            return false;
        const Clock::time_point asked = Clock::now();
        const bool mayLeave = m_model.request.mayLeaveDevice(error);
        m_waited += Clock::now() - asked;
        return mayLeave;
    }

    // The clock of all times that are told: it stands while somebody thinks about an answer.
    [[nodiscard]] Clock::time_point now() const { return Clock::now() - m_waited; }

    // Whatever made them, the next request shall not build on what is in the context.
    Error notNumbers() {
        forget(0);
        const std::int64_t generated = m_result.statistics.tokenCount;
        return oddLogits(m_model.info, generated == 0
                                           ? "at the end of the prompt"
                                           : "after " + std::to_string(generated) + " tokens");
    }

    // Accounts for one sampled token and passes it on, or keeps it while some of its text is held back;
    // the reason to end after it, if any.
    std::optional<StopReason> take(const SampledToken& sampled, Clock::time_point tokenStart) {
        giveHeld();
        m_history.push_back(sampled.token);
        ++m_result.statistics.tokenCount;
        TokenChunk chunk;
        chunk.token = sampled.token;
        chunk.probability = sampled.probability;
        chunk.candidates = sampled.candidates;
        for (const Candidate& candidate : sampled.candidates)
            chunk.candidateTexts.emplace_back(m_model.tokenizer->pieceBytes(candidate.token));
        chunk.text = m_text.push(sampled.token);
        const Clock::time_point end = now();
        chunk.ms = milliseconds(end - tokenStart);
        if (m_result.statistics.tokenCount == 1)
            m_result.statistics.firstTokenMs = milliseconds(end - m_start);
        else
            m_decodeMs += chunk.ms;
        m_held = std::move(chunk);
        if (!m_text.isHolding()) giveHeld();
        return reasonToEnd(sampled.token);
    }

    void giveHeld() {
        if (!m_held) return;
        m_result.text += m_held->text;
        m_sink.tokenReady(*m_held);
        m_held.reset();
    }

    [[nodiscard]] std::optional<StopReason> reasonToEnd(TokenId token) const {
        if (m_text.stopped()) return StopReason::StopString;
        if (token == m_model.tokenizer->eos() && !m_request.ignoreEos) return StopReason::EndOfText;
        if (m_request.maxTokens > 0 && m_result.statistics.tokenCount >= m_request.maxTokens)
            return StopReason::Length;
        if (m_model.transformer->position() >= m_result.statistics.contextLength)
            return StopReason::ContextFull;
        return std::nullopt;
    }

    GenerationResult finish(StopReason reason) {
        GenerationStatistics& statistics = m_result.statistics;
        m_result.reason = reason;
        statistics.contextUsed = m_model.transformer->position();
        if (statistics.tokenCount > 1) {
            statistics.msPerToken = m_decodeMs / static_cast<double>(statistics.tokenCount - 1);
            if (statistics.msPerToken > 0)
                statistics.tokensPerSecond = 1000.0 / statistics.msPerToken;
        }
        return m_result;
    }

    void forget(std::size_t position) {
        m_model.transformer->truncate(static_cast<std::int64_t>(position));
        m_session.m_context.resize(position);
    }

    // Brings the list of cached tokens up to what the transformer really holds.
    void remember() {
        const auto held = static_cast<std::ptrdiff_t>(m_model.transformer->position());
        m_session.m_context.assign(m_history.begin(), m_history.begin() + held);
    }

    GenerationSession& m_session;
    LoadedModel& m_model;
    const GenerationRequest& m_request;
    GenerationSink& m_sink;
    std::stop_token m_stop;
    TextPipeline m_text;
    std::optional<TokenChunk> m_held;  // the last token, while its text may still grow
    std::vector<TokenId> m_history;    // prompt and generated tokens
    GenerationResult m_result;
    double m_decodeMs = 0;
    Clock::duration m_waited{};
    Clock::time_point m_start = Clock::now();
};

GenerationSession::GenerationSession(std::unique_ptr<LoadedModel> model)
    : m_model(std::move(model)) {}
GenerationSession::~GenerationSession() = default;

Result<GenerationResult> GenerationSession::generate(const GenerationRequest& request,
                                                     GenerationSink& sink, std::stop_token stop) {
    if (std::string problem = request.sampler.problem(); !problem.empty())
        return Error{ErrorCode::InvalidRequest, std::move(problem), {}};
    return Run(*this, request, sink, std::move(stop)).go();
}

std::string_view keyOf(StopReason reason) {
    switch (reason) {
        case StopReason::EndOfText:
            return "end-of-text";
        case StopReason::Length:
            return "length";
        case StopReason::StopString:
            return "stop";
        case StopReason::Cancelled:
            return "cancelled";
        case StopReason::ContextFull:
            return "context-full";
    }
    return "?";
}

}  // namespace qllama
