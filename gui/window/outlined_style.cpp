#include "gui/window/outlined_style.h"

#include <QPainter>
#include <QStyleOption>

#include "gui/window/theme.h"

namespace qllama {
namespace {

void outline(const QStyleOption* option, QPainter* painter, const QColor& color) {
    painter->save();
    painter->setBrush(Qt::NoBrush);
    painter->setPen(color);
    painter->drawRect(option->rect.adjusted(0, 0, -1, -1));
    painter->restore();
}

QColor edgeColor(const QStyleOption* option) {
    return option->state & QStyle::State_Enabled ? fieldEdgeColor(option->palette)
                                                 : option->palette.color(QPalette::Mid);
}

}  // namespace

void OutlinedStyle::drawPrimitive(PrimitiveElement element, const QStyleOption* option,
                                  QPainter* painter, const QWidget* widget) const {
    QProxyStyle::drawPrimitive(element, option, painter, widget);
    const bool hasFocus = option->state & State_HasFocus;
    if (element == PE_Frame && hasFocus)
        outline(option, painter, option->palette.color(QPalette::Highlight));
    if (!isDark(option->palette) || hasFocus) return;  // fields are then in the accent colour
    if (element == PE_IndicatorCheckBox)               // boxes in lists are drawn as those too
        outline(option, painter,
                option->state & State_Enabled ? dimmedTextColor(option->palette)
                                              : option->palette.color(QPalette::Mid));
    if (element == PE_FrameLineEdit || element == PE_Frame)
        outline(option, painter, edgeColor(option));
}

void OutlinedStyle::drawComplexControl(ComplexControl control, const QStyleOptionComplex* option,
                                       QPainter* painter, const QWidget* widget) const {
    QProxyStyle::drawComplexControl(control, option, painter, widget);
    if (control == CC_SpinBox && isDark(option->palette) && !(option->state & State_HasFocus))
        outline(option, painter, edgeColor(option));
}

int OutlinedStyle::styleHint(StyleHint hint, const QStyleOption* option, const QWidget* widget,
                             QStyleHintReturn* returnData) const {
    if (hint == SH_DialogButtonBox_ButtonsHaveIcons) return 0;
    return QProxyStyle::styleHint(hint, option, widget, returnData);
}

}  // namespace qllama
