#include "gui/window/load_presenter.h"

#include <QLocale>
#include <QTimer>
#include <utility>

#include "gui/window/activity_bar.h"
#include "gui/window/device_menu.h"
#include "gui/window/device_text.h"
#include "gui/window/file_chooser.h"
#include "gui/window/load_panel.h"
#include "gui/window/message_bar.h"
#include "gui/window/model_picker.h"
#include "gui/window/paths.h"
#include "gui/window/placement_text.h"
#include "gui/window/recent_models.h"
#include "gui/window/text.h"

namespace qllama {
namespace {

// The file that the user chose beside the model, when the failure is about that one.
std::optional<std::filesystem::path> wrongChoice(
    const Error& error, const std::optional<std::filesystem::path>& chosen) {
    return chosen && error.where == chosen->string() ? chosen : std::nullopt;
}

bool lacksTokenizer(const Error& error, const CheckpointLocation& location) {
    return (error.code == ErrorCode::NotFound && error.where == "tokenizer.model") ||
           wrongChoice(error, location.tokenizer);
}

bool lacksParams(const Error& error, const CheckpointLocation& location) {
    return (error.code == ErrorCode::NotFound &&
            std::filesystem::path(error.where).filename() == "params.json") ||
           wrongChoice(error, location.params);
}

// "tokenizer.txt: This is not ...", where it is another file than the one that was opened, or one of its
// folder, that is wrong.
QString reasonText(const QString& reason, const Error& error, const CheckpointLocation& location) {
    const std::filesystem::path wrong = error.where;
    std::error_code none;
    const bool isFile = wrong.is_absolute() && std::filesystem::is_regular_file(wrong, none);
    const bool isChosen =
        wrongChoice(error, location.tokenizer) || wrongChoice(error, location.params);
    const QString name = pathText(wrong.filename());
    if (!(isFile || isChosen) || wrong == location.model || reason.contains(name)) return reason;
    return LoadPresenter::tr("%1: %2").arg(name, reason);
}

// And the CPU was not to take what does not fit there.
bool isOneDeviceAlone(const LoadRequest& request) {
    return request.device.starts_with("opencl:") && request.device.find(',') == std::string::npos &&
           !request.mayUseCpu;
}

}  // namespace

LoadPresenter::LoadPresenter(const Parts& parts, QObject* parent)
    : QObject(parent), m_parts(parts) {
    connectEngine();
    connect(&m_parts.picker, &ModelPicker::modelChosen, this, &LoadPresenter::load);
    connect(&m_parts.panel, &LoadPanel::applyRequested, this, &LoadPresenter::loadAgain);
    // A model that does not fit on the one device that the user picked is not divided unasked.
    connect(&m_parts.devices, &DeviceMenu::deviceChosen, this, [this] {
        m_division = {};
        m_division.mayUseCpu = false;
        loadAgain();
    });
    connect(&m_parts.activity, &ActivityBar::detailsRequested, this,
            [this] { emit planRequested(m_running); });
}

void LoadPresenter::connectEngine() {
    EngineController& engine = m_parts.engine;
    connect(&engine, &EngineController::loadProgress, this,
            [this](quint64, const LoadProgress& progress) { showProgress(progress); });
    connect(&engine, &EngineController::planMade, this, [this](quint64, const PlacementPlan& plan) {
        m_parts.activity.offerDetails(
            tr("Memory…"), tr("What the model will need:") + u'\n' + placementDetails(plan));
    });
    connect(&engine, &EngineController::modelLoaded, this,
            [this](quint64 id, const ModelInfo& info) {
                noteLoaded(id);
                if (id == m_running.id) showLoaded(info);
            });
    connect(&engine, &EngineController::loadFailed, this, [this](quint64 id, const Error& error) {
        m_asked.erase(id);
        if (id == m_running.id) showFailure(error);
    });
    connect(&engine, &EngineController::deviceFailed, this,
            [this](quint64, const Error& error) { askToGoOn(error); });
    connect(&engine, &EngineController::modelMoved, this,
            [this](quint64, const ModelInfo& info) { showMoved(info); });
    connect(&engine, &EngineController::stateChanged, this, &LoadPresenter::updateModel);
}

void LoadPresenter::load(const CheckpointLocation& location) {
    m_location = location;
    m_running = request();
    showActivity(tr("Opening %1").arg(displayName(location)), -1);
    m_running.id = m_parts.engine.load(m_running);
    // After the load, which stops a text that waits for an answer: it is not ended by its device.
    m_parts.messages.clear();
    m_asked.emplace(m_running.id, m_running);
    updateModel();
}

void LoadPresenter::show(const LoadRequest& request) {
    m_location = request.location;
    place(request);
    m_parts.panel.readFrom(request);
}

void LoadPresenter::place(const LoadRequest& request) {
    m_division = {.split = request.split,
                  .splitModel = request.location.model,
                  .deviceShare = request.deviceShare,
                  .mayUseCpu = request.mayUseCpu};
    m_parts.devices.setCurrent(toQString(request.device));
}

void LoadPresenter::loadAgain() {
    if (!m_location.model.empty()) load(m_location);
}

void LoadPresenter::loadAsShown(const LoadRequest& request) {
    show(request);
    loadAgain();
}

void LoadPresenter::chooseTokenizer() {
    chooseTokenizerFor(m_location);
}

void LoadPresenter::chooseTokenizerFor(const CheckpointLocation& model) {
    m_parts.files.openFile(m_parts.picker.window(), tr("Choose the Model's Tokenizer"),
                           tr("Tokenizers (*.model);;All files (*)"),
                           [this, location = model](const QString& path) mutable {
                               location.tokenizer = toPath(path);
                               load(location);
                           });
}

void LoadPresenter::chooseParamsFor(const CheckpointLocation& model) {
    m_parts.files.openFile(m_parts.picker.window(), tr("Choose the Model's params.json"),
                           tr("Parameters (*.json);;All files (*)"),
                           [this, location = model](const QString& path) mutable {
                               location.params = toPath(path);
                               load(location);
                           });
}

LoadRequest LoadPresenter::request() const {
    LoadRequest request;
    request.location = m_location;
    request.device = m_parts.devices.current().toStdString();
    if (m_division.splitModel == m_location.model) request.split = m_division.split;
    request.deviceShare = m_division.deviceShare;
    request.mayUseCpu = m_division.mayUseCpu;
    request.weightCacheFolder = m_parts.weightCacheFolder;
    m_parts.panel.writeTo(request);
    // Asked when it fails, which may be long after another choice was made.
    request.mayLeaveDevice = [choice = m_parts.devices.sharedFailureChoice(),
                              ask = m_parts.engine.deviceQuestion()](const Error& failure) {
        return *choice == DeviceFailureChoice::Ask ? ask(failure)
                                                   : *choice == DeviceFailureChoice::GoOn;
    };
    return request;
}

LoadRequest LoadPresenter::requestToRemember() const {
    LoadRequest remembered = request();
    if (m_failed && m_lastGood && LoadPanel::haveSameSettings(remembered, *m_failed))
        LoadPanel::copySettings(*m_lastGood, remembered);
    return remembered;
}

QString LoadPresenter::workText(LoadWork work) {
    switch (work) {
        case LoadWork::Quantising:
            return tr("Quantising %1: %2 of %3");
        case LoadWork::Packing:
            return tr("Packing %1: %2 of %3");
        case LoadWork::None:
            break;
    }
    return tr("Loading %1: %2 of %3");
}

void LoadPresenter::showProgress(const LoadProgress& progress) {
    const QString name = displayName(m_running.location);
    if (!progress.compilingDevice.empty()) {
        const QString device = m_parts.devices.nameOf(toQString(progress.compilingDevice));
        showActivity(tr("Compiling the kernels of %1 for %2").arg(device, name), -1);
        return;
    }
    if (progress.totalBytes <= 0) {
        showActivity(tr("Opening %1").arg(name), -1);
        return;
    }
    showActivity(
        workText(progress.work)
            .arg(name, QLocale().formattedDataSize(progress.doneBytes),
                 QLocale().formattedDataSize(progress.totalBytes)),
        static_cast<double>(progress.doneBytes) / static_cast<double>(progress.totalBytes));
}

void LoadPresenter::showActivity(const QString& text, double fraction) {
    m_activity = text;
    m_fraction = fraction;
    m_parts.activity.showActivity(m_textFollows ? tr("%1; the text follows").arg(text) : text,
                                  fraction);
}

void LoadPresenter::setTextFollows(bool follows) {
    if (std::exchange(m_textFollows, follows) == follows) return;
    if (m_parts.engine.state() == EngineController::State::Loading)
        showActivity(m_activity, m_fraction);
}

// Also when another model was asked for before the engine's word came: if that one fails, this is the
// model that is left.
void LoadPresenter::noteLoaded(quint64 id) {
    m_loaded = std::move(m_asked.extract(id).mapped());
    m_lastGood = m_loaded;
    m_failed.reset();
    m_parts.recent.add(m_loaded->location);
    m_parts.picker.updateRecent();
    updateModel();
}

void LoadPresenter::showLoaded(const ModelInfo& info) {
    m_parts.activity.finish();
    if (info.notes.empty()) return;
    std::vector<DeviceInfo> devices = m_parts.devices.devices().devices;
    if (devices.empty()) devices = devicesOf(info.placement);  // they are still looked for
    QStringList notes;
    for (const std::string& note : info.notes)
        notes += withDeviceNames(toQString(note), devices);
    Message message;
    message.kind = Message::Kind::Info;
    message.text = notes.takeFirst();
    message.details = notes.join(u'\n');
    m_parts.messages.showMessage(message);
}

void LoadPresenter::showFailure(const Error& error) {
    m_parts.activity.finish();
    m_failed = m_running;
    std::optional<LoadRequest> lost;
    if (!m_parts.engine.model()) lost = m_loaded;
    updateModel();
    if (error.code != ErrorCode::Cancelled)
        explainFailure(error, lost);
    else if (lost)
        explainStop(*lost);
    if (m_loaded)
        goBackTo(*m_loaded);
    else if (lost)
        goBackTo(*lost);
}

// The model in use had to make room before the load was stopped; it is what to load again.
void LoadPresenter::explainStop(const LoadRequest& lost) {
    const QString stopped = displayName(m_running.location);
    const QString before = displayName(lost.location);
    Message message;
    message.kind = Message::Kind::Info;
    message.text = stopped == before
                       ? tr("Loading %1 was stopped. No model is loaded now.").arg(stopped)
                       : tr("Loading %1 was stopped when %2 had already made room for it. No model "
                            "is loaded now.")
                             .arg(stopped, before);
    message.actionText = tr("Load Again");
    message.action = [this] { loadAgain(); };
    m_parts.messages.showMessage(message);
}

void LoadPresenter::explainFailure(const Error& error, const std::optional<LoadRequest>& lost) {
    Message message;
    message.text =
        tr("%1 could not be loaded. %2")
            .arg(displayName(m_running.location),
                 reasonText(m_parts.devices.withNames(error.message), error, m_running.location));
    message.details = tr("Model: %1").arg(pathText(m_running.location.model));
    if (!error.where.empty())
        message.details += u'\n' + tr("Where: %1").arg(toQString(error.where));
    message.details +=
        u'\n' +
        tr("Device: %1")
            .arg(m_parts.devices.namesOf(toQString(m_running.device)).join(QStringLiteral(" + ")));
    if (m_parts.engine.model() && m_loaded)
        message.text += u' ' + tr("%1 is still loaded.").arg(displayName(m_loaded->location));
    else if (lost)
        message.text += u' ' + tr("No model is loaded now.");
    offerHelp(error, message);
    m_parts.messages.showMessage(message);
}

// What failed or was stopped is not what to try again at the next start.
void LoadPresenter::goBackTo(const LoadRequest& request) {
    m_location = request.location;
    place(request);
}

void LoadPresenter::offerHelp(const Error& error, Message& message) {
    const CheckpointLocation location = m_running.location;
    if (lacksTokenizer(error, location)) {
        message.kind = Message::Kind::Warning;
        message.actionText = tr("Choose Tokenizer…");
        message.action = [this, location] { chooseTokenizerFor(location); };
        message.actionAsks = true;
    } else if (lacksParams(error, location)) {
        message.kind = Message::Kind::Warning;
        message.actionText = tr("Choose params.json…");
        message.action = [this, location] { chooseParamsFor(location); };
        message.actionAsks = true;
    } else if (error.code == ErrorCode::OutOfMemory && isOneDeviceAlone(m_running)) {
        offerDivision(message);
    } else if ((error.code == ErrorCode::Device || error.code == ErrorCode::OutOfMemory) &&
               m_running.device != "cpu" && !stillOnCpu() &&
               m_parts.devices.failureChoice() != DeviceFailureChoice::Stop) {
        offerCpu(message, location);
    } else if (!m_parts.engine.model() && m_parts.picker.demoAction()->isEnabled()) {
        message.actionText = tr("Load the Demo Model");
        message.action = [this] { m_parts.picker.demoAction()->trigger(); };
    }
}

// The model that failed elsewhere has not left the CPU.
bool LoadPresenter::stillOnCpu() const {
    return m_parts.engine.model() && m_loaded && m_loaded->device == "cpu" &&
           m_loaded->location.model == m_running.location.model;
}

void LoadPresenter::offerCpu(Message& message, const CheckpointLocation& location) {
    message.actionText = tr("Use the CPU");
    message.action = [this, location] {
        m_division = {};
        m_parts.devices.setCurrent(QStringLiteral("cpu"));
        load(location);
    };
}

void LoadPresenter::offerDivision(Message& message) {
    LoadRequest divided = m_running;
    divided.device += ",cpu";
    message.kind = Message::Kind::Warning;
    message.actionText = tr("Divide It…");
    message.action = [this, divided] { emit planRequested(divided); };
    message.actionAsks = true;
}

// Of the model in use; another one may have been asked for, in vain, after it.
void LoadPresenter::offerOtherDevice(const Error& error) {
    Message message;
    message.text = m_parts.devices.withNames(error.message);
    message.details = toQString(error.where);
    if (m_parts.devices.failureChoice() != DeviceFailureChoice::Stop)
        offerCpu(message, m_loaded ? m_loaded->location : m_running.location);
    m_parts.messages.showMessage(message);
}

// In the middle of a text, which waits for the answer.
void LoadPresenter::askToGoOn(const Error& error) {
    Message message;
    message.kind = Message::Kind::Warning;
    message.text = tr("%1 The text can go on without it: the CPU takes its layers.")
                       .arg(m_parts.devices.withNames(error.message));
    message.details = toQString(error.where);
    message.actionText = tr("Go On Without It");
    message.action = [this] {
        m_asks = false;
        m_parts.activity.showActivity(tr("Moving layers to the CPU"), -1);
        m_parts.engine.answerAboutDevice(true);
    };
    message.unanswered = [this] {
        m_asks = false;
        m_parts.engine.answerAboutDevice(false);
    };
    m_parts.messages.showMessage(message);
    m_asks = true;
}

void LoadPresenter::showMoved(const ModelInfo& info) {
    m_parts.activity.finish();
    if (info.notes.empty()) return;
    m_parts.messages.showMessage({.kind = Message::Kind::Warning,
                                  .text = m_parts.devices.withNames(info.notes.back()),
                                  .details = placementDetails(info.placement),
                                  .actionText = {},
                                  .action = {}});
}

void LoadPresenter::updateModel() {
    // The text was stopped instead.
    if (m_asks && m_parts.engine.state() != EngineController::State::Generating)
        m_parts.messages.withdrawQuestion();
    const auto& model = m_parts.engine.model();
    if (!model) m_loaded.reset();
    m_parts.picker.setModelName(model ? toQString(model->name) : QString());
    // What is being loaded has nothing left to apply either.
    if (m_parts.engine.state() == EngineController::State::Loading)
        m_parts.panel.setLoaded(&m_running);
    else
        m_parts.panel.setLoaded(m_loaded ? &*m_loaded : nullptr, !m_location.model.empty());
}

}  // namespace qllama
