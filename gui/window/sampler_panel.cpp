#include "gui/window/sampler_panel.h"

#include <QPushButton>
#include <QVBoxLayout>
#include <algorithm>

#include "gui/window/parameter_row.h"

namespace qllama {
namespace {

// What is changed most often comes first; the others follow in the order in which they act.
constexpr std::string_view kFirst[] = {"temperature", "top-k", "top-p", "min-p"};

std::vector<const SamplerParameter*> orderedForPeople() {
    std::vector<const SamplerParameter*> ordered;
    for (const std::string_view key : kFirst)
        if (const SamplerParameter* parameter = findSamplerParameter(key))
            ordered.push_back(parameter);
    for (const SamplerParameter& parameter : samplerParameters())
        if (std::find(ordered.begin(), ordered.end(), &parameter) == ordered.end())
            ordered.push_back(&parameter);
    return ordered;
}

}  // namespace

SamplerPanel::SamplerPanel(QWidget* parent)
    : QWidget(parent), m_reset(new QPushButton(tr("Reset to Defaults"), this)) {
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setSpacing(4);
    for (const SamplerParameter* parameter : orderedForPeople()) {
        auto* row = new ParameterRow(*parameter, this);
        connect(row, &ParameterRow::valueChanged, this, &SamplerPanel::settingsChanged);
        layout->addWidget(row);
        m_rows.push_back(row);
    }
    m_reset->setObjectName(QStringLiteral("samplerReset"));
    m_reset->setFocusPolicy(Qt::TabFocus);
    m_reset->setToolTip(tr("Gives every sampling setting its default value"));
    layout->addSpacing(2);
    layout->addWidget(m_reset);
    connect(m_reset, &QPushButton::clicked, this, &SamplerPanel::resetToDefaults);
    connect(this, &SamplerPanel::settingsChanged, this, &SamplerPanel::updateReset);
    updateReset();
}

SamplerSettings SamplerPanel::settings() const {
    SamplerSettings settings;
    for (const ParameterRow* row : m_rows)
        settings.set(row->parameter().key, row->value());
    return settings;
}

void SamplerPanel::setSettings(const SamplerSettings& settings) {
    for (ParameterRow* row : m_rows)
        row->setValue(settings.value(row->parameter().key));
}

void SamplerPanel::resetToDefaults() {
    setSettings(SamplerSettings());
}

void SamplerPanel::updateReset() {
    bool changed = false;
    for (const ParameterRow* row : m_rows)
        changed = changed || row->value() != row->parameter().defaultValue;
    // Not with its number selected, as Tab would have it: the next key would replace it.
    if (!changed && m_reset->hasFocus()) m_rows.front()->setFocus(Qt::OtherFocusReason);
    m_reset->setEnabled(changed);
}

}  // namespace qllama
