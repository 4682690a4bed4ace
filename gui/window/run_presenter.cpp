#include "gui/window/run_presenter.h"

#include <QLocale>
#include <algorithm>
#include <utility>

#include "gui/window/activity_bar.h"
#include "gui/window/message_bar.h"
#include "gui/window/output_view.h"
#include "gui/window/run_panel.h"
#include "gui/window/status_strip.h"
#include "gui/window/text.h"

namespace qllama {
namespace {

// Numbers that change more often cannot be read, but are drawn each time.
constexpr int kNumbersIntervalMs = 200;

}  // namespace

RunPresenter::RunPresenter(const Parts& parts, QObject* parent) : QObject(parent), m_parts(parts) {
    connectPrompt();
    connectTokens();
    connect(&m_parts.engine, &EngineController::modelLoaded, this,
            [this](quint64, const ModelInfo& info) { m_parts.status.showModel(info); });
    connect(&m_parts.engine, &EngineController::planMade, this,
            [this](quint64, const PlacementPlan& plan) { m_parts.status.showPlan(plan); });
    connect(&m_parts.engine, &EngineController::loadFailed, &m_parts.status, &StatusStrip::endPlan);
    connect(&m_parts.engine, &EngineController::stateChanged, this, [this] {
        if (!m_parts.engine.model()) m_parts.status.showNoModel();
    });
}

void RunPresenter::start(const GenerationRequest& request) {
    m_prompt = request.prompt;
    m_shown = false;
    m_recomputes = false;
    m_sinceNumbers.invalidate();
    m_parts.activity.showActivity(tr("Reading the prompt"), -1);
    m_id = m_parts.engine.generate(request);
    m_meter.reset(m_parts.engine.model() ? m_parts.engine.model()->contextLength : 0);
}

void RunPresenter::connectPrompt() {
    EngineController& engine = m_parts.engine;
    connect(&engine, &EngineController::promptStarted, this,
            [this](quint64, qint64 tokenCount, quint64 seed) {
                m_meter.promptStarted(tokenCount, seed);
                m_parts.panel.showUsedSeed(seed);
                m_parts.output.beginRun(m_prompt);
                m_shown = true;
                m_parts.status.showStatistics(m_meter.statistics());
            });
    connect(&engine, &EngineController::promptProgress, this,
            [this](quint64, qint64 done, qint64 total) {
                m_meter.promptProgress(done);
                m_parts.status.showStatistics(m_meter.statistics());
                m_parts.activity.showActivity(
                    tr("Reading the prompt: %1 of %2 tokens")
                        .arg(QLocale().toString(done), QLocale().toString(total)),
                    total > 0 ? static_cast<double>(done) / static_cast<double>(total) : -1);
            });
    connect(&engine, &EngineController::promptDone, this, [this] { m_parts.activity.finish(); });
    connect(&engine, &EngineController::recomputeProgress, this,
            [this](quint64, qint64 done, qint64 total) {
                m_recomputes = true;
                m_parts.activity.showActivity(
                    tr("Computing the text again: %1 of %2 tokens")
                        .arg(QLocale().toString(done), QLocale().toString(total)),
                    total > 0 ? static_cast<double>(done) / static_cast<double>(total) : -1);
            });
}

void RunPresenter::connectTokens() {
    EngineController& engine = m_parts.engine;
    connect(&engine, &EngineController::tokensReady, this,
            [this](quint64, const QList<TokenChunk>& chunks) {
                if (std::exchange(m_recomputes, false)) m_parts.activity.finish();
                m_meter.addTokens(chunks);
                m_parts.output.appendTokens(chunks);
                if (m_sinceNumbers.isValid() && m_sinceNumbers.elapsed() < kNumbersIntervalMs)
                    return;
                m_parts.status.showStatistics(m_meter.statistics());
                m_sinceNumbers.start();
            });
    connect(&engine, &EngineController::generationFinished, this,
            [this](quint64 id, const GenerationResult& result) {
                if (id != m_id) return;
                m_meter.finish(result.statistics);
                finish(runSummary(result));
            });
    connect(&engine, &EngineController::generationFailed, this,
            [this](quint64 id, const Error& error) {
                if (id != m_id) return;
                finish(tr("Failed"));
                m_parts.messages.showMessage({.kind = Message::Kind::Error,
                                              .text = toQString(error.message),
                                              .details = toQString(error.where),
                                              .actionText = {},
                                              .action = {}});
                if (error.code == ErrorCode::Device ||
                    (error.code == ErrorCode::OutOfMemory && isOnDevices()))
                    emit deviceFailed(error);
            });
    connect(&engine, &EngineController::modelMoved, this, [this](quint64, const ModelInfo& info) {
        m_parts.status.showModel(info);
        m_parts.status.showStatistics(m_meter.statistics());  // the run goes on
    });
}

// Other ones than the processor, whose memory another choice would not need.
bool RunPresenter::isOnDevices() const {
    const auto& model = m_parts.engine.model();
    return model &&
           std::any_of(model->placement.stages.begin(), model->placement.stages.end(),
                       [](const StagePlacement& stage) { return stage.device.id != "cpu"; });
}

// A run that a new load stopped ends while the activity bar is already about the load.
void RunPresenter::finish(const QString& note) {
    if (m_parts.engine.state() != EngineController::State::Loading) m_parts.activity.finish();
    if (!m_shown) return;
    m_shown = false;
    m_parts.output.endRun(note);
    m_parts.status.showStatistics(m_meter.statistics());
}

}  // namespace qllama
