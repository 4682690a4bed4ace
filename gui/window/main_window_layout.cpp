#include "gui/window/main_window.h"

#include <QActionGroup>
#include <QDockWidget>
#include <QHBoxLayout>
#include <QMenuBar>
#include <QScreen>
#include <QSplitter>
#include <QStatusBar>
#include <QToolBar>
#include <QVBoxLayout>

#include "gui/window/activity_bar.h"
#include "gui/window/buttons.h"
#include "gui/window/color_legend.h"
#include "gui/window/device_menu.h"
#include "gui/window/load_presenter.h"
#include "gui/window/message_bar.h"
#include "gui/window/model_picker.h"
#include "gui/window/output_view.h"
#include "gui/window/prompt_editor.h"
#include "gui/window/run_presenter.h"
#include "gui/window/settings_panel.h"
#include "gui/window/speed_view.h"
#include "gui/window/status_strip.h"
#include "gui/window/symbolic_icon.h"
#include "gui/window/window_actions.h"

namespace qllama {
namespace {

constexpr int kRoomForSpeed = 700;  // on a lower screen the text needs the room, unless asked for

template <typename Button>
Button* buttonFor(QAction* action, const char* name, QWidget* parent) {
    auto* button = new Button(parent);
    button->setObjectName(QLatin1String(name));
    button->setIcon(action->icon());
    button->setFocusPolicy(Qt::TabFocus);  // a click leaves the keyboard with the prompt
    followAction(button, action);
    return button;
}

}  // namespace

void MainWindow::createParts() {
    m_messages = new MessageBar(this);
    m_output = new OutputView(this);
    m_prompt = new PromptEditor(this);
    m_activity = new ActivityBar(this);
    m_panel = new SettingsPanel(this);
    m_status = new StatusStrip(this);
    m_picker = new ModelPicker(*m_services.files, m_recent, m_services.demoModel, this);
    m_deviceMenu = new DeviceMenu(this);
    m_loads = new LoadPresenter({.engine = *m_engine,
                                 .activity = *m_activity,
                                 .messages = *m_messages,
                                 .picker = *m_picker,
                                 .devices = *m_deviceMenu,
                                 .panel = *m_panel->load(),
                                 .files = *m_services.files,
                                 .recent = m_recent,
                                 .weightCacheFolder = m_services.weightCacheFolder},
                                this);
    m_runs = new RunPresenter({.engine = *m_engine,
                               .output = *m_output,
                               .activity = *m_activity,
                               .messages = *m_messages,
                               .status = *m_status,
                               .panel = *m_panel->run()},
                              this);
}

void MainWindow::setupMenus() {
    QMenu* file = menuBar()->addMenu(tr("&File"));
    file->addActions({m_picker->openFolderAction(), m_picker->openFileAction()});
    file->addMenu(m_picker->recentMenu());
    file->addSeparator();
    file->addActions({m_actions->openPrompt, m_actions->saveOutput});
    file->addSeparator();
    file->addAction(m_actions->quit);
    QMenu* edit = menuBar()->addMenu(tr("&Edit"));
    edit->addActions({m_actions->focusPrompt, m_actions->copyOutput, m_actions->clearOutput});
    QMenu* view = menuBar()->addMenu(tr("&View"));
    view->setObjectName(QStringLiteral("viewMenu"));
    view->addAction(m_actions->tokenColors);
    QMenu* themes = view->addMenu(tr("&Appearance"));
    themes->addActions(m_actions->themes->actions());
    view->addSeparator();
    view->addActions({m_actions->largerText, m_actions->smallerText, m_actions->normalText});
    view->addSeparator();
    QMenu* model = menuBar()->addMenu(tr("&Model"));
    model->addActions({m_actions->generate, m_actions->stop});
    model->addSeparator();
    model->addActions(
        {m_picker->demoAction(), m_actions->chooseTokenizer, m_actions->reload, m_actions->unload});
    model->addSeparator();
    model->addAction(m_actions->keptWeights);
    menuBar()->addMenu(m_deviceMenu);
    QMenu* help = menuBar()->addMenu(tr("&Help"));
    help->addActions({m_actions->about, m_actions->aboutQt});
}

void MainWindow::setupToolBar() {
    QToolBar* bar = addToolBar(tr("Tools"));
    bar->setObjectName(QStringLiteral("toolBar"));
    bar->setMovable(false);
    bar->setContextMenuPolicy(Qt::PreventContextMenu);
    bar->setIconSize(QSize(16, 16));
    m_deviceButton = new MenuButton(bar);
    m_deviceButton->setObjectName(QStringLiteral("deviceButton"));
    m_deviceButton->setIcon(symbolicIcon(QStringLiteral("device")));
    m_deviceButton->setMenu(m_deviceMenu);
    bar->addWidget(m_picker);
    bar->addWidget(m_deviceButton);
    auto* spacer = new QWidget(bar);
    spacer->setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Preferred);
    bar->addWidget(spacer);
    QAction* legend = bar->addWidget(new ColorLegend(bar));
    connect(m_actions->tokenColors, &QAction::toggled, legend, &QAction::setVisible);
    bar->addActions({m_actions->tokenColors, m_actions->copyOutput, m_actions->saveOutput,
                     m_actions->clearOutput});
    bar->addSeparator();
}

