// Buttons that say by their looks what they are for.
#pragma once

#include <QPushButton>
#include <QToolButton>

class QAction;

namespace qllama {

// The one button of the window that does what the window is for: filled with the accent colour.
class PrimaryButton : public QPushButton {
    Q_OBJECT

public:
    using QPushButton::QPushButton;

protected:
    void paintEvent(QPaintEvent* event) override;
};

// A tool button with a menu and, behind its text, an arrow that says so.
class MenuButton : public QToolButton {
    Q_OBJECT

public:
    explicit MenuButton(QWidget* parent = nullptr);

    // Shortened in the middle to `mostPixels`.
    void setName(const QString& name, int mostPixels);

protected:
    void paintEvent(QPaintEvent* event) override;
};

// Makes `button` trigger `action` and show its words, tool tip and whether it is enabled.
void followAction(QPushButton* button, QAction* action);

}  // namespace qllama
