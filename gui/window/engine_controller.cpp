#include "gui/window/engine_controller.h"

#include <utility>

namespace qllama {

void EngineController::QuitAndJoin::operator()(QThread* thread) const {
    thread->quit();
    thread->wait();
    delete thread;
}

EngineController::EngineController(std::unique_ptr<TextEngine> engine, QObject* parent)
    : QObject(parent), m_thread(new QThread), m_worker(new EngineWorker(std::move(engine))) {
    m_thread->setObjectName(QStringLiteral("engine"));
    m_worker->moveToThread(m_thread.get());
    connect(m_thread.get(), &QThread::finished, m_worker, &QObject::deleteLater);
    connectWorker();
    forwardWhileRunning();
    m_thread->start();
}

EngineController::~EngineController() {
    abandonAll();
}

EngineController::State EngineController::state() const {
    if (m_load) return State::Loading;
    if (m_generation) return State::Generating;
    return m_model && !m_unloading ? State::Ready : State::Empty;
}

quint64 EngineController::load(LoadRequest request) {
    abandonAll();
    request.id = ++m_lastId;
    m_load.emplace(Running{request.id, {}});
    emit loadStarted(request.id, request);
    announceState();
    QMetaObject::invokeMethod(m_worker,
                              [worker = m_worker, request = std::move(request),
                               stop = m_load->stop.get_token()] { worker->load(request, stop); });
    return m_lastId;
}

quint64 EngineController::generate(GenerationRequest request) {
    m_measurement.request_stop();
    abandon(m_generation);
    request.id = ++m_lastId;
    m_generation.emplace(Running{request.id, {}});
    emit generationStarted(request.id, request);
    announceState();
    QMetaObject::invokeMethod(
        m_worker, [worker = m_worker, request = std::move(request),
                   stop = m_generation->stop.get_token()] { worker->generate(request, stop); });
    return m_lastId;
}

void EngineController::stop() {
    m_measurement.request_stop();
    if (m_load) m_load->stop.request_stop();
    if (m_generation) m_generation->stop.request_stop();
}

void EngineController::unload() {
    abandonAll();
    m_unloading = true;
    QMetaObject::invokeMethod(m_worker, &EngineWorker::unload);
    announceState();
}

std::function<bool(const Error&)> EngineController::deviceQuestion() const {
    // Another thread, which only plans, may ask when the worker is gone already.
    return [worker = m_worker, engine = m_thread.get()](const Error& failure) {
        return QThread::currentThread() == engine && worker->askAboutDevice(failure);
    };
}

void EngineController::answerAboutDevice(bool goesOn) {
    m_worker->answerAboutDevice(goesOn);
}

void EngineController::measureBandwidth() {
    m_measurement.request_stop();
    m_measurement = {};
    QMetaObject::invokeMethod(m_worker, [worker = m_worker, stop = m_measurement.get_token()] {
        worker->measureBandwidth(stop);
    });
}

// The final signals: always passed on, and they change the state when the request is the running
// one.
void EngineController::connectWorker() {
    connect(m_worker, &EngineWorker::modelMoved, this, [this](quint64 id, const ModelInfo& info) {
        if (m_model) m_model = info;
        emit modelMoved(id, info);
    });
    connect(m_worker, &EngineWorker::modelLoaded, this, [this](quint64 id, const ModelInfo& info) {
        abandonIf(m_load, id);
        m_model = info;
        emit modelLoaded(id, info);
        announceState();
    });
    connect(m_worker, &EngineWorker::loadFailed, this, &EngineController::finishLoad);
    connect(m_worker, &EngineWorker::bandwidthMeasured, this, &EngineController::bandwidthMeasured);
    connect(m_worker, &EngineWorker::bandwidthCancelled, this,
            &EngineController::bandwidthCancelled);
    connect(m_worker, &EngineWorker::modelUnloaded, this, [this] {
        m_unloading = false;
        m_model.reset();
        // Though the state is no other: what is shown of the model goes only now.
        m_announced = state();
        emit stateChanged(m_announced);
    });
    connect(m_worker, &EngineWorker::generationFinished, this,
            [this](quint64 id, const GenerationResult& result) {
                abandonIf(m_generation, id);
                emit generationFinished(id, result);
                announceState();
            });
    connect(m_worker, &EngineWorker::generationFailed, this,
            [this](quint64 id, const Error& error) {
                abandonIf(m_generation, id);
                emit generationFailed(id, error);
                announceState();
            });
}

// What is only of interest while its request runs. A stopped request's tokens still count: the
// user sees all that was generated until the engine took notice.
void EngineController::forwardWhileRunning() {
    connect(m_worker, &EngineWorker::loadProgress, this,
            [this](quint64 id, const LoadProgress& progress) {
                if (m_load && m_load->id == id) emit loadProgress(id, progress);
            });
    connect(m_worker, &EngineWorker::planMade, this, [this](quint64 id, const PlacementPlan& plan) {
        if (m_load && m_load->id == id) emit planMade(id, plan);
    });
    const auto runs = [this](quint64 id) { return m_generation && m_generation->id == id; };
    connect(m_worker, &EngineWorker::deviceFailed, this,
            [this, runs](quint64 id, const Error& error) {
                if (runs(id)) emit deviceFailed(id, error);
            });
    connect(m_worker, &EngineWorker::recomputeProgress, this,
            [this, runs](quint64 id, qint64 doneTokens, qint64 totalTokens) {
                if (runs(id)) emit recomputeProgress(id, doneTokens, totalTokens);
            });
    connect(m_worker, &EngineWorker::promptStarted, this,
            [this, runs](quint64 id, qint64 tokenCount, quint64 seed) {
                if (runs(id)) emit promptStarted(id, tokenCount, seed);
            });
    connect(m_worker, &EngineWorker::promptProgress, this,
            [this, runs](quint64 id, qint64 doneTokens, qint64 totalTokens) {
                if (runs(id)) emit promptProgress(id, doneTokens, totalTokens);
            });
    connect(m_worker, &EngineWorker::promptDone, this,
            [this, runs](quint64 id, const PromptStatistics& statistics) {
                if (runs(id)) emit promptDone(id, statistics);
            });
    connect(m_worker, &EngineWorker::tokensReady, this,
            [this, runs](quint64 id, const QList<TokenChunk>& chunks) {
                if (runs(id)) emit tokensReady(id, chunks);
            });
}

void EngineController::finishLoad(quint64 id, const Error& error, bool previousModelKept) {
    abandonIf(m_load, id);
    if (!previousModelKept) m_model.reset();
    emit loadFailed(id, error);
    announceState();
}

void EngineController::abandon(std::optional<Running>& running) {
    if (!running) return;
    running->stop.request_stop();
    running.reset();
}

void EngineController::abandonAll() {
    m_measurement.request_stop();
    abandon(m_generation);
    abandon(m_load);
}

void EngineController::abandonIf(std::optional<Running>& running, quint64 id) {
    if (running && running->id == id) running.reset();
}

void EngineController::announceState() {
    const State now = state();
    if (std::exchange(m_announced, now) != now) emit stateChanged(now);
}

}  // namespace qllama
