#include "gui/window/color_legend.h"

#include <QPainter>

#include "gui/window/theme.h"

namespace qllama {
namespace {

constexpr int kScaleWidth = 72;
constexpr int kScaleHeight = 6;
constexpr int kGap = 6;

}  // namespace

ColorLegend::ColorLegend(QWidget* parent) : QWidget(parent) {
    setSizePolicy(QSizePolicy::Fixed, QSizePolicy::Preferred);
    setToolTip(tr("How probable the model found each token; point at one to see the figures"));
    setAccessibleName(tr("Colours from 0 % to 100 % probability"));
}

QSize ColorLegend::sizeHint() const {
    const int text =
        fontMetrics().horizontalAdvance(tr("0 %")) + fontMetrics().horizontalAdvance(tr("100 %"));
    return {text + 4 * kGap + kScaleWidth, fontMetrics().height()};
}

void ColorLegend::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    painter.setPen(palette().color(QPalette::WindowText));
    const int left = kGap + fontMetrics().horizontalAdvance(tr("0 %")) + kGap;
    const QRect scale(left, (height() - kScaleHeight) / 2, kScaleWidth, kScaleHeight);
    painter.drawText(rect().adjusted(kGap, 0, 0, 0), Qt::AlignLeft | Qt::AlignVCenter, tr("0 %"));
    painter.drawText(rect().adjusted(0, 0, -kGap, 0), Qt::AlignRight | Qt::AlignVCenter,
                     tr("100 %"));
    for (int x = 0; x < kScaleWidth; ++x)
        painter.fillRect(scale.x() + x, scale.y(), 1, kScaleHeight,
                         tokenColor(static_cast<double>(x) / (kScaleWidth - 1), palette()));
}

}  // namespace qllama
