#include "gui/window/window_actions.h"

#include <QActionGroup>
#include <QWidget>

#include "gui/window/symbolic_icon.h"
#include "gui/window/theme.h"

namespace qllama {

WindowActions::WindowActions(QWidget* window) : QObject(window), m_window(window) {
    openPrompt =
        add(tr("Open &Prompt File…"), QStringLiteral("open-file"),
            {Qt::CTRL | Qt::SHIFT | Qt::Key_P}, tr("Takes the prompt from a file, byte for byte"));
    saveOutput = add(tr("&Save Output As…"), QStringLiteral("save"), {QKeySequence::Save},
                     tr("Saves prompts and generated text to a file"));
    quit = add(tr("&Quit"), {}, {QKeySequence(Qt::CTRL | Qt::Key_Q)}, {});
    copyOutput = add(tr("&Copy Output"), QStringLiteral("copy"), {Qt::CTRL | Qt::SHIFT | Qt::Key_C},
                     tr("Copies the selected output, or all of it"));
    clearOutput = add(tr("C&lear Output"), QStringLiteral("clear"),
                      {Qt::CTRL | Qt::SHIFT | Qt::Key_L}, tr("Removes all output"));
    focusPrompt = add(tr("Go to &Prompt"), {}, {Qt::CTRL | Qt::Key_L}, {});
    setupView();
    setupRun();
    about = add(tr("&About QLLaMA"), {}, {}, {});
    aboutQt = add(tr("About &Qt"), {}, {}, {});
    setupThemes();
}

void WindowActions::setupView() {
    tokenColors = add(tr("&Colour Tokens by Probability"), QStringLiteral("colors"),
                      {Qt::CTRL | Qt::SHIFT | Qt::Key_T},
                      tr("Colours each token from green (it surprised the model) to red (the model "
                         "was sure); point at a token to see the figures"));
    tokenColors->setCheckable(true);
    tokenColors->setChecked(true);
    largerText = add(tr("&Larger Text"), {}, {QKeySequence::ZoomIn, Qt::CTRL | Qt::Key_Equal}, {});
    smallerText = add(tr("S&maller Text"), {}, {QKeySequence::ZoomOut}, {});
    normalText = add(tr("&Normal Text Size"), {}, {Qt::CTRL | Qt::Key_0}, {});
}

void WindowActions::setupRun() {
    generate = add(tr("&Generate"), QStringLiteral("generate"),
                   {Qt::CTRL | Qt::Key_Return, Qt::CTRL | Qt::Key_Enter},
                   tr("Lets the model go on from the prompt"));
    stop = add(tr("S&top"), QStringLiteral("stop"), {Qt::Key_Escape},
               tr("Stops generating or loading"));
    chooseTokenizer = add(tr("Choose To&kenizer…"), {}, {},
                          tr("Loads the model again with another tokenizer.model"));
    reload = add(tr("&Load Again"), {}, {Qt::Key_F5}, tr("Loads the model again"));
    unload = add(tr("&Unload"), {}, {}, tr("Gives the model's memory back"));
    keptWeights =
        add(tr("Kept &Weights…"), {}, {},
            tr("Shows the quantised and packed weights that are kept on disk, and deletes them"));
}

QAction* WindowActions::add(const QString& text, const QString& icon,
                            const QList<QKeySequence>& shortcuts, const QString& toolTip) {
    auto* action = new QAction(text, this);
    if (!icon.isEmpty()) action->setIcon(symbolicIcon(icon));
    action->setShortcuts(shortcuts);
    QString tip = toolTip;
    if (!tip.isEmpty() && !shortcuts.isEmpty())
        tip += tr(" (%1)").arg(shortcuts.first().toString(QKeySequence::NativeText));
    if (!tip.isEmpty()) action->setToolTip(tip);
    m_window->addAction(action);
    return action;
}

void WindowActions::setupThemes() {
    themes = new QActionGroup(this);
    const auto addTheme = [this](Theme theme, const QString& text) {
        auto* action = new QAction(text, themes);
        action->setCheckable(true);
        action->setChecked(theme == Theme::System);
        action->setData(keyOf(theme));
    };
    addTheme(Theme::System, tr("&As the Desktop"));
    addTheme(Theme::Light, tr("&Light"));
    addTheme(Theme::Dark, tr("&Dark"));
}

}  // namespace qllama
