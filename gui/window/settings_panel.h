// The three panels of settings in one scrolling column.
#pragma once

#include <QScrollArea>

#include "gui/window/load_panel.h"
#include "gui/window/run_panel.h"
#include "gui/window/sampler_panel.h"

class QVBoxLayout;

namespace qllama {

class SettingsPanel : public QScrollArea {
    Q_OBJECT

public:
    explicit SettingsPanel(QWidget* parent = nullptr);

    [[nodiscard]] SamplerPanel* sampler() const { return m_sampler; }
    [[nodiscard]] RunPanel* run() const { return m_run; }
    [[nodiscard]] LoadPanel* load() const { return m_load; }

    // What a run is asked for: everything but prompt and id.
    [[nodiscard]] GenerationRequest generationSettings() const;
    void setGenerationSettings(const GenerationRequest& request);

protected:
    [[nodiscard]] QSize sizeHint() const override;

private:
    void addSection(QVBoxLayout* column, const QString& title, QWidget* panel);

    SamplerPanel* m_sampler;
    RunPanel* m_run;
    LoadPanel* m_load;
};

}  // namespace qllama
