// The facts at the bottom of the window: model, device, and the numbers of the last run.
#pragma once

#include <QWidget>

#include "engine/session/generation_types.h"
#include "engine/session/model_loader.h"

class QLabel;

namespace qllama {

class ElidedLabel;

class StatusStrip : public QWidget {
    Q_OBJECT

public:
    explicit StatusStrip(QWidget* parent = nullptr);

    void showModel(const ModelInfo& model);
    void showNoModel();
    // What is about to be loaded, in the place of the device in use until endPlan() or a model.
    void showPlan(const PlacementPlan& plan);
    void endPlan();
    void showStatistics(const GenerationStatistics& statistics);

protected:
    void changeEvent(QEvent* event) override;
    void resizeEvent(QResizeEvent* event) override;

private:
    // Where there is no room for all, what is said elsewhere too goes first.
    void fit();
    QLabel* addNumber(const char* name, const QString& toolTip);
    void setNumber(QLabel* label, const QString& text);
    // `shortText`: where there is no room for the other; empty: it is elided.
    void setDevice(const QString& text, const QString& shortText, const QString& toolTip);

    ElidedLabel* m_model;
    ElidedLabel* m_device;
    QString m_deviceText;  // of the device in use
    QString m_deviceShortText;
    QString m_deviceTip;
    QLabel* m_tokens = nullptr;
    QLabel* m_msPerToken = nullptr;
    QLabel* m_tokensPerSecond = nullptr;
    QLabel* m_context = nullptr;
};

// "3.25 ms/token", "307.7 tokens/s": the same wording wherever they are shown.
QString msPerTokenText(double ms);
QString tokensPerSecondText(double tokensPerSecond);
// How a run ended and how fast it was, in one line.
QString runSummary(const GenerationResult& result);

}  // namespace qllama
