// How tokens are chosen: one row for each parameter that the engine's samplers describe.
#pragma once

#include <QWidget>
#include <vector>

#include "engine/sampling/sampler.h"

class QPushButton;

namespace qllama {

class ParameterRow;

class SamplerPanel : public QWidget {
    Q_OBJECT

public:
    explicit SamplerPanel(QWidget* parent = nullptr);

    [[nodiscard]] SamplerSettings settings() const;
    void setSettings(const SamplerSettings& settings);

public slots:
    void resetToDefaults();

signals:
    void settingsChanged();

private:
    void updateReset();

    std::vector<ParameterRow*> m_rows;
    QPushButton* m_reset;
};

}  // namespace qllama
