// One sampler parameter: its name, a box for the number and, where the range is short enough for
// one, a slider.
#pragma once

#include <QWidget>

#include "engine/sampling/sampler.h"

class QDoubleSpinBox;
class QSlider;

namespace qllama {

class ParameterRow : public QWidget {
    Q_OBJECT

public:
    // `parameter` must outlive the row (the engine's table does).
    explicit ParameterRow(const SamplerParameter& parameter, QWidget* parent = nullptr);

    [[nodiscard]] const SamplerParameter& parameter() const { return m_parameter; }
    [[nodiscard]] double value() const;
    void setValue(double value);  // brought into the parameter's range

signals:
    void valueChanged(double value);

private:
    void setupBox();
    void setupSlider();

    const SamplerParameter& m_parameter;
    QDoubleSpinBox* m_box;
    QSlider* m_slider = nullptr;
};

}  // namespace qllama
