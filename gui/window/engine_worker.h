// Runs the engine in its own thread and reports what happens as signals that carry plain values.
#pragma once

#include <QList>
#include <QObject>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>

#include "gui/window/text_engine.h"

namespace qllama {

// Lives in the thread of EngineController. load() and generate() keep that thread busy until they
// are done; the way to end them early is the stop source of the token they were given, since a
// queued slot would only be reached afterwards. Each load() ends in exactly one of modelLoaded and
// loadFailed, each generate() in exactly one of generationFinished and generationFailed (a stopped
// generation is finished, with reason Cancelled). Nothing thrown by the engine leaves the slots.
class EngineWorker : public QObject {
    Q_OBJECT

public:
    explicit EngineWorker(std::unique_ptr<TextEngine> engine);

    // For the engine, on the worker's thread: tells of the failure and waits until it is answered or the
    // generation is stopped. Whether the engine may go on without the device; false outside generate().
    bool askAboutDevice(const Error& failure);
    // From any thread. No effect while nobody waits.
    void answerAboutDevice(bool goesOn);

public slots:
    void load(const qllama::LoadRequest& request, std::stop_token stop);
    void generate(const qllama::GenerationRequest& request, std::stop_token stop);
    void unload();
    void measureBandwidth(std::stop_token stop);

signals:
    // Where the layers are about to go; more than once when a device holds less than it said.
    void planMade(quint64 id, const qllama::PlacementPlan& plan);
    void loadProgress(quint64 id, const qllama::LoadProgress& progress);
    void modelLoaded(quint64 id, const qllama::ModelInfo& info);
    // `previousModelKept`: the model from before is still loaded and usable.
    void loadFailed(quint64 id, const qllama::Error& error, bool previousModelKept);
    void modelUnloaded();

    // While it generates: see GenerationSink::modelMoved().
    void modelMoved(quint64 id, const qllama::ModelInfo& info);
    void recomputeProgress(quint64 id, qint64 doneTokens, qint64 totalTokens);
    // The engine waits for answerAboutDevice().
    void deviceFailed(quint64 id, const qllama::Error& error);
    void promptStarted(quint64 id, qint64 tokenCount, quint64 seed);
    void promptProgress(quint64 id, qint64 doneTokens, qint64 totalTokens);
    void promptDone(quint64 id, const qllama::PromptStatistics& statistics);
    // The first token at once, later ones merged to at most about 15 signals a second.
    void tokensReady(quint64 id, const QList<qllama::TokenChunk>& chunks);
    void generationFinished(quint64 id, const qllama::GenerationResult& result);
    void generationFailed(quint64 id, const qllama::Error& error);

    // One of them follows each measureBandwidth(). 0 GB/s: it could not be measured.
    void bandwidthMeasured(double gbPerSecond);
    void bandwidthCancelled();

private:
    std::unique_ptr<TextEngine> m_engine;
    quint64 m_generation = 0;  // that runs, else 0
    std::stop_token m_generationStop;
    std::mutex m_answerMutex;
    std::condition_variable_any m_answered;
    std::optional<bool> m_answer;
};

}  // namespace qllama
