// The generated text, run after run, as it streams in.
#pragma once

#include <QList>
#include <QPlainTextEdit>
#include <string>
#include <vector>

#include "engine/session/generation_types.h"

namespace qllama {

// Text is only ever appended at the end, so a token costs the same after a million as after one.
// Scrolls along while the end is in view and leaves the user alone otherwise.
class OutputView : public QPlainTextEdit {
    Q_OBJECT

public:
    explicit OutputView(QWidget* parent = nullptr);

    void beginRun(const std::string& prompt);
    void appendTokens(const QList<TokenChunk>& chunks);
    // `note`: how the run ended and how fast it was, in a dimmed line below the text.
    void endRun(const QString& note);
    void clearRuns();

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

    void append(const QString& text, Role role, const TokenChunk& chunk);
    [[nodiscard]] QTextCharFormat formatOf(Role role, const TokenChunk& chunk) const;
    void recolor();
    [[nodiscard]] bool isAtEnd() const;
    void scrollToEnd();
    [[nodiscard]] int positionAt(const QPoint& point) const;

    std::vector<Span> m_spans;  // in the order of the document
    std::vector<Run> m_runs;
    bool m_colors = true;
};

}  // namespace qllama
