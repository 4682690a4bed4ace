#include "gui/window/speed_plot.h"

#include <qcustomplot.h>

#include <QEvent>
#include <QLocale>
#include <QVBoxLayout>
#include <algorithm>
#include <span>

#include "gui/window/theme.h"

namespace qllama {
namespace {

constexpr double kFewestTokens = 20;  // fewer are not drawn wider than this many would be
// Where a line is lower than this share of the plot, its name would not fit below it.
constexpr double kLowLine = 0.25;
constexpr int kNarrowestPlot = 140;  // pixels
constexpr int kMostTicks = 10;

// A name to the right of a line, or a sentence in the middle of the plot.
QCPItemText* addText(QCustomPlot* plot, double x, const QString& text) {
    auto* item = new QCPItemText(plot);
    item->setText(text);
    item->setSelectable(false);
    item->setPadding(QMargins(4, 1, 4, 1));
    item->position->setTypeX(QCPItemPosition::ptAxisRectRatio);
    item->position->setCoords(x, 0);
    item->setVisible(false);
    return item;
}

}  // namespace

struct SpeedPlot::Parts {
    QCustomPlot* plot = nullptr;
    QCPGraph* tokens = nullptr;
    QCPGraph* farTokens = nullptr;  // slower than the plot is high, at its upper edge
    QCPGraph* median = nullptr;
    QCPGraph* percentile95 = nullptr;
    QCPItemText* medianName = nullptr;
    QCPItemText* percentile95Name = nullptr;
    QCPItemText* hint = nullptr;

    // `times` from token `first` on; those above `top` are marked at the edge.
    void showTokens(std::span<const double> times, double first, double top) const {
        QVector<double> x, y, farX, farY;
        for (std::size_t token = 0; token < times.size(); ++token) {
            const bool isFar = times[token] > top;
            (isFar ? farX : x).append(first + static_cast<double>(token));
            (isFar ? farY : y).append(isFar ? top : times[token]);
        }
        tokens->setData(x, y, true);
        farTokens->setData(farX, farY, true);
    }

    void showLine(QCPGraph* line, QCPItemText* name, double ms, bool nameBelow) const {
        const QCPRange range = plot->xAxis->range();
        line->setData({range.lower, range.upper}, {ms, ms}, true);
        name->position->setTypeY(QCPItemPosition::ptPlotCoords);
        name->position->setCoords(1, ms);
        name->setPositionAlignment(Qt::AlignLeft | (nameBelow ? Qt::AlignTop : Qt::AlignBottom));
    }

