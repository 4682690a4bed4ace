#include "gui/window/engine_worker.h"

#include <chrono>
#include <exception>
#include <new>
#include <utility>

namespace qllama {
namespace {

// 66 ms between signals: text still flows, while the cores that compute lose half as much to laying
// out and drawing it as with 33 ms (0.9 against 1.3 ms of one core a token at 28 ms a token).
constexpr std::chrono::milliseconds kSignalInterval{66};

// Says whether enough time has passed since it last said yes; the first time always.
class Throttle {
public:
    bool due() {
        const auto now = Clock::now();
        if (m_started && now - m_last < kSignalInterval) return false;
        m_started = true;
        m_last = now;
        return true;
    }

private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point m_last;
    bool m_started = false;
};

// Turns the engine's calls into signals of one request.
class SignalSink final : public GenerationSink {
public:
    SignalSink(EngineWorker& worker, quint64 id) : m_worker(worker), m_id(id) {}

    void promptStarted(std::int64_t tokenCount, std::uint64_t seed) override {
        emit m_worker.promptStarted(m_id, tokenCount, seed);
    }
    void promptProgress(std::int64_t doneTokens, std::int64_t totalTokens) override {
        if (m_promptThrottle.due() || doneTokens == totalTokens)
            emit m_worker.promptProgress(m_id, doneTokens, totalTokens);
    }
    void promptDone(const PromptStatistics& statistics) override {
        emit m_worker.promptDone(m_id, statistics);
    }
    void tokenReady(const TokenChunk& chunk) override {
        m_pending.append(chunk);
        if (m_tokenThrottle.due()) flush();
    }
    void modelMoved(const ModelInfo& model) override {
        flush();
        m_tokenThrottle = {};  // the next token has been waited for
        emit m_worker.modelMoved(m_id, model);
    }
    void recomputeProgress(std::int64_t doneTokens, std::int64_t totalTokens) override {
        if (m_promptThrottle.due() || doneTokens == totalTokens)
            emit m_worker.recomputeProgress(m_id, doneTokens, totalTokens);
    }
    void flush() {
        if (m_pending.isEmpty()) return;
        emit m_worker.tokensReady(m_id, std::exchange(m_pending, {}));
    }

private:
    EngineWorker& m_worker;
    quint64 m_id;
    QList<TokenChunk> m_pending;
    Throttle m_promptThrottle;
    Throttle m_tokenThrottle;
};

// The engine reports by Result; what libraries below it may still throw ends here.
template <typename T, typename Work>
Result<T> guarded(Work&& work) {
    try {
        return work();
    } catch (const std::bad_alloc&) {
        return Error{ErrorCode::OutOfMemory,
                     "There is not enough memory for this. A smaller context, another precision or "
                     "a smaller model needs less.",
                     {}};
    } catch (const std::exception& exception) {
        return Error{ErrorCode::Unsupported,
                     std::string("The engine failed unexpectedly: ") + exception.what() + ".",
                     {}};
    } catch (...) {
        return Error{ErrorCode::Unsupported, "The engine failed for an unknown reason.", {}};
    }
}

}  // namespace

EngineWorker::EngineWorker(std::unique_ptr<TextEngine> engine) : m_engine(std::move(engine)) {}

void EngineWorker::load(const LoadRequest& request, std::stop_token stop) {
    Throttle throttle;
    std::string compilingDevice;
    const auto report = [&](const LoadProgress& progress) {
        const bool isOther = progress.compilingDevice != compilingDevice;
        compilingDevice = progress.compilingDevice;
        if (throttle.due() || isOther || progress.doneBytes == progress.totalBytes)
            emit loadProgress(request.id, progress);
    };
    LoadRequest told = request;
    told.planMade = [this, id = request.id](const PlacementPlan& plan) { emit planMade(id, plan); };
    const auto info = guarded<ModelInfo>([&] { return m_engine->load(told, report, stop); });
    if (info.ok())
        emit modelLoaded(request.id, info.value());
    else
        emit loadFailed(request.id, info.error(), m_engine->hasModel());
}

void EngineWorker::generate(const GenerationRequest& request, std::stop_token stop) {
    SignalSink sink(*this, request.id);
    m_generation = request.id;
    m_generationStop = stop;
    const auto result =
        guarded<GenerationResult>([&] { return m_engine->generate(request, sink, stop); });
    sink.flush();
    m_generation = 0;
    m_generationStop = {};
    if (result.ok())
        emit generationFinished(request.id, result.value());
    else
        emit generationFailed(request.id, result.error());
}

bool EngineWorker::askAboutDevice(const Error& failure) {
    if (m_generation == 0) return false;
    std::unique_lock lock(m_answerMutex);
    m_answer.reset();
    emit deviceFailed(m_generation, failure);
    m_answered.wait(lock, m_generationStop, [this] { return m_answer.has_value(); });
    return m_answer.value_or(false);
}

void EngineWorker::answerAboutDevice(bool goesOn) {
    {
        const std::lock_guard lock(m_answerMutex);
        m_answer = goesOn;
    }
    m_answered.notify_all();
}

void EngineWorker::unload() {
    m_engine->unload();
    emit modelUnloaded();
}

void EngineWorker::measureBandwidth(std::stop_token stop) {
    const auto measured = guarded<double>([&] { return m_engine->measureBandwidth(stop); });
    if (!measured.ok() && measured.error().code == ErrorCode::Cancelled)
        emit bandwidthCancelled();
    else
        emit bandwidthMeasured(measured.ok() ? measured.value() : 0);
}

}  // namespace qllama
