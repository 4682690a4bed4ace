// The generated text, run after run, as it streams in.
#pragma once

#include <QElapsedTimer>
#include <QList>
#include <QTextEdit>
#include <QTimer>
#include <array>
#include <string>
#include <vector>

#include "engine/session/generation_types.h"
#include "gui/window/theme.h"

namespace qllama {

// Text is only ever appended at the end, never set anew. Scrolls along while the end is in view and
// leaves the user alone otherwise. Drawing never takes more than a small part of the time: where
// laying out gets slow (a paragraph of many thousand tokens), it happens less often.
class OutputView : public QTextEdit {
    Q_OBJECT

public:
    explicit OutputView(QWidget* parent = nullptr);

    void beginRun(const std::string& prompt);
    void appendTokens(const QList<TokenChunk>& chunks);
    // `note`: how the run ended and how fast it was, in a dimmed line below the text. Tokens and note of
    // a run that was cleared before its end are not shown.
    void endRun(const QString& note);
    void clearRuns();

    // What to say in the middle of the view while there is nothing in it.
    void setHint(const QString& hint);
    [[nodiscard]] QString hint() const { return m_hint; }

    [[nodiscard]] bool isBlank() const { return m_runs.empty(); }
    // Prompts and continuations as bytes, runs separated by an empty line, without the notes.
    [[nodiscard]] std::string allText() const;
    // What the model added in the last run.
    [[nodiscard]] const std::string& lastContinuation() const;
    // The tool tip of the token at a document position; empty where there is none.
    [[nodiscard]] QString tokenTip(int position) const;

public slots:
    void setTokenColors(bool enabled);
    // The selection, or everything when nothing is selected.
    void copyText() const;

signals:
    void blankChanged(bool blank);

protected:
    bool viewportEvent(QEvent* event) override;
    void changeEvent(QEvent* event) override;
    void resizeEvent(QResizeEvent* event) override;
    void paintEvent(QPaintEvent* event) override;
    void scrollContentsBy(int dx, int dy) override;
    // Text alone: colours and sizes are of no use elsewhere.
    [[nodiscard]] QMimeData* createMimeDataFromSelection() const override;

private:
    enum class Role { Prompt, Token, Note };
    struct Span {  // [begin, end) in the document
        int begin = 0;
        int end = 0;
        Role role = Role::Token;
        TokenChunk chunk;  // of a Token
    };
    struct Run {
        std::string prompt;
        std::string continuation;
    };

    void beginBlock(double spaceAbove);
    void append(const QString& text, Role role, const TokenChunk& chunk);
    void flush();
    void restAfter(qint64 workNs);
    [[nodiscard]] QTextCharFormat formatOf(Role role, const TokenChunk& chunk) const;
    [[nodiscard]] QColor shadeOf(double probability) const;
    void recolor();
    void fitColumn();
    [[nodiscard]] bool isAtEnd() const;
    void scrollToEnd();
    [[nodiscard]] int positionAt(const QPoint& point) const;
    [[nodiscard]] const Span* spanAt(int position) const;  // nullptr: none
    [[nodiscard]] QRect tokenRect(int position) const;
    static void hideTip();

    std::vector<Span> m_spans;  // in the order of the document
    std::vector<Run> m_runs;
    QList<TokenChunk> m_pending;  // not yet in the document
    QTimer m_rest;                // while it runs, tokens wait
    QElapsedTimer m_sinceFlush;
    qint64 m_workNs = 0;  // since then, for the text
    QString m_hint;
    bool m_colors = true;
    // Colours of tokens in this palette; invalid: not asked for yet.
    mutable std::array<QColor, kTokenShades> m_shades;
};

}  // namespace qllama
