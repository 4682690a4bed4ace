#include "gui/window/speed_plot.h"

#include <qcustomplot.h>

#include <QEvent>
#include <QVBoxLayout>
#include <algorithm>

#include "gui/window/theme.h"

namespace qllama {

struct SpeedPlot::Parts {
    QCustomPlot* plot;
    QCPGraph* tokens;
    QCPGraph* median;
    QCPGraph* percentile95;
};

SpeedPlot::SpeedPlot(QWidget* parent) : QWidget(parent), m_parts(std::make_unique<Parts>()) {
    auto* plot = new QCustomPlot(this);
    *m_parts = {plot, plot->addGraph(), plot->addGraph(), plot->addGraph()};
    m_parts->tokens->setLineStyle(QCPGraph::lsNone);
    m_parts->tokens->setAdaptiveSampling(true);
    plot->setNotAntialiasedElements(QCP::aeAll);  // a third of the time, and dots need none
    plot->setPlottingHints(QCP::phFastPolylines | QCP::phCacheLabels);
    plot->setFocusPolicy(Qt::NoFocus);
    plot->yAxis->setLabel(tr("ms"));
    plot->yAxis->setNumberPrecision(3);
    plot->yAxis->ticker()->setTickCount(4);
    plot->setMinimumSize(minimumSizeHint());
    plot->axisRect()->setAutoMargins(QCP::msAll);
    plot->axisRect()->setMinimumMargins(QMargins(4, 4, 4, 4));
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->addWidget(plot);
    setAccessibleName(tr("Plot of the time of each token"));
    setToolTip(
        tr("One point a token: its time in ms, by its number. Solid line: the median; dashed "
           "line: 95 % of the tokens took less."));
    takePalette();
}

SpeedPlot::~SpeedPlot() = default;

void SpeedPlot::showTimes(const std::vector<double>& tokenMs, double medianMs,
                          double percentile95Ms) {
    const std::size_t first =
        tokenMs.size() > kMostPoints ? tokenMs.size() - static_cast<std::size_t>(kMostPoints) : 0;
    QVector<double> x;
    QVector<double> y;
    // Far-off points stay visible, at the upper edge.
    const double top = std::max(1.3 * percentile95Ms, 2 * medianMs);
    for (std::size_t token = first; token < tokenMs.size(); ++token) {
        x.append(static_cast<double>(token) + 2);  // the first token is not among them
        y.append(std::min(tokenMs[token], top));
    }
    const double left = x.isEmpty() ? 1 : x.first();
    const double right = std::max(x.isEmpty() ? 0 : x.last(), left + 20);
    m_parts->tokens->setData(x, y, true);
    const bool known = !x.isEmpty();
    m_parts->median->setData(known ? QVector<double>{left, right} : QVector<double>{},
                             known ? QVector<double>{medianMs, medianMs} : QVector<double>{}, true);
    m_parts->percentile95->setData(
        known ? QVector<double>{left, right} : QVector<double>{},
        known ? QVector<double>{percentile95Ms, percentile95Ms} : QVector<double>{}, true);
    for (QCPAxis* axis : {m_parts->plot->xAxis, m_parts->plot->yAxis})
        axis->setTickLabels(known);
    m_parts->plot->xAxis->setRange(left, right);
    m_parts->plot->yAxis->setRange(0, known ? 1.05 * top : 1);
    m_parts->plot->replot(QCustomPlot::rpQueuedRefresh);
}

int SpeedPlot::pointCount() const {
    return m_parts->tokens->dataCount();
}

void SpeedPlot::changeEvent(QEvent* event) {
    QWidget::changeEvent(event);
    if (event->type() != QEvent::PaletteChange && event->type() != QEvent::FontChange) return;
    takePalette();
    m_parts->plot->replot(QCustomPlot::rpQueuedRefresh);
}

void SpeedPlot::takePalette() {
    const QColor text = dimmedTextColor(palette());
    const QColor grid = isDark(palette()) ? QColor(255, 255, 255, 28) : QColor(0, 0, 0, 28);
    QFont small = font();
    small.setPointSizeF(small.pointSizeF() * 0.85);
    m_parts->plot->setBackground(palette().brush(QPalette::Base));
    for (QCPAxis* axis : {m_parts->plot->xAxis, m_parts->plot->yAxis}) {
        axis->setBasePen(QPen(text));
        axis->setTickPen(QPen(text));
        axis->setSubTicks(false);
        axis->setTickLabelColor(text);
        axis->setLabelColor(text);
        axis->setTickLabelFont(small);
        axis->setLabelFont(small);
        axis->setLabelPadding(1);
        axis->grid()->setPen(QPen(grid));
        axis->grid()->setZeroLinePen(Qt::NoPen);
    }
    const QColor accent = palette().color(QPalette::Highlight);
    m_parts->tokens->setPen(QPen(accent));
    m_parts->tokens->setScatterStyle(
        QCPScatterStyle(QCPScatterStyle::ssSquare, accent, accent, 2.5));
    m_parts->median->setPen(QPen(palette().color(QPalette::Text), 1));
    m_parts->percentile95->setPen(QPen(text, 1, Qt::DashLine));
}

}  // namespace qllama
