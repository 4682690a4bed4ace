#include "gui/window/status_strip.h"

#include <QEvent>
#include <QHBoxLayout>
#include <QLabel>
#include <QLocale>
#include <initializer_list>

#include "gui/window/elided_label.h"
#include "gui/window/placement_text.h"
#include "gui/window/text.h"

namespace qllama {
namespace {

constexpr int kFewestModelCharacters = 24;  // shorter names are never elided

QString number(double value, int decimals) {
    return QLocale().toString(value, 'f', decimals);
}

QString reasonText(StopReason reason) {
    switch (reason) {
        case StopReason::EndOfText:
            return StatusStrip::tr("End of text");
        case StopReason::Length:
            return StatusStrip::tr("Token limit reached");
        case StopReason::StopString:
            return StatusStrip::tr("Stop string");
        case StopReason::Cancelled:
            return StatusStrip::tr("Stopped");
        case StopReason::ContextFull:
            return StatusStrip::tr("Context full");
    }
    return {};
}

}  // namespace

QString msPerTokenText(double ms) {
    return StatusStrip::tr("%1 ms/token").arg(number(ms, ms < 100 ? 2 : 0));
}

QString tokensPerSecondText(double tokensPerSecond) {
    return StatusStrip::tr("%1 tokens/s")
        .arg(number(tokensPerSecond, tokensPerSecond < 100 ? 1 : 0));
}

QString runSummary(const GenerationResult& result) {
    const GenerationStatistics& statistics = result.statistics;
    QStringList parts{reasonText(result.reason)};
    parts += StatusStrip::tr("%n token(s)", nullptr, static_cast<int>(statistics.tokenCount));
    if (statistics.msPerToken > 0) {
        parts += msPerTokenText(statistics.msPerToken);
        parts += tokensPerSecondText(statistics.tokensPerSecond);
    }
    parts += StatusStrip::tr("seed %1").arg(QString::number(statistics.seed));
    return parts.join(QStringLiteral(" · "));
}

StatusStrip::StatusStrip(QWidget* parent)
    : QWidget(parent), m_model(new ElidedLabel(this)), m_device(new ElidedLabel(this)) {
    setObjectName(QStringLiteral("statusStrip"));
    auto* layout = new QHBoxLayout(this);
    layout->setContentsMargins(6, 0, 6, 0);
    layout->setSpacing(18);
    layout->addWidget(m_model);
    layout->addWidget(m_device);
    layout->addStretch(1);
    m_model->setObjectName(QStringLiteral("statusModel"));
    m_model->setFewestCharacters(kFewestModelCharacters);
    m_device->setObjectName(QStringLiteral("statusDevice"));
    m_tokens = addNumber("statusTokens", tr("Tokens generated in the last run"));
    m_msPerToken = addNumber("statusMsPerToken", tr("Mean time of a token, without the first"));
    m_tokensPerSecond = addNumber("statusTokensPerSecond", tr("Tokens a second"));
    m_context = addNumber("statusContext", tr("Tokens in the model's context, of how many"));
    showNoModel();
}

QLabel* StatusStrip::addNumber(const char* name, const QString& toolTip) {
    auto* label = new QLabel(this);
    label->setObjectName(QLatin1String(name));
    label->setToolTip(toolTip);
    label->setTextFormat(Qt::PlainText);
    label->setAlignment(Qt::AlignRight | Qt::AlignVCenter);
    static_cast<QHBoxLayout*>(layout())->addWidget(label);
    return label;
}

// As wide as the widest number since it was empty: one that asked for its width anew would have the
// whole window laid out at each change, with its docks and tool bars, and its neighbours jump.
void StatusStrip::setNumber(QLabel* label, const QString& text) {
    const QFontMetrics metrics = label->fontMetrics();
    const int width = metrics.horizontalAdvance(text);
    if (text.isEmpty() || width > label->minimumWidth() ||
        metrics.height() != label->minimumHeight())
        label->setFixedSize(width, metrics.height());
    if (label->text() != text) label->setText(text);
    fit();
}

// The device is in the tool bar, and the time of a token follows from their number a second.
void StatusStrip::fit() {
    if (!m_context) return;  // not all are there yet
    const auto needed = [this](std::initializer_list<const QWidget*> parts) {
        const QMargins margins = layout()->contentsMargins();
        int width = margins.left() + margins.right();
        for (const QWidget* part : parts)
            width +=
                qMax(part->minimumSizeHint().width(), part->minimumWidth()) + layout()->spacing();
        return width;
    };
    const int withTime = needed({m_model, m_tokens, m_tokensPerSecond, m_context, m_msPerToken});
    const int withAll = withTime + needed({m_device}) - needed({});
    m_device->setVisible(withAll <= width());
    m_msPerToken->setVisible(withTime <= width());
}

void StatusStrip::resizeEvent(QResizeEvent* event) {
    QWidget::resizeEvent(event);
    fit();
}

void StatusStrip::changeEvent(QEvent* event) {
    QWidget::changeEvent(event);
    if (event->type() != QEvent::FontChange) return;
    for (QLabel* label : {m_tokens, m_msPerToken, m_tokensPerSecond, m_context})
        if (label) setNumber(label, label->text());
}

void StatusStrip::showModel(const ModelInfo& model) {
    const QString name = toQString(model.name);
    m_model->setText(tr("%1 (%2)").arg(name, toQString(model.precision)));
    m_model->setToolTip(tr("%1\n%2 parameters, weights %3, keys and values at full context %4")
                            .arg(toQString(model.path),
                                 QLocale().toString(qint64(model.parameterCount)),
                                 QLocale().formattedDataSize(model.weightBytes),
                                 QLocale().formattedDataSize(model.kvCacheBytes)));
    const QString device = model.placement.stages.empty() ? toQString(model.device.name)
                                                          : placementSummary(model.placement);
    QString places = tr("Device in use: %1").arg(device) + u'\n' +
                     tr("%n thread(s)", nullptr, model.threadCount);
    if (!model.placement.stages.empty()) places += u'\n' + placementDetails(model.placement);
    const auto count = static_cast<int>(model.placement.stages.size());
    setDevice(device, count > 1 ? tr("%n device(s)", nullptr, count) : QString(), places);
    GenerationStatistics none;
    none.contextLength = model.contextLength;
    showStatistics(none);
}

void StatusStrip::showNoModel() {
    m_model->setText(tr("No model"));
    m_model->setToolTip({});
    setDevice({}, {}, {});
    for (QLabel* label : {m_tokens, m_msPerToken, m_tokensPerSecond, m_context})
        setNumber(label, {});
}

void StatusStrip::setDevice(const QString& text, const QString& shortText, const QString& toolTip) {
    m_deviceText = text;
    m_deviceShortText = shortText;
    m_deviceTip = toolTip;
    endPlan();
}

void StatusStrip::showPlan(const PlacementPlan& plan) {
    m_device->setText(tr("Going to %1").arg(planSummary(plan)));
    const auto count = static_cast<int>(plan.stages.size());
    m_device->setShortText(count > 1 ? tr("Going to %n device(s)", nullptr, count) : QString());
    m_device->setToolTip(tr("What the model will need:") + u'\n' + placementDetails(plan));
}

void StatusStrip::endPlan() {
    m_device->setText(m_deviceText);
    m_device->setShortText(m_deviceShortText);
    m_device->setToolTip(m_deviceTip);
}

void StatusStrip::showStatistics(const GenerationStatistics& statistics) {
    const bool timed = statistics.msPerToken > 0;
    setNumber(m_tokens, statistics.tokenCount > 0
                            ? tr("%n token(s)", nullptr, static_cast<int>(statistics.tokenCount))
                            : QString());
    setNumber(m_msPerToken, timed ? msPerTokenText(statistics.msPerToken) : QString());
    setNumber(m_tokensPerSecond,
              timed ? tokensPerSecondText(statistics.tokensPerSecond) : QString());
    setNumber(m_context, tr("Context %1 / %2")
                             .arg(QLocale().toString(qint64(statistics.contextUsed)),
                                  QLocale().toString(qint64(statistics.contextLength))));
}

}  // namespace qllama