void MainWindow::setupLayout() {
    auto* splitter = new QSplitter(Qt::Vertical, this);
    splitter->setObjectName(QStringLiteral("splitter"));
    splitter->addWidget(m_output);
    splitter->addWidget(createPromptArea());
    // In a small window both give way: the text is what one reads. Below a long message it is the
    // text, down to two lines, and never the prompt.
    m_output->setMinimumHeight(2 * m_output->fontMetrics().lineSpacing());
    splitter->setStretchFactor(0, 3);
    splitter->setStretchFactor(1, 1);
    splitter->setChildrenCollapsible(false);
    splitter->setSizes({500, 170});
    auto* center = new QWidget(this);
    auto* column = new QVBoxLayout(center);
    column->setContentsMargins(8, 8, 8, 4);
    column->addWidget(m_messages);
    column->addWidget(splitter, 1);
    setCentralWidget(center);

    m_panelDock = new QDockWidget(tr("Settings"), this);
    m_panelDock->setObjectName(QStringLiteral("settingsDock"));
    m_panelDock->setWidget(m_panel);
    m_panelDock->setTitleBarWidget(new QWidget(m_panelDock));  // the tool bar shows and hides it
    addDockWidget(Qt::RightDockWidgetArea, m_panelDock);
    addToggle(m_panelDock, tr("&Settings Panel"), QStringLiteral("settings"), Qt::Key_F9,
              tr("Shows or hides the settings (F9)"));
    setCorner(Qt::BottomRightCorner, Qt::RightDockWidgetArea);  // settings need the height
    setupSpeedDock();

    statusBar()->addWidget(m_status, 1);
    resize(QSize(1120, 800).boundedTo(screen()->availableSize() * 0.95));
}

void MainWindow::setupSpeedDock() {
    auto* dock = new QDockWidget(tr("Speed"), this);
    dock->setObjectName(QStringLiteral("speedDock"));
    dock->setWidget(new SpeedView(*m_engine, dock));
    dock->setTitleBarWidget(new QWidget(dock));
    addDockWidget(Qt::BottomDockWidgetArea, dock);
    dock->setVisible(screen()->availableSize().height() >= kRoomForSpeed);
    addToggle(dock, tr("S&peed"), QStringLiteral("measure"), Qt::Key_F8,
              tr("Shows or hides the speed of generation (F8)"));
}

// The tool bar and the View menu show and hide a dock; it needs no title bar for that.
void MainWindow::addToggle(QDockWidget* dock, const QString& text, const QString& icon,
                           const QKeySequence& shortcut, const QString& toolTip) {
    QAction* toggle = dock->toggleViewAction();
    toggle->setText(text);
    toggle->setIcon(symbolicIcon(icon));
    toggle->setShortcut(shortcut);
    toggle->setToolTip(toolTip);
    findChild<QMenu*>(QStringLiteral("viewMenu"))->addAction(toggle);
    findChild<QToolBar*>(QStringLiteral("toolBar"))->addAction(toggle);
}

QWidget* MainWindow::createPromptArea() {
    auto* area = new QWidget(this);
    auto* open = new QToolButton(area);
    open->setDefaultAction(m_actions->openPrompt);
    open->setText(tr("Open File…"));
    open->setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
    open->setObjectName(QStringLiteral("openPromptButton"));
    m_prompt->addHeaderWidget(open);
    auto* row = new QHBoxLayout;
    row->addWidget(m_activity, 1);
    row->addWidget(buttonFor<QPushButton>(m_actions->stop, "stopButton", area));
    auto* generate = buttonFor<PrimaryButton>(m_actions->generate, "generateButton", area);
    generate->setIcon(symbolicIcon(QStringLiteral("generate"), QPalette::HighlightedText));
    row->addWidget(generate);
    auto* column = new QVBoxLayout(area);
    column->setContentsMargins(0, 4, 0, 0);
    column->addWidget(m_prompt, 1);
    column->addLayout(row);
    return area;
}

// As one works: write, run, read, then the settings and the rest.
void MainWindow::setupTabOrder() {
    auto* generateButton = findChild<QPushButton*>(QStringLiteral("generateButton"));
    auto* stopButton = findChild<QPushButton*>(QStringLiteral("stopButton"));
    setTabOrder(m_prompt->textEdit(), generateButton);
    setTabOrder(generateButton, stopButton);
    setTabOrder(stopButton, m_output);
    m_prompt->textEdit()->setFocus();
}

}  // namespace qllama
