#include "gui/window/activity_bar.h"

#include <QHBoxLayout>
#include <QProgressBar>
#include <QToolButton>

#include "gui/window/elided_label.h"

namespace qllama {
namespace {

constexpr int kRevealDelayMs = 150;  // shorter work would only flash
constexpr int kSteps = 1000;

}  // namespace

ActivityBar::ActivityBar(QWidget* parent)
    : QWidget(parent),
      m_label(new ElidedLabel(this)),
      m_bar(new QProgressBar(this)),
      m_details(new QToolButton(this)) {
    setObjectName(QStringLiteral("activityBar"));
    m_bar->setTextVisible(false);
    m_bar->setMaximumHeight(8);
    m_bar->setMinimumWidth(60);
    m_bar->setAccessibleName(tr("Progress"));
    m_details->setObjectName(QStringLiteral("activityDetails"));
    m_details->setAutoRaise(true);
    auto* layout = new QHBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->addWidget(m_label);
    layout->addWidget(m_bar, 1, Qt::AlignVCenter);
    layout->addWidget(m_details);
    setMinimumHeight(m_details->sizeHint().height());
    m_delay.setSingleShot(true);
    m_delay.setInterval(kRevealDelayMs);
    connect(&m_delay, &QTimer::timeout, this, [this] { reveal(true); });
    connect(m_details, &QToolButton::clicked, this, &ActivityBar::detailsRequested);
    reveal(false);
}

void ActivityBar::showActivity(const QString& text, double fraction) {
    const bool starting = m_currentText.isEmpty();
    m_currentText = text;
    m_label->setText(text);
    m_bar->setRange(0, fraction < 0 ? 0 : kSteps);
    if (fraction >= 0) m_bar->setValue(static_cast<int>(fraction * kSteps));
    if (starting) m_delay.start();
}

void ActivityBar::offerDetails(const QString& text, const QString& toolTip) {
    m_details->setText(text);
    m_details->setToolTip(toolTip);
    m_details->setVisible(!m_bar->isHidden());
}

void ActivityBar::finish() {
    m_delay.stop();
    m_currentText.clear();
    m_details->setText({});
    // A hidden bar of unknown length would go on animating.
    m_bar->setRange(0, kSteps);
    m_bar->reset();
    reveal(false);
}

QString ActivityBar::text() const {
    return m_currentText;
}

void ActivityBar::reveal(bool visible) {
    m_label->setVisible(visible);
    m_bar->setVisible(visible);
    m_details->setVisible(visible && !m_details->text().isEmpty());
}

}  // namespace qllama
