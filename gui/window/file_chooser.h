// Asks the user for a file or folder. An interface, so that a test can answer instead of a dialog.
#pragma once

#include <QString>
#include <functional>

class QFileDialog;
class QWidget;

namespace qllama {

// The answer comes later, by a call on the window's thread; no call: the user thought better of it.
class FileChooser {
public:
    using Answer = std::function<void(const QString& path)>;

    virtual ~FileChooser() = default;
    virtual void openFile(QWidget* parent, const QString& title, const QString& filter,
                          const Answer& answer) = 0;
    virtual void openFolder(QWidget* parent, const QString& title, const Answer& answer) = 0;
    virtual void saveFile(QWidget* parent, const QString& title, const QString& suggestedName,
                          const Answer& answer) = 0;
};

// The desktop's own dialogs. Remembers the folder of the last answer.
class DialogFileChooser final : public FileChooser {
public:
    void openFile(QWidget* parent, const QString& title, const QString& filter,
                  const Answer& answer) override;
    void openFolder(QWidget* parent, const QString& title, const Answer& answer) override;
    void saveFile(QWidget* parent, const QString& title, const QString& suggestedName,
                  const Answer& answer) override;

private:
    void show(QFileDialog* dialog, const Answer& answer);

    QString m_folder;
};

}  // namespace qllama
