// The plot of a run: one point a token, its time in ms, with median and 95th percentile as lines.
#pragma once

#include <QWidget>
#include <memory>
#include <vector>

class QCustomPlot;

namespace qllama {

class SpeedPlot : public QWidget {
    Q_OBJECT

public:
    explicit SpeedPlot(QWidget* parent = nullptr);
    ~SpeedPlot() override;

    // Draws once. Shows the last kMostPoints tokens; those that took far longer than most are
    // marked at the upper edge.
    void showTimes(const std::vector<double>& tokenMs, double medianMs, double percentile95Ms);

    static constexpr int kMostPoints = 600;  // about as many as there are pixels

    [[nodiscard]] int pointCount() const;
    [[nodiscard]] int farPointCount() const;       // of them, at the upper edge
    [[nodiscard]] QStringList timeLabels() const;  // of the vertical axis
    [[nodiscard]] bool namesAreBesideThePoints() const;
    [[nodiscard]] QSize sizeHint() const override { return {320, 130}; }
    // Any width: too narrow for a plot, it is empty.
    [[nodiscard]] QSize minimumSizeHint() const override { return {0, 90}; }

protected:
    void changeEvent(QEvent* event) override;
    void resizeEvent(QResizeEvent* event) override;

private:
    void setupGraphs(QCustomPlot* plot);
    void takePalette();

    struct Parts;  // of QCustomPlot, whose large header stays in one file
    std::unique_ptr<Parts> m_parts;
};

}  // namespace qllama
