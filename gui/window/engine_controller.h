// The window's side of the engine: gives requests their numbers and stop sources, drops what is
// out of date, and knows whether the engine is busy.
#pragma once

#include <QObject>
#include <QThread>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>

#include "gui/window/engine_worker.h"

namespace qllama {

// All methods and signals belong to the thread that created the controller; none waits for the
// engine, except the destructor, which stops whatever runs and joins the thread.
class EngineController : public QObject {
    Q_OBJECT

public:
    enum class State { Empty, Loading, Ready, Generating };
    Q_ENUM(State)

    explicit EngineController(std::unique_ptr<TextEngine> engine, QObject* parent = nullptr);
    ~EngineController() override;

    [[nodiscard]] State state() const;
    [[nodiscard]] const std::optional<ModelInfo>& model() const { return m_model; }

    // Both give the request a new id, return it, and stop what was running. Progress and tokens of
    // the stopped request are dropped from then on; its final signal still comes.
    quint64 load(LoadRequest request);
    quint64 generate(GenerationRequest request);

    // Stops what runs; its final signal follows. No effect when idle.
    void stop();
    void unload();

    // For LoadRequest::mayLeaveDevice, to ask the user: in the middle of a text it emits deviceFailed()
    // and waits; while loading it says no. To be called by the engine alone.
    [[nodiscard]] std::function<bool(const Error&)> deviceQuestion() const;
    void answerAboutDevice(bool goesOn);

    // Of the host's memory. Whatever is asked for meanwhile goes first: the measurement is then
    // cancelled.
    void measureBandwidth();

signals:
    void stateChanged(qllama::EngineController::State state);

    void loadStarted(quint64 id, const qllama::LoadRequest& request);
    // Where the layers are about to go, before they are loaded.
    void planMade(quint64 id, const qllama::PlacementPlan& plan);
    void loadProgress(quint64 id, const qllama::LoadProgress& progress);
    void modelLoaded(quint64 id, const qllama::ModelInfo& info);
    void loadFailed(quint64 id, const qllama::Error& error);

    void generationStarted(quint64 id, const qllama::GenerationRequest& request);
    // The engine waits for answerAboutDevice(), or to be stopped.
    void deviceFailed(quint64 id, const qllama::Error& error);
    void modelMoved(quint64 id, const qllama::ModelInfo& info);  // model() is the new one
    void recomputeProgress(quint64 id, qint64 doneTokens, qint64 totalTokens);
    void promptStarted(quint64 id, qint64 tokenCount, quint64 seed);
    void promptProgress(quint64 id, qint64 doneTokens, qint64 totalTokens);
    void promptDone(quint64 id, const qllama::PromptStatistics& statistics);
    void tokensReady(quint64 id, const QList<qllama::TokenChunk>& chunks);
    void generationFinished(quint64 id, const qllama::GenerationResult& result);
    void generationFailed(quint64 id, const qllama::Error& error);

    // One of them for each measureBandwidth(). 0 GB/s: it could not be measured.
    void bandwidthMeasured(double gbPerSecond);
    void bandwidthCancelled();

private:
    struct Running {
        quint64 id = 0;
        std::stop_source stop;
    };
    struct QuitAndJoin {
        void operator()(QThread* thread) const;
    };

    void connectWorker();
    void forwardWhileRunning();
    void finishLoad(quint64 id, const Error& error, bool previousModelKept);
    void abandon(std::optional<Running>& running);
    void abandonAll();
    void abandonIf(std::optional<Running>& running, quint64 id);
    void announceState();

    std::unique_ptr<QThread, QuitAndJoin> m_thread;
    EngineWorker* m_worker;  // lives in m_thread, deleted there when it ends
    quint64 m_lastId = 0;
    std::optional<Running> m_load;
    std::optional<Running> m_generation;
    std::stop_source m_measurement;  // of the last one
    std::optional<ModelInfo> m_model;
    bool m_unloading = false;  // asked for; m_model goes when the engine says so
    State m_announced = State::Empty;
};

}  // namespace qllama
