// The button that names the model in use and, as its menu, the ways to another one.
#pragma once

#include <optional>

#include "engine/checkpoint/checkpoint_reader.h"
#include "gui/window/buttons.h"

class QMenu;
class QMimeData;

namespace qllama {

class FileChooser;
class RecentModels;

// Owns its actions; the window puts them into its menu bar as well.
class ModelPicker : public MenuButton {
    Q_OBJECT

public:
    // Both outlive the picker. `demo`: empty where there is no demo model.
    ModelPicker(FileChooser& files, RecentModels& recent, std::optional<std::filesystem::path> demo,
                QWidget* parent = nullptr);

    void setModelName(const QString& name);  // empty: none
    void updateRecent();                     // after a change of the list

    [[nodiscard]] QAction* openFolderAction() const { return m_openFolder; }
    [[nodiscard]] QAction* openFileAction() const { return m_openFile; }
    [[nodiscard]] QAction* demoAction() const { return m_demo; }
    [[nodiscard]] QMenu* recentMenu() const { return m_recentMenu; }

    // The first local file or folder among what was dropped that can be a model.
    static std::optional<CheckpointLocation> modelIn(const QMimeData& data);

signals:
    void modelChosen(const qllama::CheckpointLocation& location);

private:
    void setupActions();
    void openFolder();
    void openFile();

    FileChooser& m_files;
    RecentModels& m_recent;
    std::optional<std::filesystem::path> m_demoFolder;
    QAction* m_openFolder;
    QAction* m_openFile;
    QAction* m_demo;
    QMenu* m_recentMenu;
};

}  // namespace qllama
