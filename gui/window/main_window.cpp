#include "gui/window/main_window.h"

#include <QActionGroup>
#include <QApplication>
#include <QCloseEvent>
#include <QDragEnterEvent>
#include <QMimeData>
#include <QPushButton>
#include <QSaveFile>
#include <QSplitter>
#include <cmath>
#include <utility>

#include "gui/prompt_file.h"
#include "gui/save_file.h"
#include "gui/window/about_box.h"
#include "gui/window/activity_bar.h"
#include "gui/window/buttons.h"
#include "gui/window/device_menu.h"
#include "gui/window/device_plan_dialog.h"
#include "gui/window/load_presenter.h"
#include "gui/window/message_bar.h"
#include "gui/window/model_picker.h"
#include "gui/window/output_view.h"
#include "gui/window/paths.h"
#include "gui/window/prompt_editor.h"
#include "gui/window/run_presenter.h"
#include "gui/window/settings_panel.h"
#include "gui/window/status_strip.h"
#include "gui/window/text.h"
#include "gui/window/theme.h"
#include "gui/window/weight_cache_dialog.h"
#include "gui/window/window_actions.h"
#include "gui/window/window_settings.h"

namespace qllama {
namespace {

constexpr int kMostDevicePixels = 200;
constexpr int kMostTextSteps = 12;
constexpr double kSmallestTextPoints = 7;

}  // namespace

MainWindow::MainWindow(WindowServices services)
    : m_services(std::move(services)),
      m_actions(new WindowActions(this)),
      m_finder(new DeviceFinder(m_services.listDevices, this)),
      m_engine(std::make_unique<EngineController>(std::move(m_services.engine))) {
    setAcceptDrops(true);
    m_recent.restore(*m_services.settings);
    createParts();
    setupMenus();
    setupToolBar();
    setupLayout();
    setupTabOrder();
    connectActions();
    connectOutputActions();
    connectParts();
    restoreSettings();
    updateState();
}

MainWindow::~MainWindow() {
    m_engine.reset();  // joins the engine's thread while everything its signals reach still exists
}

void MainWindow::connectActions() {
    connect(m_actions->generate, &QAction::triggered, this, &MainWindow::generate);
    // The load may be too far to be stopped.
    connect(m_actions->stop, &QAction::triggered, this, [this] { setTextFollows(false); });
    connect(m_actions->stop, &QAction::triggered, m_engine.get(), &EngineController::stop);
    connect(m_actions->reload, &QAction::triggered, m_loads, &LoadPresenter::loadAgain);
    connect(m_actions->chooseTokenizer, &QAction::triggered, m_loads,
            &LoadPresenter::chooseTokenizer);
    connect(m_actions->unload, &QAction::triggered, m_engine.get(), &EngineController::unload);
    connect(m_actions->unload, &QAction::triggered, m_messages, &MessageBar::clear);
    connect(m_actions->keptWeights, &QAction::triggered, this, &MainWindow::showKeptWeights);
    connect(m_actions->openPrompt, &QAction::triggered, this, [this] {
        m_services.files->openFile(this, tr("Open Prompt File"), tr("All files (*)"),
                                   [this](const QString& path) { openPromptFile(toPath(path)); });
    });
    connect(m_actions->focusPrompt, &QAction::triggered, m_prompt->textEdit(),
            qOverload<>(&QWidget::setFocus));
    connect(m_actions->themes, &QActionGroup::triggered, this,
            [](QAction* action) { applyTheme(themeFromKey(action->data().toString())); });
    connect(m_actions->quit, &QAction::triggered, this, &QWidget::close);
    connect(m_actions->about, &QAction::triggered, this, [this] { showAboutBox(this); });
    connect(m_actions->aboutQt, &QAction::triggered, qApp, &QApplication::aboutQt);
}

void MainWindow::connectOutputActions() {
    connect(m_actions->largerText, &QAction::triggered, this,
            [this] { setTextSteps(m_textSteps + 1); });
    connect(m_actions->smallerText, &QAction::triggered, this,
            [this] { setTextSteps(m_textSteps - 1); });
    connect(m_actions->normalText, &QAction::triggered, this, [this] { setTextSteps(0); });
    connect(m_actions->tokenColors, &QAction::toggled, m_output, &OutputView::setTokenColors);
    connect(m_actions->copyOutput, &QAction::triggered, m_output, &OutputView::copyText);
    connect(m_actions->clearOutput, &QAction::triggered, m_output, &OutputView::clearRuns);
    connect(m_actions->saveOutput, &QAction::triggered, this, &MainWindow::saveOutput);
    const auto enable = [this](bool blank) {
        for (QAction* action :
             {m_actions->copyOutput, m_actions->clearOutput, m_actions->saveOutput})
            action->setEnabled(!blank);
    };
    connect(m_output, &OutputView::blankChanged, this, enable);
    enable(true);
}

void MainWindow::connectParts() {
    connect(m_engine.get(), &EngineController::stateChanged, this, &MainWindow::updateState);
    connect(m_engine.get(), &EngineController::modelLoaded, this, &MainWindow::updateState);
    connect(m_engine.get(), &EngineController::loadStarted, this,
            [this] { setTextFollows(false); });
    // Not when it is one that was given up for another, which the text is to follow.
    connect(m_engine.get(), &EngineController::loadFailed, this, [this] {
        if (m_engine->state() != EngineController::State::Loading) setTextFollows(false);
    });
    connect(m_engine.get(), &EngineController::modelMoved, this, &MainWindow::showDeviceName);
    connectDevices();
    connect(m_prompt, &PromptEditor::filesDropped, this,
            [this](const QMimeData* data) { dropFiles(*data, true); });
    showDeviceName();
}

void MainWindow::connectDevices() {
    connect(m_finder, &DeviceFinder::devicesFound, m_deviceMenu, &DeviceMenu::setDevices);
    connect(m_finder, &DeviceFinder::devicesFound, this, [this](const DeviceList& devices) {
        if (m_devicePlan && m_devicePlan->isVisible()) m_devicePlan->setDevices(devices);
    });
    connect(m_deviceMenu, &DeviceMenu::currentNameChanged, this, &MainWindow::showDeviceName);
    connect(m_deviceMenu, &DeviceMenu::detailsRequested, this,
            [this](const QString& list, const QString& facts) {
                m_messages->showMessage({.kind = Message::Kind::Info,
                                         .text = list,
                                         .details = facts,
                                         .actionText = {},
                                         .action = {}});
            });
    connect(m_deviceMenu, &DeviceMenu::searchRequested, this, [this] {
        m_deviceMenu->showSearch();
        m_finder->start();
    });
    connect(m_deviceMenu, &DeviceMenu::planRequested, this,
            [this] { showDevicePlan(m_loads->request()); });
    connect(m_loads, &LoadPresenter::planRequested, this, &MainWindow::showDevicePlan);
    connect(m_runs, &RunPresenter::deviceFailed, m_loads, &LoadPresenter::offerOtherDevice);
}

void MainWindow::start(const WindowStart& options) {
    m_finder->start();
    if (options.generation) m_panel->setGenerationSettings(*options.generation);
    if (options.prompt) {
        if (options.promptSource.isEmpty())
            m_prompt->setPrompt(*options.prompt);
        else
            m_prompt->setPromptFromFile(*options.prompt, options.promptSource);
    }
    if (options.whenDeviceFails) m_deviceMenu->setFailureChoice(*options.whenDeviceFails);
    LoadRequest request = options.load.value_or(restoreLoad(*m_services.settings));
    if (request.location.model.empty() && m_services.demoModel)
        request.location.model = *m_services.demoModel;
    m_loads->loadAsShown(request);
    // Last, since a load takes away the messages of before.
    if (options.promptFile) openPromptFile(*options.promptFile);
}

void MainWindow::updateState() {
    showDeviceName();
    using State = EngineController::State;
    const State state = m_engine->state();
    const bool busy = state == State::Loading || state == State::Generating;
    const bool hasModel = m_engine->model().has_value();
    // A button that has the focus gives it to the next enabled one when it is disabled.
    if (busy) m_actions->stop->setEnabled(true);
    m_actions->generate->setEnabled(state == State::Ready ||
                                    (state == State::Loading && !m_textFollows));
    if (!busy) passFocusOn();
    m_actions->stop->setEnabled(busy);
    m_actions->unload->setEnabled(hasModel);
    m_output->setHint(m_textFollows && state == State::Loading
                          ? tr("The model is being loaded. The text begins when it is there.")
                          : hintFor(state, hasModel));
    setWindowTitle(hasModel ? tr("%1 – QLLaMA").arg(toQString(m_engine->model()->name))
                            : tr("QLLaMA"));
    if (m_textFollows && state != State::Loading) {
        setTextFollows(false);
        // What the load had to say stays in view.
        if (state == State::Ready) startText();
    }
}

// From Stop, which is about to be disabled, back to where it came from.
void MainWindow::passFocusOn() {
    auto* stop = findChild<QPushButton*>(QStringLiteral("stopButton"));
    auto* generate = findChild<QPushButton*>(QStringLiteral("generateButton"));
    if (!stop->hasFocus()) return;
    if (generate->isEnabled())
        generate->setFocus();
    else
        m_prompt->textEdit()->setFocus();
}

QString MainWindow::hintFor(EngineController::State state, bool hasModel) {
    if (state == EngineController::State::Loading)
        return tr(
            "The model is being loaded. You can write the prompt meanwhile and press Generate: the "
            "text begins when the model is there.");
    if (hasModel)
        return tr(
            "Write a prompt below and press Generate. The text appears here as the model "
            "writes it.");
    return tr(
        "Open a model to begin: a folder or a .pth file, from the File menu or dropped on "
        "this window.");
}

void MainWindow::generate() {
    m_messages->clear();
    if (m_engine->state() != EngineController::State::Loading) {
        startText();
        return;
    }
    setTextFollows(true);
}

// Generate was pressed while a model is being loaded, or that is taken back.
void MainWindow::setTextFollows(bool follows) {
    m_textFollows = follows;
    m_loads->setTextFollows(follows);
    updateState();
}

void MainWindow::startText() {
    GenerationRequest request = m_panel->generationSettings();
    request.prompt = m_prompt->prompt();
    saveGeneration(*m_services.settings, request);
    m_runs->start(request);
}

void MainWindow::openPromptFile(const std::filesystem::path& path) {
    const auto bytes = isStream(path)
                           ? Error{ErrorCode::InvalidRequest,
                                   "A pipe or a device is no prompt; choose a file.", path.string()}
                           : readPromptFile(path);
    if (bytes.ok()) {
        m_prompt->setPromptFromFile(bytes.value(), pathText(path.filename()));
        return;
    }
    m_messages->showMessage({.kind = Message::Kind::Error,
                             .text = toQString(bytes.error().message),
                             .details = toQString(bytes.error().where),
                             .actionText = {},
                             .action = {}});
}

void MainWindow::saveOutput() {
    m_services.files->saveFile(
        this, tr("Save Output"), tr("output.txt"), [this](const QString& path) {
            QSaveFile file(path);
            const std::string text = m_output->allText();
            if (file.open(QIODevice::WriteOnly | QIODevice::Unbuffered) && writeWhole(file, text) &&
                file.commit())
                return;
            m_messages->showMessage(
                {.kind = Message::Kind::Error,
                 .text =
                     tr("The output could not be saved to %1: %2.").arg(path, file.errorString()),
                 .details = {},
                 .actionText = {},
                 .action = {}});
        });
}

void MainWindow::dropFiles(const QMimeData& data, bool onPrompt) {
    if (const auto model = ModelPicker::modelIn(data)) {
        m_loads->load(*model);
        return;
    }
    const QString path = data.urls().isEmpty() ? QString() : data.urls().first().toLocalFile();
    if (onPrompt && !path.isEmpty()) {
        openPromptFile(toPath(path));
        return;
    }
    m_messages->showMessage({.kind = Message::Kind::Warning,
                             .text = tr("%1 is not a model. Drop a folder, a .pth file or a "
                                        "params.json here, or a text file on the prompt.")
                                         .arg(path.isEmpty() ? tr("What you dropped") : path),
                             .details = {},
                             .actionText = {},
                             .action = {}});
}

// In points from the size at which a page of text reads well, a little above that of the controls.
void MainWindow::setTextSteps(int steps) {
    QFont text = font();
    const double normal = text.pointSizeF() + 1;
    const int fewest = qMin(0, static_cast<int>(std::ceil(kSmallestTextPoints - normal)));
    m_textSteps = qBound(fewest, steps, kMostTextSteps);
    text.setPointSizeF(normal + m_textSteps);
    m_actions->smallerText->setEnabled(m_textSteps > fewest);
    m_actions->largerText->setEnabled(m_textSteps < kMostTextSteps);
    m_actions->normalText->setEnabled(m_textSteps != 0);
    m_output->setFont(text);
    m_prompt->textEdit()->setFont(text);
}

// Where the layers are; what was chosen until they are there.
void MainWindow::showDeviceName() {
    const QString chosen = m_deviceMenu->currentName();
    QStringList names = m_deviceMenu->namesOf(m_deviceMenu->current());
    const auto& model = m_engine->model();
    const bool isThere = model && m_engine->state() != EngineController::State::Loading;
    if (isThere && !model->placement.stages.empty() && m_deviceMenu->current() != u"auto") {
        names.clear();
        for (const StagePlacement& stage : model->placement.stages)
            names += m_deviceMenu->nameOf(stage.device);
    }
    const QString all = names.join(QStringLiteral(" + "));
    QString toolTip = tr("Device: %1. Click to choose another one.").arg(all);
    m_deviceMenu->setElsewhere(isThere && all != chosen);
    if (all != chosen) toolTip += u'\n' + tr("Chosen: %1.").arg(chosen);
    m_deviceButton->setName(
        names.size() > 1 ? tr("%n device(s)", nullptr, static_cast<int>(names.size())) : all,
        kMostDevicePixels);
    m_deviceButton->setToolTip(toolTip);
    m_deviceButton->setAccessibleName(tr("Device: %1").arg(all));
}

void MainWindow::showDevicePlan(const LoadRequest& request) {
    if (!m_devicePlan) {
        m_devicePlan = new DevicePlanDialog(m_services.plan, this);
        connect(m_devicePlan, &DevicePlanDialog::loadRequested, m_loads,
                &LoadPresenter::loadAsShown);
    }
    m_devicePlan->present(m_deviceMenu->devices(), request);
    m_devicePlan->show();
    m_devicePlan->raise();
    m_devicePlan->activateWindow();
}

void MainWindow::showKeptWeights() {
    if (!m_keptWeights) {
        m_keptWeights = new WeightCacheDialog(m_services.weightCacheFolder, this);
        connect(m_engine.get(), &EngineController::modelLoaded, m_keptWeights,
                &WeightCacheDialog::refresh);
    }
    m_keptWeights->show();
    m_keptWeights->raise();
    m_keptWeights->activateWindow();
}

void MainWindow::restoreSettings() {
    const QSettings& settings = *m_services.settings;
    restoreGeometry(settings.value(QStringLiteral("window/geometry")).toByteArray());
    restoreState(settings.value(QStringLiteral("window/state")).toByteArray());
    findChild<QSplitter*>(QStringLiteral("splitter"))
        ->restoreState(settings.value(QStringLiteral("window/splitter")).toByteArray());
    m_actions->tokenColors->setChecked(
        settings.value(QStringLiteral("window/tokenColors"), true).toBool());
    const QString theme = settings.value(QStringLiteral("window/theme")).toString();
    for (QAction* action : m_actions->themes->actions())
        if (action->data().toString() == theme) action->trigger();
    setTextSteps(settings.value(QStringLiteral("window/textSteps")).toInt());
    m_deviceMenu->restore(settings);
    m_panel->setGenerationSettings(restoreGeneration(settings));
    m_prompt->setPrompt(
        settings.value(QStringLiteral("prompt"), tr("Once upon a time")).toString().toStdString());
}

void MainWindow::saveSettings() {
    QSettings& settings = *m_services.settings;
    settings.setValue(QStringLiteral("window/geometry"), saveGeometry());
    settings.setValue(QStringLiteral("window/state"), saveState());
    settings.setValue(QStringLiteral("window/splitter"),
                      findChild<QSplitter*>(QStringLiteral("splitter"))->saveState());
    settings.setValue(QStringLiteral("window/tokenColors"), m_actions->tokenColors->isChecked());
    settings.setValue(QStringLiteral("window/textSteps"), m_textSteps);
    settings.setValue(QStringLiteral("window/theme"), m_actions->themes->checkedAction()->data());
    if (m_prompt->sourceFile().isEmpty())
        settings.setValue(QStringLiteral("prompt"), toQString(m_prompt->prompt()));
    saveGeneration(settings, m_panel->generationSettings());
    saveLoad(settings, m_loads->requestToRemember());
    m_deviceMenu->save(settings);
    m_recent.save(settings);
}

void MainWindow::closeEvent(QCloseEvent* event) {
    m_engine->stop();
    saveSettings();
    event->accept();
}

void MainWindow::dragEnterEvent(QDragEnterEvent* event) {
    if (event->mimeData()->hasUrls()) event->acceptProposedAction();
}

void MainWindow::dropEvent(QDropEvent* event) {
    event->acceptProposedAction();
    dropFiles(*event->mimeData(), false);
}

}  // namespace qllama
