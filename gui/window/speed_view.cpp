#include "gui/window/speed_view.h"

#include <QGridLayout>
#include <QHBoxLayout>
#include <QLocale>
#include <QToolButton>

#include "gui/window/figure_tile.h"
#include "gui/window/process_memory.h"
#include "gui/window/speed_plot.h"
#include "gui/window/symbolic_icon.h"

namespace qllama {
namespace {

constexpr int kRedrawIntervalMs = 200;  // a redraw takes about 1 ms of a core that computes
constexpr double kGiga = 1e9;

QString number(double value, int decimals) {
    return QLocale().toString(value, 'f', decimals);
}

// Three significant digits or so, after rounding too: 8.27, 10.0, 82.7, 827.
QString shortNumber(double value) {
    return number(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}

QString timeText(double ms) {
    if (ms <= 0) return {};
    return ms < 999.5 ? SpeedView::tr("%1 ms").arg(shortNumber(ms))
                      : SpeedView::tr("%1 s").arg(shortNumber(ms / 1000));
}

QString tokenTimesText(double medianMs, double percentile95Ms) {
    return SpeedView::tr("%1 / %2 ms").arg(shortNumber(medianMs), shortNumber(percentile95Ms));
}

QString promptSpeedText(double tokensPerSecond) {
    return SpeedView::tr("%1 tokens/s").arg(shortNumber(tokensPerSecond));
}

QString contextText(std::int64_t used, std::int64_t length) {
    return SpeedView::tr("%1 / %2").arg(QLocale().toString(qint64(used)),
                                        QLocale().toString(qint64(length)));
}

QString bytesText(double gbPerSecond) {
    return SpeedView::tr("%1 GB/s").arg(shortNumber(gbPerSecond));
}

QString percentText(double percent) {
    return SpeedView::tr("%1 %").arg(number(percent, 0));
}

// Devices, their shares and threads: all that the bandwidth depends on.
QString placementKey(const ModelInfo& model) {
    QString key =
        QString::fromStdString(model.device.id) + u' ' + QString::number(model.threadCount);
    for (const StagePlacement& stage : model.placement.stages)
        key += u' ' + QString::fromStdString(stage.device.id) + u':' +
               QString::number(stage.layerCount);
    return key;
}

QString promptCaption(const QString& percent, const QString& time) {
    return SpeedView::tr("Prompt: %1 %, %2 left").arg(percent, time);
}

}  // namespace

SpeedView::SpeedView(EngineController& engine, QWidget* parent)
    : QWidget(parent), m_engine(engine), m_pause(this), m_plot(new SpeedPlot(this)) {
    setObjectName(QStringLiteral("speedView"));
    setupTiles();
    setupLayout();
    m_pause.setSingleShot(true);
    m_pause.setInterval(kRedrawIntervalMs);
    connect(&m_pause, &QTimer::timeout, this, [this] {
        if (m_stale && isWatched()) redraw();
    });
    connectPrompt();
    connectTokens();
}

// Each as wide as its longest likely text, in the user's language, so that nothing moves during a run.
void SpeedView::setupTiles() {
    constexpr int kManyTokens = 88'888;
    m_tokensPerSecond = new FigureTile(tr("Tokens/s now"), tr("Over the last second"),
                                       QStringLiteral("8888.8"), this);
    m_msPerToken = new FigureTile(tr("Median / 95 %"),
                                  tr("Half of the tokens took less than the first time, 95 % less "
                                     "than the second"),
                                  tokenTimesText(88.8, 88.8), this);
    m_firstToken = new FigureTile(tr("First token"),
                                  tr("From the request to the first token, prompt included"),
                                  timeText(88.8), this);
    m_prompt = new FigureTile(tr("Prompt"),
                              tr("How fast the prompt is read, how far that is, and the time left"),
                              promptSpeedText(kManyTokens), this,
                              promptCaption(QStringLiteral("88"), QStringLiteral("88.8 s")));
    m_context = new FigureTile(tr("Context used"), tr("Tokens of prompt and text, of how many"),
                               contextText(kManyTokens, kManyTokens), this);
    m_memory = new FigureTile(tr("Memory"), tr("Resident memory, mapped model files included"),
                              QLocale().formattedDataSize(888 << 20), this);
    m_bytes = new FigureTile(tr("Memory read"),
                             tr("Weights, keys and values read for the tokens, a second"),
                             bytesText(88.8), this);
    m_share = new FigureTile(tr("Of its bandwidth"), tr("The memory is not measured yet"),
                             percentText(888), this);
    m_measure = new QToolButton(this);
    m_measure->setObjectName(QStringLiteral("measureBandwidth"));
    m_measure->setIcon(symbolicIcon(QStringLiteral("measure")));
    m_measure->setAutoRaise(true);
    m_measure->setToolTip(tr("Measure the memory bandwidth again"));
    m_measure->setAccessibleName(tr("Measure memory bandwidth"));
    m_measure->setEnabled(false);  // until there is a model, which says with how many threads
    connect(m_measure, &QToolButton::clicked, this, &SpeedView::measureBandwidth);
}

void SpeedView::setupLayout() {
    auto* share = new QHBoxLayout;
    share->setSpacing(2);
    share->addWidget(m_share);
    share->addWidget(m_measure, 0, Qt::AlignBottom);
    share->addStretch(1);
    auto* grid = new QGridLayout;
    grid->setHorizontalSpacing(18);
    grid->setVerticalSpacing(8);
    grid->addWidget(m_tokensPerSecond, 0, 0);
    grid->addWidget(m_msPerToken, 0, 1);
    grid->addWidget(m_firstToken, 1, 0);
    grid->addWidget(m_prompt, 1, 1);
    grid->addWidget(m_memory, 2, 0);
    grid->addWidget(m_context, 2, 1);
    grid->addWidget(m_bytes, 3, 0);
    grid->addLayout(share, 3, 1);
    grid->setRowStretch(4, 1);
    auto* layout = new QHBoxLayout(this);
    layout->setContentsMargins(8, 4, 8, 4);
    layout->setSpacing(16);
    layout->addLayout(grid);
    layout->addWidget(m_plot, 1);
}

void SpeedView::connectPrompt() {
    connect(&m_engine, &EngineController::modelLoaded, this, &SpeedView::resetRun);
    connect(&m_engine, &EngineController::loadProgress, this, &SpeedView::schedule);
    connect(&m_engine, &EngineController::stateChanged, this, [this] {
        if (m_engine.model())
            schedule();
        else
            resetRun();
        showWhetherMeasurable();
        measureIfUnknown();
    });
    // Not when it was asked for: a prompt that is refused changes nothing in the engine.
    connect(&m_engine, &EngineController::promptStarted, this, [this](quint64, qint64 tokenCount) {
        resetRun();
        m_promptClock.start();
        m_history.promptStarted(tokenCount);
        schedule();
    });
    connect(&m_engine, &EngineController::promptProgress, this,
            [this](quint64, qint64 doneTokens, qint64) {
                m_history.promptProgress(doneTokens,
                                         static_cast<double>(m_promptClock.nsecsElapsed()) / 1e6);
                schedule();
            });
    connect(&m_engine, &EngineController::promptDone, this,
            [this](quint64, const PromptStatistics& statistics) {
                m_history.promptDone(statistics);
                schedule();
            });
    const auto interrupt = [this] {
        m_history.promptInterrupted();
        schedule();
    };
    connect(&m_engine, &EngineController::deviceFailed, this, interrupt);
    connect(&m_engine, &EngineController::modelMoved, this, interrupt);
    connect(&m_engine, &EngineController::generationFailed, this, interrupt);
}

void SpeedView::connectTokens() {
    connect(&m_engine, &EngineController::tokensReady, this,
            [this](quint64, const QList<TokenChunk>& chunks) {
                m_history.addTokens(chunks);
                schedule();
            });
    connect(&m_engine, &EngineController::generationFinished, this,
            [this](quint64, const GenerationResult& result) {
                m_history.finish(result.statistics);
                schedule();
            });
    connect(&m_engine, &EngineController::bandwidthCancelled, this, [this] {
        m_measuring = false;
        showWhetherMeasurable();
        measureIfUnknown();
    });
    connect(&m_engine, &EngineController::bandwidthMeasured, this, [this](double gbPerSecond) {
        m_bandwidthGbPerSecond = gbPerSecond;
        m_measuredFor = m_measuringFor;
        m_measuring = false;
        showWhetherMeasurable();
        m_share->setToolTip(
            gbPerSecond > 0
                ? tr("<p>Share of the bandwidth of the memory that the model lies in, measured "
                     "at %1 GB/s. More than 100 %: caches hold part of the model.</p>")
                      .arg(number(gbPerSecond, 1))
                : tr("The memory bandwidth could not be measured"));
        schedule();
    });
}

void SpeedView::resetRun() {
    SpeedFacts facts;
    if (const auto& model = m_engine.model()) {
        facts.weightBytesPerToken = model->bytesPerToken;
        facts.contextLength = model->contextLength;
        if (model->contextLength > 0)
            facts.contextBytesPerToken = static_cast<double>(model->kvCacheBytes) /
                                         static_cast<double>(model->contextLength);
    }
    m_history.reset(facts);
    schedule();
}

void SpeedView::measureBandwidth() {
    const auto& model = m_engine.model();
    if (!model) return;
    m_measuring = true;
    m_measuringFor = placementKey(*model);
    showWhetherMeasurable();
    m_engine.measureBandwidth();
}

void SpeedView::showWhetherMeasurable() {
    m_measure->setEnabled(m_engine.model() && !m_measuring);
}

// Only when somebody looks and nothing runs: it takes a moment of all of a device.
void SpeedView::measureIfUnknown() {
    const auto& model = m_engine.model();
    if (!isVisible() || !model || m_measuring || m_measuredFor == placementKey(*model)) return;
    if (m_engine.state() == EngineController::State::Ready) measureBandwidth();
}

void SpeedView::showEvent(QShowEvent* event) {
    QWidget::showEvent(event);
    measureIfUnknown();
    redraw();
}

void SpeedView::schedule() {
    if (!isWatched()) return;  // showEvent() catches up
    m_stale = true;
    if (!m_pause.isActive()) redraw();
}

bool SpeedView::isWatched() const {
    return isVisible() && !window()->isMinimized();
}

void SpeedView::redraw() {
    m_stale = false;
    m_pause.start();
    ++m_redraws;
    const SpeedFigures figures = m_history.figures();
    const bool known = figures.medianMs > 0;
    m_plot->showTimes(m_history.tokenMs(), figures.medianMs, figures.percentile95Ms);
    m_tokensPerSecond->setValue(known ? shortNumber(figures.tokensPerSecond) : QString());
    m_msPerToken->setValue(known ? tokenTimesText(figures.medianMs, figures.percentile95Ms)
                                 : QString());
    m_firstToken->setValue(timeText(figures.firstTokenMs));
    m_context->setValue(figures.contextLength > 0
                            ? contextText(figures.contextUsed, figures.contextLength)
                            : QString());
    const auto memory = residentBytes();
    m_memory->setValue(memory ? QLocale().formattedDataSize(*memory) : QString());
    showPrompt(figures);
    showBytes(figures);
}

void SpeedView::showPrompt(const SpeedFigures& figures) {
    QString caption = tr("Prompt");
    if (figures.promptSecondsLeft > 0) {
        const double percent = 100.0 * static_cast<double>(figures.promptDone) /
                               static_cast<double>(figures.promptTokens);
        caption = promptCaption(number(percent, 0), timeText(figures.promptSecondsLeft * 1000));
    }
    m_prompt->setCaption(caption);
    m_prompt->setValue(figures.promptTokensPerSecond > 0
                           ? promptSpeedText(figures.promptTokensPerSecond)
                           : QString());
}

void SpeedView::showBytes(const SpeedFigures& figures) {
    const double gbPerSecond = figures.bytesPerSecond / kGiga;
    m_bytes->setValue(gbPerSecond > 0 ? bytesText(gbPerSecond) : QString());
    const auto& model = m_engine.model();
    const bool comparable =
        model && m_measuredFor == placementKey(*model) && m_bandwidthGbPerSecond > 0;
    m_share->setCaption(comparable ? tr("Of %1 GB/s").arg(number(m_bandwidthGbPerSecond, 1))
                                   : tr("Of its bandwidth"));
    m_share->setValue(comparable && gbPerSecond > 0
                          ? percentText(100 * gbPerSecond / m_bandwidthGbPerSecond)
                          : QString());
}

}  // namespace qllama
