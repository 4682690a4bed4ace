// Shows the quantised and packed weights that are kept on disk between starts, and deletes them on request.
#pragma once

#include <QDialog>
#include <filesystem>
#include <vector>

#include "engine/quant/weight_cache.h"
#include "gui/window/background_task.h"

class QLabel;
class QPushButton;
class QTreeWidget;

namespace qllama {

// Looks and deletes in a thread of its own. What went wrong is said in the dialog.
class WeightCacheDialog : public QDialog {
    Q_OBJECT

public:
    // `folder`: see LoadRequest::weightCacheFolder; empty: there is none.
    explicit WeightCacheDialog(std::filesystem::path folder, QWidget* parent = nullptr);

    // Looks again, if the dialog is visible.
    void refresh();

protected:
    void showEvent(QShowEvent* event) override;

private:
    void setupList();
    void setupLayout();
    void showEntries(const Result<std::vector<WeightCacheEntry>>& entries);
    void askToClear();
    void clear();

    std::filesystem::path m_folder;
    std::vector<WeightCacheEntry> m_entries;
    QString m_problem;         // of clearing, until it is tried again
    bool m_lookAgain = false;  // asked for while busy
    QTreeWidget* m_list;
    QLabel* m_total;
    QPushButton* m_clear;
    BackgroundTask m_task;  // goes first: it waits for what uses the rest
};

}  // namespace qllama
