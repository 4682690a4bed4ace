#include "gui/window/model_picker.h"

#include <QAction>
#include <QFileInfo>
#include <QMenu>
#include <QMimeData>
#include <QUrl>

#include "gui/window/file_chooser.h"
#include "gui/window/paths.h"
#include "gui/window/recent_models.h"
#include "gui/window/symbolic_icon.h"
#include "gui/window/text.h"

namespace qllama {
namespace {

constexpr int kMostNamePixels = 220;

CheckpointLocation locationAt(const QString& path) {
    CheckpointLocation location;
    location.model = toPath(path);
    return location;
}

}  // namespace

ModelPicker::ModelPicker(FileChooser& files, RecentModels& recent,
                         std::optional<std::filesystem::path> demo, QWidget* parent)
    : MenuButton(parent),
      m_files(files),
      m_recent(recent),
      m_demoFolder(std::move(demo)),
      m_openFolder(new QAction(symbolicIcon(QStringLiteral("open-folder")),
                               tr("&Open Model Folder…"), this)),
      m_openFile(
          new QAction(symbolicIcon(QStringLiteral("open-file")), tr("Open Model &File…"), this)),
      m_demo(new QAction(tr("&Demo Model"), this)),
      m_recentMenu(new QMenu(tr("&Recent Models"), this)) {
    setObjectName(QStringLiteral("modelPicker"));
    setIcon(symbolicIcon(QStringLiteral("model")));
    setupActions();
    auto* menu = new QMenu(this);
    menu->addActions({m_openFolder, m_openFile, m_demo});
    menu->addSeparator();
    menu->addMenu(m_recentMenu);
    setMenu(menu);
    setModelName({});
    updateRecent();
}

void ModelPicker::setupActions() {
    m_openFolder->setShortcut(QKeySequence::Open);
    m_openFolder->setToolTip(tr("A folder with consolidated.*.pth, params.json, tokenizer.model"));
    m_openFile->setShortcut(QKeySequence(Qt::CTRL | Qt::SHIFT | Qt::Key_O));
    m_openFile->setToolTip(tr("A .pth file or a params.json; its neighbours are found by name"));
    m_demo->setEnabled(m_demoFolder.has_value());
    m_recentMenu->setToolTipsVisible(true);
    connect(m_openFolder, &QAction::triggered, this, &ModelPicker::openFolder);
    connect(m_openFile, &QAction::triggered, this, &ModelPicker::openFile);
    connect(m_demo, &QAction::triggered, this, [this] {
        if (m_demoFolder) emit modelChosen({.model = *m_demoFolder, .tokenizer = {}, .params = {}});
    });
}

void ModelPicker::setModelName(const QString& name) {
    const QString shown = name.isEmpty() ? tr("No model") : name;
    // An ampersand in a name is not a shortcut.
    setName(shown, kMostNamePixels);
    setToolTip(tr("Model: %1. Click to choose another one.").arg(shown));
    setAccessibleName(tr("Model: %1").arg(shown));
}

void ModelPicker::updateRecent() {
    m_recentMenu->clear();
    m_recentMenu->setEnabled(!m_recent.locations().empty());
    for (const CheckpointLocation& location : m_recent.locations()) {
        QAction* action = m_recentMenu->addAction(withoutShortcuts(displayName(location)));
        action->setToolTip(pathText(location.model));
        connect(action, &QAction::triggered, this,
                [this, location] { emit modelChosen(location); });
    }
    m_recentMenu->addSeparator();
    connect(m_recentMenu->addAction(tr("&Forget These")), &QAction::triggered, this, [this] {
        m_recent.clear();
        updateRecent();
    });
}

void ModelPicker::openFolder() {
    m_files.openFolder(window(), tr("Open Model Folder"),
                       [this](const QString& path) { emit modelChosen(locationAt(path)); });
}

void ModelPicker::openFile() {
    m_files.openFile(window(), tr("Open Model File"), tr("Models (*.pth *.json);;All files (*)"),
                     [this](const QString& path) { emit modelChosen(locationAt(path)); });
}

std::optional<CheckpointLocation> ModelPicker::modelIn(const QMimeData& data) {
    for (const QUrl& url : data.urls()) {
        if (!url.isLocalFile()) continue;
        const QFileInfo info(url.toLocalFile());
        const QString suffix = info.suffix().toLower();
        if (info.isDir() || suffix == u"pth" || suffix == u"json")
            return locationAt(info.absoluteFilePath());
    }
    return std::nullopt;
}

}  // namespace qllama