    void setEmpty(bool empty) const {
        for (QCPGraph* line : {median, percentile95})
            if (empty) line->setData({}, {}, true);
        for (QCPItemText* name : {medianName, percentile95Name})
            name->setVisible(!empty);
        hint->setVisible(empty);
        for (QCPAxis* axis : {plot->xAxis, plot->yAxis})
            axis->setTickLabels(!empty);
    }
};

SpeedPlot::SpeedPlot(QWidget* parent) : QWidget(parent), m_parts(std::make_unique<Parts>()) {
    auto* plot = new QCustomPlot(this);
    setupGraphs(plot);
    plot->setNotAntialiasedElements(QCP::aeAll);  // a third of the time, and dots need none
    plot->setPlottingHints(QCP::phFastPolylines | QCP::phCacheLabels);
    plot->setFocusPolicy(Qt::NoFocus);
    plot->yAxis->setLabel(tr("ms"));
    plot->setLocale(QLocale());  // with its group separators: 1,000
    for (QCPAxis* axis : {plot->xAxis, plot->yAxis}) {
        axis->setNumberFormat(QStringLiteral("g"));
        axis->setNumberPrecision(6);  // no powers of ten below a million
    }
    plot->yAxis->ticker()->setTickCount(4);
    plot->setMinimumSize(QSize(0, minimumSizeHint().height()));
    plot->axisRect()->setAutoMargins(QCP::msLeft | QCP::msTop | QCP::msBottom);
    plot->axisRect()->setMinimumMargins(QMargins(4, 4, 4, 4));
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->addWidget(plot);
    setAccessibleName(tr("Plot of the time of each token"));
    setToolTip(
        tr("<p>One point a token: its time in ms, by its number; a triangle at the upper edge took "
           "longer than the plot is high. Solid line: the median; dashed line: 95 % of the tokens "
           "took no longer.</p>"));
    takePalette();
}

SpeedPlot::~SpeedPlot() = default;

void SpeedPlot::setupGraphs(QCustomPlot* plot) {
    *m_parts = {.plot = plot,
                .tokens = plot->addGraph(),
                .farTokens = plot->addGraph(),
                .median = plot->addGraph(),
                .percentile95 = plot->addGraph(),
                .medianName = addText(plot, 1, tr("median")),
                .percentile95Name = addText(plot, 1, tr("95 %")),
                .hint = addText(plot, 0.5, tr("Each token becomes a point here."))};
    for (QCPGraph* points : {m_parts->tokens, m_parts->farTokens}) {
        points->setLineStyle(QCPGraph::lsNone);
        points->setAdaptiveSampling(true);
    }
    for (QCPItemText* name : {m_parts->medianName, m_parts->percentile95Name})
        name->setClipToAxisRect(false);
    m_parts->hint->position->setTypeY(QCPItemPosition::ptAxisRectRatio);
    m_parts->hint->position->setCoords(0.5, 0.5);
}

void SpeedPlot::showTimes(const std::vector<double>& tokenMs, double medianMs,
                          double percentile95Ms) {
    const std::size_t first =
        tokenMs.size() > kMostPoints ? tokenMs.size() - static_cast<std::size_t>(kMostPoints) : 0;
    const double top = std::max(1.3 * percentile95Ms, 2 * medianMs);
    const double left = static_cast<double>(first) + 2;  // the first token is not among them
    const double right = std::max(static_cast<double>(tokenMs.size()) + 1, left + kFewestTokens);
    const bool empty = tokenMs.empty();
    m_parts->plot->xAxis->setRange(left - 0.5, right + 0.5);
    m_parts->plot->yAxis->setRange(0, empty ? 1 : 1.08 * top);
    m_parts->showTokens(std::span(tokenMs).subspan(first), left, top);
    m_parts->setEmpty(empty);
    if (!empty) {
        m_parts->showLine(m_parts->median, m_parts->medianName, medianMs,
                          medianMs > kLowLine * top);
        m_parts->showLine(m_parts->percentile95, m_parts->percentile95Name, percentile95Ms, false);
    }
    m_parts->plot->replot(QCustomPlot::rpQueuedRefresh);
}

int SpeedPlot::pointCount() const {
    return m_parts->tokens->dataCount() + m_parts->farTokens->dataCount();
}

int SpeedPlot::farPointCount() const {
    return m_parts->farTokens->dataCount();
}

QStringList SpeedPlot::timeLabels() const {
    m_parts->plot->replot(QCustomPlot::rpImmediateRefresh);
    return m_parts->plot->yAxis->tickVectorLabels().toList();
}

bool SpeedPlot::namesAreBesideThePoints() const {
    m_parts->plot->replot(QCustomPlot::rpImmediateRefresh);
    const QRect points = m_parts->plot->axisRect()->rect();
    return m_parts->medianName->left->pixelPosition().x() >= points.right() &&
           m_parts->percentile95Name->left->pixelPosition().x() >= points.right();
}

void SpeedPlot::changeEvent(QEvent* event) {
    QWidget::changeEvent(event);
    if (event->type() != QEvent::PaletteChange && event->type() != QEvent::FontChange) return;
    takePalette();
    m_parts->plot->replot(QCustomPlot::rpQueuedRefresh);
}

// Labels keep apart from each other.
void SpeedPlot::resizeEvent(QResizeEvent* event) {
    QWidget::resizeEvent(event);
    const int labelWidth = 2 * fontMetrics().horizontalAdvance(QStringLiteral("1,000"));
    m_parts->plot->xAxis->ticker()->setTickCount(qBound(1, width() / labelWidth, kMostTicks));
    m_parts->plot->setVisible(width() >= kNarrowestPlot);
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
    m_parts->farTokens->setPen(QPen(accent));
    m_parts->farTokens->setScatterStyle(
        QCPScatterStyle(QCPScatterStyle::ssTriangle, accent, accent, 6));
    m_parts->median->setPen(QPen(palette().color(QPalette::Text), 1));
    m_parts->percentile95->setPen(QPen(text, 1, Qt::DashLine));
    m_parts->medianName->setColor(palette().color(QPalette::Text));
    m_parts->percentile95Name->setColor(text);
    m_parts->hint->setColor(text);
    m_parts->hint->setFont(font());
    // The names have a column of their own: nowhere else can they be sure to cover no point.
    int nameWidth = 0;
    for (QCPItemText* item : {m_parts->medianName, m_parts->percentile95Name}) {
        item->setFont(small);
        const QMargins padding = item->padding();
        nameWidth = std::max(nameWidth, QFontMetrics(small).horizontalAdvance(item->text()) +
                                            padding.left() + padding.right());
    }
    m_parts->plot->axisRect()->setMargins(QMargins(0, 0, nameWidth, 0));
}

}  // namespace qllama
