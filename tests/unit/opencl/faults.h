// Devices that fail as a test says, and what a generation tells meanwhile.
#pragma once

#include <functional>
#include <string>
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
    void promptProgress(std::int64_t, std::int64_t) override {}
    void promptDone(const PromptStatistics&) override {}
    void tokenReady(const TokenChunk& chunk) override {
        m_text += chunk.text;
        if (onToken) onToken();
    }
    void modelMoved(const ModelInfo& model) override { moves.push_back(model); }
    [[nodiscard]] const std::string& text() const { return m_text; }

    std::function<void()> onToken;
    std::vector<ModelInfo> moves;

private:
    std::string m_text;
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
