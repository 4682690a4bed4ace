// Devices that fail as a test says, and what a generation tells meanwhile.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/backend/opencl/fault_injection.h"
#include "engine/session/generation_session.h"
#include "tests/unit/opencl/whole_models.h"

namespace qllama::test {

inline constexpr int kOutOfMemory = -4;     // CL_MEM_OBJECT_ALLOCATION_FAILURE
inline constexpr int kOutOfResources = -5;  // CL_OUT_OF_RESOURCES

// Fails the command or allocation with that number, counted from the hook's making.
class FaultAt {
public:
    FaultAt(opencl::FaultPoint point, int number) {
        opencl::setFaultHook(
            [this, point, number](opencl::FaultPoint at, const std::string& id, std::int64_t) {
                if (at != point || id != "opencl:0" || m_seen++ != number) return 0;
                return point == opencl::FaultPoint::Allocation ? kOutOfMemory : kOutOfResources;
            });
    }
    ~FaultAt() { opencl::setFaultHook({}); }
    FaultAt(const FaultAt&) = delete;
    FaultAt& operator=(const FaultAt&) = delete;
    [[nodiscard]] int seen() const { return m_seen; }

private:
    int m_seen = 0;
};

class CollectingSink final : public GenerationSink {
public:
    void promptStarted(std::int64_t, std::uint64_t) override {}
    void promptProgress(std::int64_t done, std::int64_t total) override {
        if (onPrompt) onPrompt(done, total);
    }
    void promptDone(const PromptStatistics&) override {}
    void tokenReady(const TokenChunk& chunk) override {
        m_text += chunk.text;
        m_ms += chunk.ms;
        if (onToken) onToken();
    }
    void modelMoved(const ModelInfo& model) override { moves.push_back(model); }
    void recomputeProgress(std::int64_t done, std::int64_t total) override {
        recomputed.emplace_back(done, total);
    }
    [[nodiscard]] const std::string& text() const { return m_text; }
    [[nodiscard]] double ms() const { return m_ms; }  // from the request to the last token

    std::function<void(std::int64_t done, std::int64_t total)> onPrompt;
    std::function<void()> onToken;
    std::vector<ModelInfo> moves;
    std::vector<std::pair<std::int64_t, std::int64_t>> recomputed;

private:
    std::string m_text;
    double m_ms = 0;
};

// opencl:0 fails once, some commands after so many tokens of the text that `sink` gets.
class FaultAfter {
public:
    FaultAfter(CollectingSink& sink, int tokens) : m_tokensLeft(tokens) {
        if (tokens == 0) begin();
        sink.onToken = [this] {
            if (--m_tokensLeft == 0) begin();
        };
    }

private:
    void begin() { m_fault.emplace(opencl::FaultPoint::Enqueue, 3); }

    int m_tokensLeft;
    std::optional<FaultAt> m_fault;
};

inline GenerationRequest greedy(std::int64_t tokens) {
    GenerationRequest request;
    request.prompt = "Once upon a time there was a";
    request.maxTokens = tokens;
    request.seed = 1;
    return request;
}

inline std::string cpuText(std::int64_t tokens, Precision precision = Precision::Source) {
    LoadRequest request = demoRequest("cpu");
    request.precision = precision;
    GenerationSession session(std::move(loadModel(request, {}, {})).value());
    CollectingSink sink;
    return session.generate(greedy(tokens), sink, {}).value().text;
}

inline bool isSentenceAboutTheDevice(const Error& error) {
    return error.message.find("opencl:0") != std::string::npos && error.message.ends_with('.');
}

}  // namespace qllama::test
