#include "gui/window/parameter_row.h"

#include <QCoreApplication>
#include <QDoubleSpinBox>
#include <QGridLayout>
#include <QLabel>
#include <QSignalBlocker>
#include <QSlider>
#include <cmath>

#include "gui/window/calm_boxes.h"

namespace qllama {
namespace {

constexpr double kMaximumSliderSteps = 1000;  // more than a slider has pixels: a box alone then

QString translated(std::string_view text) {
    return QCoreApplication::translate("SamplerParameter", std::string(text).c_str());
}

}  // namespace

ParameterRow::ParameterRow(const SamplerParameter& parameter, QWidget* parent)
    : QWidget(parent), m_parameter(parameter), m_box(new CalmDoubleSpinBox(this)) {
    const QString label = translated(parameter.label);
    const QString help = translated(parameter.help);
    auto* title = new QLabel(label, this);
    title->setBuddy(m_box);
    setToolTip(QStringLiteral("<p>%1</p>").arg(help.toHtmlEscaped()));
    setupBox();
    setFocusProxy(m_box);
    m_box->setAccessibleName(label);
    m_box->setAccessibleDescription(help);
    auto* layout = new QGridLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setVerticalSpacing(1);
    layout->addWidget(title, 0, 0);
    layout->addWidget(m_box, 0, 1);
    layout->setColumnStretch(0, 1);
    if ((parameter.maximum - parameter.minimum) / parameter.step > kMaximumSliderSteps) return;
    setupSlider();
    m_slider->setAccessibleName(label);
    m_slider->setAccessibleDescription(help);
    layout->addWidget(m_slider, 1, 0, 1, 2);
}

void ParameterRow::setupBox() {
    m_box->setObjectName(
        QString::fromUtf8(m_parameter.key.data(), static_cast<qsizetype>(m_parameter.key.size())));
    m_box->setDecimals(m_parameter.decimals);
    m_box->setRange(m_parameter.minimum, m_parameter.maximum);
    m_box->setSingleStep(m_parameter.step);
    m_box->setValue(m_parameter.defaultValue);
    m_box->setFixedWidth(m_box->fontMetrics().horizontalAdvance(QStringLiteral("1000000")) + 44);
    connect(m_box, &QDoubleSpinBox::valueChanged, this, &ParameterRow::valueChanged);
}

void ParameterRow::setupSlider() {
    const auto toSlider = [this](double value) {
        return static_cast<int>(std::lround((value - m_parameter.minimum) / m_parameter.step));
    };
    m_slider = new CalmSlider(Qt::Horizontal, this);
    m_slider->setRange(0, toSlider(m_parameter.maximum));
    m_slider->setPageStep(qMax(1, m_slider->maximum() / 10));
    m_slider->setValue(toSlider(m_box->value()));
    connect(m_slider, &QSlider::valueChanged, this,
            [this](int steps) { setValue(m_parameter.minimum + steps * m_parameter.step); });
    // The slider is coarser than the box: it follows without rounding what was typed.
    connect(m_box, &QDoubleSpinBox::valueChanged, this, [this, toSlider](double value) {
        const QSignalBlocker blocker(m_slider);
        m_slider->setValue(toSlider(value));
    });
}

double ParameterRow::value() const {
    return m_box->value();
}

// A value with more decimals than the control usually shows is not rounded.
void ParameterRow::setValue(double value) {
    constexpr int kMostDecimals = 6;
    const auto isRounded = [value](int decimals) {
        return std::abs(QString::number(value, 'f', decimals).toDouble() - value) > 1e-9;
    };
    int decimals = m_parameter.decimals;
    while (decimals > 0 && decimals < kMostDecimals && isRounded(decimals))
        ++decimals;
    m_box->setDecimals(decimals);
    m_box->setValue(value);
}

}  // namespace qllama
