// Qt's Fusion style, whose fields and boxes to check can also be seen on a dark background: there it
// outlines them in black. And a text that has the keyboard is framed, as fields are.
#pragma once

#include <QProxyStyle>

namespace qllama {

class OutlinedStyle : public QProxyStyle {
    Q_OBJECT

public:
    OutlinedStyle() : QProxyStyle(QStringLiteral("fusion")) {}

    void drawPrimitive(PrimitiveElement element, const QStyleOption* option, QPainter* painter,
                       const QWidget* widget = nullptr) const override;
    void drawComplexControl(ComplexControl control, const QStyleOptionComplex* option,
                            QPainter* painter, const QWidget* widget = nullptr) const override;
    // Icons beside some of a dialog's buttons only, in black, help nobody.
    int styleHint(StyleHint hint, const QStyleOption* option = nullptr,
                  const QWidget* widget = nullptr,
                  QStyleHintReturn* returnData = nullptr) const override;
};

}  // namespace qllama
