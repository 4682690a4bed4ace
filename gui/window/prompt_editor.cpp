#include "gui/window/prompt_editor.h"

#include <QDragEnterEvent>
#include <QDropEvent>
#include <QHBoxLayout>
#include <QLabel>
#include <QLocale>
#include <QMimeData>
#include <QTextBlock>
#include <QTextDocument>
#include <QVBoxLayout>
#include <utility>

#include "gui/window/text.h"

namespace qllama {

PromptTextEdit::PromptTextEdit(QWidget* parent) : QPlainTextEdit(parent) {
    setObjectName(QStringLiteral("promptEdit"));
    setTabChangesFocus(true);
    setAccessibleName(tr("Prompt"));
    setPlaceholderText(tr("Write the beginning of a text; the model goes on from there."));
    document()->setDocumentMargin(8);
}

std::string PromptTextEdit::bytes() const {
    QString text = document()->toRawText();
    text.replace(QChar::ParagraphSeparator, u'\n');
    text.replace(QChar::LineSeparator, u'\n');  // Shift+Return
    return text.toStdString();
}

void PromptTextEdit::dragEnterEvent(QDragEnterEvent* event) {
    if (event->mimeData()->hasUrls())
        event->acceptProposedAction();
    else
        QPlainTextEdit::dragEnterEvent(event);
}

void PromptTextEdit::dragMoveEvent(QDragMoveEvent* event) {
    if (event->mimeData()->hasUrls())
        event->acceptProposedAction();
    else
        QPlainTextEdit::dragMoveEvent(event);
}

void PromptTextEdit::dropEvent(QDropEvent* event) {
    if (!event->mimeData()->hasUrls()) {
        QPlainTextEdit::dropEvent(event);
        return;
    }
    event->acceptProposedAction();
    emit filesDropped(event->mimeData());
}

bool PromptTextEdit::canInsertFromMimeData(const QMimeData* source) const {
    return source->hasText();
}

void PromptTextEdit::insertFromMimeData(const QMimeData* source) {
    insertPlainText(source->text());
}

PromptEditor::PromptEditor(QWidget* parent)
    : QWidget(parent),
      m_edit(new PromptTextEdit(this)),
      m_title(new QLabel(tr("&Prompt"), this)),
      m_source(new QLabel(this)) {
    m_title->setBuddy(m_edit);
    m_source->setTextFormat(Qt::PlainText);
    m_source->setObjectName(QStringLiteral("promptSource"));
    m_source->setForegroundRole(QPalette::PlaceholderText);
    auto* header = new QHBoxLayout;
    header->setObjectName(QStringLiteral("promptHeader"));
    header->addWidget(m_title);
    header->addSpacing(8);
    header->addWidget(m_source, 1);
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setSpacing(4);
    layout->addLayout(header);
    layout->addWidget(m_edit, 1);
    m_edit->setMinimumHeight(3 *
                             m_edit->fontMetrics().lineSpacing());  // two lines and their margin
    connect(
        m_edit->document(), &QTextDocument::contentsChange, this, [this](int, int removed, int) {
            // Nothing of the file is left.
            if (!m_settingText && removed >= m_length) m_fileName.clear();
            m_length = m_edit->document()->characterCount() - 1;  // without the last block's end
        });
    connect(m_edit, &QPlainTextEdit::textChanged, this, &PromptEditor::noteEdited);
    connect(m_edit, &PromptTextEdit::filesDropped, this, &PromptEditor::filesDropped);
    showSource();
}

std::string PromptEditor::prompt() const {
    return m_exactBytes ? *m_exactBytes : m_edit->bytes();
}

void PromptEditor::setPrompt(const std::string& prompt) {
    m_settingText = true;
    m_edit->setPlainText(toQString(prompt));
    m_settingText = false;
    m_edit->moveCursor(QTextCursor::End);
    // Not everything survives an editor: bytes that are no text, carriage returns.
    m_exactBytes.reset();
    if (m_edit->bytes() != prompt) m_exactBytes = prompt;
    m_fileName.clear();
    showSource();
}

void PromptEditor::setPromptFromFile(const std::string& bytes, const QString& fileName) {
    setPrompt(bytes);
    m_edit->moveCursor(QTextCursor::Start);
    m_exactBytes = bytes;
    m_fileName = fileName;
    showSource();
}

void PromptEditor::addHeaderWidget(QWidget* widget) {
    findChild<QHBoxLayout*>(QStringLiteral("promptHeader"))->addWidget(widget);
}

void PromptEditor::noteEdited() {
    if (m_settingText) return;
    m_exactBytes.reset();
    showSource();
}

void PromptEditor::showSource() {
    if (!m_exactBytes) {
        m_source->setText(m_fileName.isEmpty() ? QString() : tr("%1, edited").arg(m_fileName));
        if (m_edit->document()->isEmpty()) m_source->clear();
        return;
    }
    const auto size = static_cast<qint64>(m_exactBytes->size());
    const QString bytes = QLocale().formattedDataSize(size);
    m_source->setText(m_fileName.isEmpty() ? tr("%1 byte for byte").arg(bytes)
                                           : tr("%1, %2 byte for byte").arg(m_fileName, bytes));
}

}  // namespace qllama
