// The window's actions with their words, shortcuts and icons; what they do is connected elsewhere.
#pragma once

#include <QAction>
#include <QObject>

class QActionGroup;

namespace qllama {

class WindowActions : public QObject {
    Q_OBJECT

public:
    explicit WindowActions(QWidget* window);

    QAction* openPrompt;
    QAction* saveOutput;
    QAction* quit;
    QAction* copyOutput;
    QAction* clearOutput;
    QAction* focusPrompt;
    QAction* tokenColors;  // checkable
    QAction* largerText;
    QAction* smallerText;
    QAction* normalText;
    QActionGroup* themes;  // data: the theme's key
    QAction* generate;
    QAction* stop;
    QAction* chooseTokenizer;
    QAction* reload;
    QAction* unload;
    QAction* keptWeights;
    QAction* about;
    QAction* aboutQt;

private:
    QAction* add(const QString& text, const QString& icon, const QList<QKeySequence>& shortcuts,
                 const QString& toolTip);
    void setupView();
    void setupRun();
    void setupThemes();

    QWidget* m_window;
};

}  // namespace qllama
