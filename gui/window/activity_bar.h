// What the engine is busy with and how far it is.
#pragma once

#include <QTimer>
#include <QWidget>

class QProgressBar;
class QToolButton;

namespace qllama {

class ElidedLabel;

// Stands beside the window's Stop button, which is what calls the work off. Keeps its place in the
// layout when there is nothing to show. What is over in less than a blink
// is never shown at all.
class ActivityBar : public QWidget {
    Q_OBJECT

public:
    explicit ActivityBar(QWidget* parent = nullptr);

    // `fraction` from 0 to 1; below 0: not known, the bar only moves.
    void showActivity(const QString& text, double fraction);
    // Puts a button beside the progress, until it is over, for those who want to know more.
    void offerDetails(const QString& text, const QString& toolTip);
    void finish();
    [[nodiscard]] QString text() const;

signals:
    void detailsRequested();

private:
    void reveal(bool visible);

    QTimer m_delay;
    QString m_currentText;
    ElidedLabel* m_label;
    QProgressBar* m_bar;
    QToolButton* m_details;
};

}  // namespace qllama
