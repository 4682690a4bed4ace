// The speed of the run that is going on, as a plot and in figures, beside what the memory could do.
#pragma once

#include <QElapsedTimer>
#include <QTimer>
#include <QWidget>

#include "gui/window/engine_controller.h"
#include "gui/window/speed_history.h"

class QToolButton;

namespace qllama {

class FigureTile;
class SpeedPlot;

// Redraws at most eight times a second, not at all while hidden or minimised, and has no timer
// running when nothing is generated.
class SpeedView : public QWidget {
    Q_OBJECT

public:
    // `engine` outlives the view.
    explicit SpeedView(EngineController& engine, QWidget* parent = nullptr);

    [[nodiscard]] int redrawCount() const { return m_redraws; }

protected:
    void showEvent(QShowEvent* event) override;

private:
    void setupTiles();
    void setupLayout();
    void connectPrompt();
    void connectTokens();
    void resetRun();
    void measureBandwidth();
    void measureIfUnknown();
    void showWhetherMeasurable();

    [[nodiscard]] bool isWatched() const;
    void schedule();
    void redraw();
    void showPrompt(const SpeedFigures& figures);
    void showBytes(const SpeedFigures& figures);

    EngineController& m_engine;
    SpeedHistory m_history;
    double m_bandwidthGbPerSecond = 0;  // 0: not measured
    QString m_measuredFor;              // what placementKey() says of the model it was measured for
    QString m_measuringFor;
    bool m_measuring = false;
    QElapsedTimer m_promptClock;
    QTimer m_pause;  // runs for a moment after each redraw
    bool m_stale = false;
    int m_redraws = 0;

    SpeedPlot* m_plot;
    FigureTile* m_tokensPerSecond;
    FigureTile* m_msPerToken;
    FigureTile* m_firstToken;
    FigureTile* m_prompt;
    FigureTile* m_context;
    FigureTile* m_memory;
    FigureTile* m_bytes;
    FigureTile* m_share;
    QToolButton* m_measure;
};

}  // namespace qllama
