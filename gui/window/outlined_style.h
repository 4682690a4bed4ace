// Qt's Fusion style, whose boxes to check can also be seen on a dark background: there it outlines
// them in black.
#pragma once

#include <QProxyStyle>

namespace qllama {

class OutlinedStyle : public QProxyStyle {
    Q_OBJECT

public:
    OutlinedStyle() : QProxyStyle(QStringLiteral("fusion")) {}

    void drawPrimitive(PrimitiveElement element, const QStyleOption* option, QPainter* painter,
                       const QWidget* widget = nullptr) const override;
};

}  // namespace qllama
