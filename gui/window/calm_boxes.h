// Number boxes, lists and sliders in a scrolling panel: the wheel turns them only once they have
// the focus, so that scrolling past never changes a setting.
#pragma once

#include <QComboBox>
#include <QDoubleSpinBox>
#include <QSlider>
#include <QSpinBox>
#include <QWheelEvent>

namespace qllama {

template <typename Widget>
class Calm : public Widget {
public:
    template <typename... Arguments>
    explicit Calm(Arguments&&... arguments) : Widget(std::forward<Arguments>(arguments)...) {
        this->setFocusPolicy(Qt::StrongFocus);
    }

protected:
    void wheelEvent(QWheelEvent* event) override {
        if (this->hasFocus())
            Widget::wheelEvent(event);
        else
            event->ignore();  // the panel scrolls
    }
};

using CalmSpinBox = Calm<QSpinBox>;
using CalmDoubleSpinBox = Calm<QDoubleSpinBox>;
using CalmComboBox = Calm<QComboBox>;
using CalmSlider = Calm<QSlider>;

}  // namespace qllama
