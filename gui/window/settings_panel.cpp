#include "gui/window/settings_panel.h"

#include <QLabel>
#include <QScrollBar>
#include <QVBoxLayout>

namespace qllama {

SettingsPanel::SettingsPanel(QWidget* parent)
    : QScrollArea(parent), m_sampler(new SamplerPanel), m_run(new RunPanel), m_load(new LoadPanel) {
    auto* content = new QWidget;
    auto* column = new QVBoxLayout(content);
    column->setContentsMargins(12, 8, 12, 12);
    column->setSpacing(6);
    addSection(column, tr("Sampling"), m_sampler);
    addSection(column, tr("Run"), m_run);
    addSection(column, tr("Model"), m_load);
    column->addStretch(1);
    setWidget(content);
    setWidgetResizable(true);
    setFrameShape(QFrame::NoFrame);
    setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    // The column is never narrower than its content needs, scroll bar included.
    setMinimumWidth(content->minimumSizeHint().width() + verticalScrollBar()->sizeHint().width());
    setFocusPolicy(Qt::NoFocus);
}

void SettingsPanel::addSection(QVBoxLayout* column, const QString& title, QWidget* panel) {
    auto* heading = new QLabel(title);
    QFont bold = heading->font();
    bold.setBold(true);
    heading->setFont(bold);
    if (column->count() > 0) column->addSpacing(12);
    column->addWidget(heading);
    column->addWidget(panel);
}

GenerationRequest SettingsPanel::generationSettings() const {
    GenerationRequest request;
    request.sampler = m_sampler->settings();
    m_run->writeTo(request);
    return request;
}

void SettingsPanel::setGenerationSettings(const GenerationRequest& request) {
    m_sampler->setSettings(request.sampler);
    m_run->readFrom(request);
}

QSize SettingsPanel::sizeHint() const {
    return {minimumWidth(), QScrollArea::sizeHint().height()};
}

}  // namespace qllama
