#include "gui/window/file_chooser.h"

#include <QFileDialog>

namespace qllama {

void DialogFileChooser::openFile(QWidget* parent, const QString& title, const QString& filter,
                                 const Answer& answer) {
    auto* dialog = new QFileDialog(parent, title, m_folder, filter);
    dialog->setFileMode(QFileDialog::ExistingFile);
    show(dialog, answer);
}

void DialogFileChooser::openFolder(QWidget* parent, const QString& title, const Answer& answer) {
    auto* dialog = new QFileDialog(parent, title, m_folder);
    dialog->setFileMode(QFileDialog::Directory);
    dialog->setOption(QFileDialog::ShowDirsOnly);
    show(dialog, answer);
}

void DialogFileChooser::saveFile(QWidget* parent, const QString& title,
                                 const QString& suggestedName, const Answer& answer) {
    auto* dialog = new QFileDialog(parent, title, m_folder);
    dialog->setAcceptMode(QFileDialog::AcceptSave);
    dialog->setFileMode(QFileDialog::AnyFile);
    dialog->selectFile(suggestedName);
    show(dialog, answer);
}

// open(), not exec(): no event loop inside the event loop.
void DialogFileChooser::show(QFileDialog* dialog, const Answer& answer) {
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    QObject::connect(dialog, &QFileDialog::fileSelected, dialog,
                     [this, dialog, answer](const QString& path) {
                         m_folder = dialog->directory().absolutePath();
                         answer(path);
                     });
    dialog->open();
}

}  // namespace qllama
