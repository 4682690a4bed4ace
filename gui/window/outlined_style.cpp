#include "gui/window/outlined_style.h"

#include <QPainter>
#include <QStyleOption>

#include "gui/window/theme.h"

namespace qllama {

void OutlinedStyle::drawPrimitive(PrimitiveElement element, const QStyleOption* option,
                                  QPainter* painter, const QWidget* widget) const {
    QProxyStyle::drawPrimitive(element, option, painter, widget);
    // Boxes in lists are drawn as check boxes too.
    if (element != PE_IndicatorCheckBox || !isDark(option->palette)) return;
    if (option->state & State_HasFocus) return;  // already in the accent colour
    painter->save();
    painter->setBrush(Qt::NoBrush);
    painter->setPen(option->state & State_Enabled ? dimmedTextColor(option->palette)
                                                  : option->palette.color(QPalette::Mid));
    painter->drawRect(option->rect.adjusted(0, 0, -1, -1));
    painter->restore();
}

}  // namespace qllama
