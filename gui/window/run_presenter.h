// A run as the user sees it: the text as it streams, the prompt's progress, the numbers, the end.
#pragma once

#include <QElapsedTimer>
#include <QObject>

#include "gui/window/engine_controller.h"
#include "gui/window/generation_meter.h"

namespace qllama {

class ActivityBar;
class MessageBar;
class OutputView;
class RunPanel;
class StatusStrip;

class RunPresenter : public QObject {
    Q_OBJECT

public:
    // The parts it speaks to; all outlive it.
    struct Parts {
        EngineController& engine;
        OutputView& output;
        ActivityBar& activity;
        MessageBar& messages;
        StatusStrip& status;
        RunPanel& panel;
    };
    RunPresenter(const Parts& parts, QObject* parent);

    void start(const GenerationRequest& request);

signals:
    void deviceFailed(const qllama::Error& error);  // and the run with it

private:
    void connectPrompt();
    void connectTokens();
    void finish(const QString& note);
    [[nodiscard]] bool isOnDevices() const;

    Parts m_parts;
    GenerationMeter m_meter;
    QElapsedTimer m_sinceNumbers;  // since the status bar last showed them
    quint64 m_id = 0;              // of the last run
    std::string m_prompt;
    bool m_shown = false;       // the output has this run
    bool m_recomputes = false;  // the activity bar says so
};

}  // namespace qllama
