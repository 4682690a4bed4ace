#include "gui/window/output_view.h"

#include <QApplication>
#include <QClipboard>
#include <QHelpEvent>
#include <QScrollBar>
#include <QTextDocument>
#include <QTextDocumentFragment>
#include <QToolTip>
#include <algorithm>

#include "gui/window/text.h"
#include "gui/window/theme.h"
#include "gui/window/token_tip.h"

namespace qllama {

OutputView::OutputView(QWidget* parent) : QPlainTextEdit(parent) {
    setObjectName(QStringLiteral("outputView"));
    setReadOnly(true);
    setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
    setUndoRedoEnabled(false);
    setAcceptDrops(false);  // what is dropped here is meant for the window
    viewport()->setAcceptDrops(false);
    setAccessibleName(tr("Output"));
    document()->setDocumentMargin(12);
}

void OutputView::beginRun(const std::string& prompt) {
    const bool wasBlank = isBlank();
    if (!wasBlank) append(QStringLiteral("\n\n"), Role::Note, {});
    m_runs.push_back({prompt, {}});
    append(toQString(prompt), Role::Prompt, {});
    scrollToEnd();
    if (wasBlank) emit blankChanged(false);
}

void OutputView::appendTokens(const QList<TokenChunk>& chunks) {
    if (m_runs.empty()) return;
    const bool follow = isAtEnd();
    QTextCursor batch(document());
    batch.beginEditBlock();  // one layout for all of them
    for (const TokenChunk& chunk : chunks) {
        m_runs.back().continuation += chunk.text;
        append(toQString(chunk.text), Role::Token, chunk);
    }
    batch.endEditBlock();
    if (follow) scrollToEnd();
}

void OutputView::endRun(const QString& note) {
    const bool follow = isAtEnd();
    append(u'\n' + note, Role::Note, {});
    if (follow) scrollToEnd();
}

void OutputView::clearRuns() {
    m_spans.clear();
    m_runs.clear();
    clear();
    emit blankChanged(true);
}

std::string OutputView::allText() const {
    std::string text;
    for (const Run& run : m_runs) {
        if (!text.empty()) text += "\n\n";
        text += run.prompt + run.continuation;
    }
    return text;
}

const std::string& OutputView::lastContinuation() const {
    static const std::string kNone;
    return m_runs.empty() ? kNone : m_runs.back().continuation;
}

void OutputView::append(const QString& text, Role role, const TokenChunk& chunk) {
    if (text.isEmpty()) return;
    QTextCursor cursor(document());
    cursor.movePosition(QTextCursor::End);
    const int begin = cursor.position();
    cursor.insertText(text, formatOf(role, chunk));
    // Not begin plus the length of the text: the document joins "\r\n", for one.
    m_spans.push_back({begin, cursor.position(), role, chunk});
}

QTextCharFormat OutputView::formatOf(Role role, const TokenChunk& chunk) const {
    QTextCharFormat format;
    switch (role) {
        case Role::Prompt:
            format.setForeground(promptColor(palette()));
            break;
        case Role::Token:
            format.setForeground(m_colors ? tokenColor(chunk.probability, palette())
                                          : palette().color(QPalette::Text));
            break;
        case Role::Note:
            format.setForeground(dimmedTextColor(palette()));
            format.setFontPointSize(font().pointSizeF() * 0.88);
            break;
    }
    return format;
}

void OutputView::setTokenColors(bool enabled) {
    if (m_colors == enabled) return;
    m_colors = enabled;
    recolor();
}

void OutputView::recolor() {
    QTextCursor cursor(document());
    cursor.beginEditBlock();
    for (const Span& span : m_spans) {
        cursor.setPosition(span.begin);
        cursor.setPosition(span.end, QTextCursor::KeepAnchor);
        cursor.setCharFormat(formatOf(span.role, span.chunk));
    }
    cursor.endEditBlock();
}

void OutputView::copyText() const {
    const QTextCursor cursor = textCursor();
    QString text = toQString(allText());
    if (cursor.hasSelection()) text = cursor.selection().toPlainText();
    QApplication::clipboard()->setText(text);
}

bool OutputView::isAtEnd() const {
    return verticalScrollBar()->value() >= verticalScrollBar()->maximum();
}

void OutputView::scrollToEnd() {
    verticalScrollBar()->setValue(verticalScrollBar()->maximum());
}

QString OutputView::tokenTip(int position) const {
    const auto after = std::upper_bound(m_spans.begin(), m_spans.end(), position,
                                        [](int at, const Span& span) { return at < span.begin; });
    if (after == m_spans.begin()) return {};
    const Span& span = *std::prev(after);
    if (position >= span.end || span.role == Role::Note) return {};
    return span.role == Role::Prompt ? tr("Prompt") : tokenTipHtml(span.chunk);
}

// The character under a point of the viewport, -1 for none. cursorForPosition() gives the nearest
// gap between characters, which may be the one behind the character that is meant.
int OutputView::positionAt(const QPoint& point) const {
    const QTextCursor nearest = cursorForPosition(point);
    const QRect caret = cursorRect(nearest);
    if (point.y() < caret.top() || point.y() > caret.bottom()) return -1;
    return point.x() < caret.left() ? nearest.position() - 1 : nearest.position();
}

bool OutputView::viewportEvent(QEvent* event) {
    if (event->type() != QEvent::ToolTip) return QPlainTextEdit::viewportEvent(event);
    const auto* help = static_cast<QHelpEvent*>(event);
    const int position = positionAt(help->pos());
    const QString tip = position < 0 ? QString() : tokenTip(position);
    if (tip.isEmpty())
        QToolTip::hideText();
    else
        QToolTip::showText(help->globalPos(), tip, viewport());
    return true;
}

void OutputView::changeEvent(QEvent* event) {
    QPlainTextEdit::changeEvent(event);
    if (event->type() == QEvent::PaletteChange) recolor();
}

}  // namespace qllama
