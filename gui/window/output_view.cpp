#include "gui/window/output_view.h"

#include <QApplication>
#include <QClipboard>
#include <QElapsedTimer>
#include <QHelpEvent>
#include <QMimeData>
#include <QPainter>
#include <QScrollBar>
#include <QTextBlock>
#include <QTextDocument>
#include <QTextDocumentFragment>
#include <QTextFrame>
#include <QToolTip>
#include <algorithm>
#include <utility>

#include "gui/window/text.h"
#include "gui/window/theme.h"
#include "gui/window/token_tip.h"

namespace qllama {
namespace {

constexpr double kLineHeightPercent = 135;
constexpr int kMargin = 16;
constexpr int kColumnCharacters = 96;  // longer lines are hard to follow to the next
constexpr int kHintCharacters = 48;
// After laying out and painting for a time, tokens rest a hundred times that, so that the text takes 1 % of
// a core from an engine that has use for all of them: a long paragraph is laid out and painted whole for each
// new word. But not so long that the text seems to have stopped, whatever has to be painted meanwhile.
constexpr int kRestFactor = 100;
constexpr qint64 kLongestRestMs = 300;

QTextBlockFormat blockFormat(double spaceAbove) {
    QTextBlockFormat format;
    format.setLineHeight(kLineHeightPercent, QTextBlockFormat::ProportionalHeight);
    format.setTopMargin(spaceAbove);
    return format;
}

}  // namespace

OutputView::OutputView(QWidget* parent) : QTextEdit(parent) {
    setObjectName(QStringLiteral("outputView"));
    setReadOnly(true);
    setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
    setUndoRedoEnabled(false);
    setAcceptDrops(false);  // what is dropped here is meant for the window
    viewport()->setAcceptDrops(false);
    setTabChangesFocus(true);
    setAccessibleName(tr("Output"));
    document()->setDocumentMargin(0);
    m_rest.setSingleShot(true);
    connect(&m_rest, &QTimer::timeout, this, &OutputView::flush);
}

void OutputView::beginRun(const std::string& prompt) {
    const bool wasBlank = isBlank();
    beginBlock(wasBlank ? 0 : 1.6 * fontMetrics().height());
    m_runs.push_back({prompt, {}});
    append(toQString(prompt), Role::Prompt, {});
    scrollToEnd();
    if (wasBlank) emit blankChanged(false);
}

void OutputView::appendTokens(const QList<TokenChunk>& chunks) {
    if (m_runs.empty()) return;
    for (const TokenChunk& chunk : chunks)
        m_runs.back().continuation += chunk.text;
    m_pending += chunks;
    if (!m_rest.isActive()) flush();
}

void OutputView::flush() {
    if (m_pending.isEmpty()) return;
    QElapsedTimer elapsed;
    elapsed.start();
    const bool follow = isAtEnd();
    QTextCursor batch(document());
    batch.beginEditBlock();  // one layout for all of them
    for (const TokenChunk& chunk : std::exchange(m_pending, {}))
        append(toQString(chunk.text), Role::Token, chunk);
    batch.endEditBlock();
    if (follow) scrollToEnd();
    m_sinceFlush.start();
    m_workNs = 0;
    restAfter(elapsed.nsecsElapsed());
}

// After work that this portion of the text has made.
void OutputView::restAfter(qint64 workNs) {
    m_workNs += workNs;
    const qint64 restMs = std::min(m_workNs * kRestFactor / 1'000'000, kLongestRestMs);
    const qint64 leftMs = restMs - m_sinceFlush.elapsed();
    if (leftMs > 0) m_rest.start(static_cast<int>(leftMs));
}

void OutputView::endRun(const QString& note) {
    if (m_runs.empty()) return;  // cleared meanwhile
    m_rest.stop();
    flush();
    m_rest.stop();
    const bool follow = isAtEnd();
    beginBlock(0.25 * fontMetrics().height());
    append(note, Role::Note, {});
    if (follow) scrollToEnd();
}

void OutputView::clearRuns() {
    m_rest.stop();
    m_pending.clear();
    m_spans.clear();
    m_runs.clear();
    hideTip();
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

void OutputView::beginBlock(double spaceAbove) {
    QTextCursor cursor(document());
    cursor.movePosition(QTextCursor::End);
    if (document()->isEmpty())
        cursor.setBlockFormat(blockFormat(spaceAbove));
    else
        cursor.insertBlock(blockFormat(spaceAbove));
}

void OutputView::append(const QString& text, Role role, const TokenChunk& chunk) {
    if (text.isEmpty()) return;
    QTextCursor cursor(document());
    cursor.movePosition(QTextCursor::End);
    const int begin = cursor.position();
    cursor.insertText(text, formatOf(role, chunk));
    // Only the first line of a run or note keeps away from what is above it.
    for (QTextBlock line = document()->findBlock(begin).next(); line.isValid(); line = line.next())
        QTextCursor(line).setBlockFormat(blockFormat(0));
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
            format.setForeground(m_colors ? shadeOf(chunk.probability)
                                          : palette().color(QPalette::Text));
            break;
        case Role::Note:
            format.setForeground(dimmedTextColor(palette()));
            format.setProperty(QTextFormat::FontSizeAdjustment,
                               -1);  // one step, also after zooming
            break;
    }
    return format;
}

// Finding a colour that can be read takes longer than the rest of adding a token.
QColor OutputView::shadeOf(double probability) const {
    QColor& shade = m_shades[static_cast<std::size_t>(tokenShade(probability))];
    if (!shade.isValid()) shade = tokenColor(probability, palette());
    return shade;
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

const OutputView::Span* OutputView::spanAt(int position) const {
    const auto after = std::upper_bound(m_spans.begin(), m_spans.end(), position,
                                        [](int at, const Span& span) { return at < span.begin; });
    if (after == m_spans.begin()) return nullptr;
    const Span& span = *std::prev(after);
    return position < span.end ? &span : nullptr;
}

QString OutputView::tokenTip(int position) const {
    const Span* span = spanAt(position);
    if (!span || span->role == Role::Note) return {};
    return span->role == Role::Prompt ? tr("Prompt") : tokenTipHtml(span->chunk);
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
    if (event->type() != QEvent::ToolTip) return QTextEdit::viewportEvent(event);
    const auto* help = static_cast<QHelpEvent*>(event);
    const int position = positionAt(help->pos());
    const QString tip = position < 0 ? QString() : tokenTip(position);
    if (tip.isEmpty())
        QToolTip::hideText();
    else
        QToolTip::showText(help->globalPos(), tip, viewport(), tokenRect(position));
    return true;
}

// Of the token at a position, as far as it is on that line: while the pointer stays there, so does the
// tip.
QRect OutputView::tokenRect(int position) const {
    const Span& span = *spanAt(position);
    QTextCursor begin(document());
    begin.setPosition(position);
    QTextCursor end = begin;
    begin.movePosition(QTextCursor::StartOfLine);
    end.movePosition(QTextCursor::EndOfLine);
    begin.setPosition(std::max(begin.position(), span.begin));
    end.setPosition(std::min(end.position(), span.end));
    return cursorRect(begin).united(cursorRect(end));
}

// The pointer is then over something else, without having moved.
void OutputView::hideTip() {
    if (QToolTip::isVisible()) QToolTip::hideText();
}

void OutputView::scrollContentsBy(int dx, int dy) {
    hideTip();
    QTextEdit::scrollContentsBy(dx, dy);
}

void OutputView::changeEvent(QEvent* event) {
    const bool follow = isAtEnd();
    QTextEdit::changeEvent(event);
    if (event->type() == QEvent::PaletteChange) {
        m_shades.fill({});
        recolor();
    }
    if (event->type() != QEvent::FontChange) return;
    fitColumn();
    if (follow) scrollToEnd();
}

void OutputView::resizeEvent(QResizeEvent* event) {
    const bool follow = isAtEnd();
    QTextEdit::resizeEvent(event);
    fitColumn();
    if (follow) scrollToEnd();
}

// In a wide window the text stays a column of a readable width, in the middle.
void OutputView::fitColumn() {
    const int column = kColumnCharacters * fontMetrics().averageCharWidth();
    const int side = std::max(kMargin, (viewport()->width() - column) / 2);
    QTextFrameFormat format = document()->rootFrame()->frameFormat();
    if (format.leftMargin() == side && format.topMargin() == kMargin) return;
    format.setLeftMargin(side);
    format.setRightMargin(side);
    format.setTopMargin(kMargin);
    format.setBottomMargin(kMargin);
    document()->rootFrame()->setFrameFormat(format);
}

void OutputView::setHint(const QString& hint) {
    m_hint = hint;
    setAccessibleDescription(hint);
    if (isBlank()) viewport()->update();
}

void OutputView::paintEvent(QPaintEvent* event) {
    QElapsedTimer elapsed;
    elapsed.start();
    QTextEdit::paintEvent(event);
    if (m_rest.isActive()) restAfter(elapsed.nsecsElapsed());
    if (!isBlank()) return;
    QPainter painter(viewport());
    painter.setPen(dimmedTextColor(palette()));
    const int width = std::min(viewport()->width() - 2 * kMargin,
                               kHintCharacters * fontMetrics().averageCharWidth());
    QRect column(0, 0, width, viewport()->height());
    column.moveCenter(viewport()->rect().center());
    const int flags = Qt::AlignCenter | Qt::TextWordWrap;
    if (column.contains(painter.boundingRect(column, flags, m_hint)))
        painter.drawText(column, flags, m_hint);
}

QMimeData* OutputView::createMimeDataFromSelection() const {
    auto* data = new QMimeData;
    data->setText(textCursor().selection().toPlainText());
    return data;
}

}  // namespace qllama
