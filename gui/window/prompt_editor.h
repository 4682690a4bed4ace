// Where the prompt is written, or opened from a file and then used byte for byte.
#pragma once

#include <QPlainTextEdit>
#include <QWidget>
#include <optional>
#include <string>

class QLabel;
class QMimeData;

namespace qllama {

// A plain text field that passes dropped files on instead of typing their addresses.
class PromptTextEdit : public QPlainTextEdit {
    Q_OBJECT

public:
    explicit PromptTextEdit(QWidget* parent = nullptr);

    // The text in UTF-8 with nothing lost (toPlainText() turns no-break spaces into spaces).
    [[nodiscard]] std::string bytes() const;

signals:
    void filesDropped(const QMimeData* data);  // valid only during the signal

protected:
    void dragEnterEvent(QDragEnterEvent* event) override;
    void dragMoveEvent(QDragMoveEvent* event) override;
    void dropEvent(QDropEvent* event) override;
    [[nodiscard]] bool canInsertFromMimeData(const QMimeData* source) const override;
    void insertFromMimeData(const QMimeData* source) override;
};

class PromptEditor : public QWidget {
    Q_OBJECT

public:
    explicit PromptEditor(QWidget* parent = nullptr);

    // What to give to the model. While the user has not edited it, it is exactly what was set,
    // whatever the text field makes of its bytes.
    [[nodiscard]] std::string prompt() const;
    void setPrompt(const std::string& prompt);
    void setPromptFromFile(const std::string& bytes, const QString& fileName);
    // Empty, or the name of the file whose bytes the prompt is.
    [[nodiscard]] QString sourceFile() const { return m_exactBytes ? m_fileName : QString(); }

    [[nodiscard]] PromptTextEdit* textEdit() const { return m_edit; }
    // Where the window puts its button that opens a file.
    void addHeaderWidget(QWidget* widget);

signals:
    void filesDropped(const QMimeData* data);  // valid only during the signal

private:
    void noteEdited();
    void showSource();

    PromptTextEdit* m_edit;
    QLabel* m_title;
    QLabel* m_source;
    std::optional<std::string> m_exactBytes;
    QString m_fileName;
    int m_length = 0;  // of the text before a change
    bool m_settingText = false;
};

}  // namespace qllama
