// The output: append-only text, colours by probability, tool tips, scrolling.
#include <QApplication>
#include <QClipboard>
#include <QHelpEvent>
#include <QScrollBar>
#include <QSignalSpy>
#include <QTest>
#include <QTextBlock>
#include <QTimer>
#include <QToolTip>

#include "gui/window/application.h"
#include "gui/window/output_view.h"
#include "gui/window/theme.h"
#include "gui/window/token_tip.h"
#include "tests/gui/scripted_engine.h"

using namespace qllama;

class TestOutputView : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { prepareApplication(); }

    void cleanup() { applyTheme(Theme::System); }

    void showsPromptTokensAndNote() {
        OutputView view;
        QSignalSpy blank(&view, &OutputView::blankChanged);
        view.beginRun("Once");
        view.appendTokens({chunkOf(" upon"), chunkOf(" a time")});
        view.endRun("Stopped");
        QCOMPARE(view.toPlainText(), "Once upon a time\nStopped");
        QCOMPARE(view.lastContinuation(), " upon a time");
        view.beginRun("Twice");
        view.appendTokens({chunkOf("!")});
        QTRY_COMPARE(view.toPlainText(), "Once upon a time\nStopped\nTwice!");
        QCOMPARE(view.allText(), "Once upon a time\n\nTwice!");
        QCOMPARE(blank.count(), 1);
        view.clearRuns();
        QVERIFY(view.isBlank());
        QVERIFY(view.toPlainText().isEmpty());
        QCOMPARE(blank.count(), 2);
    }

    void textArrivesWhilePaintingGoesOn() {
        OutputView view;
        view.resize(600, 400);
        view.show();
        QVERIFY(QTest::qWaitForWindowExposed(&view));
        view.beginRun(std::string(20'000, 'x'));  // takes a while to paint
        view.appendTokens({chunkOf("first ")});
        view.appendTokens({chunkOf("last")});  // waits
        // Whoever drags a selection has it painted over and over.
        QTimer painting;
        connect(&painting, &QTimer::timeout, &view, [&view] { view.viewport()->repaint(); });
        painting.start(0);
        QTRY_VERIFY(view.toPlainText().endsWith("first last"));
    }

    void clearingInTheMiddleOfARunLeavesNothing() {
        OutputView view;
        view.beginRun("Once");
        view.appendTokens({chunkOf(" upon")});
        view.clearRuns();
        view.appendTokens({chunkOf(" a time")});
        view.endRun("Stopped");
        QVERIFY(view.isBlank());
        QCOMPARE(view.toPlainText(), "");  // the hint is drawn there
    }

    void onlyTheFirstLineOfARunKeepsItsDistance() {
        OutputView view;
        view.beginRun("Once");
        view.beginRun("First\nsecond\nthird\nfourth");
        view.appendTokens({chunkOf(" line\n\nlast")});
        QTRY_VERIFY(view.toPlainText().endsWith("last"));
        const auto marginOf = [&view](int line) {
            return view.document()->findBlockByNumber(line).blockFormat().topMargin();
        };
        QVERIFY(marginOf(1) > 0);
        for (int line = 2; line < view.document()->blockCount(); ++line)
            QCOMPARE(marginOf(line), 0.0);
    }

    void keepsTheBytesThatTheScreenCannotShow() {
        OutputView view;
        view.beginRun("a\r\nb");
        view.appendTokens({chunkOf("\xff"), chunkOf("\xe2\x82\xac")});
        QCOMPARE(view.allText(), std::string("a\r\nb\xff\xe2\x82\xac"));
        QTRY_VERIFY(view.toPlainText().endsWith(u"\uFFFD€"));
    }

    void colorsTokensByProbability() {
        OutputView view;
        view.beginRun("P");
        view.appendTokens({chunkOf("sure", 1.0F), chunkOf("odd", 0.0F)});
        const QPalette palette = view.palette();
        QTRY_VERIFY(view.toPlainText().endsWith("odd"));
        QCOMPARE(colorAt(view, 0), promptColor(palette));
        QCOMPARE(colorAt(view, 1), tokenColor(1, palette));
        QCOMPARE(colorAt(view, 5), tokenColor(0, palette));
        QVERIFY(tokenColor(1, palette) != tokenColor(0, palette));
        view.setTokenColors(false);
        QCOMPARE(colorAt(view, 1), palette.color(QPalette::Text));
        QCOMPARE(colorAt(view, 5), palette.color(QPalette::Text));
        QCOMPARE(colorAt(view, 0), promptColor(palette));
        view.appendTokens({chunkOf("new")});
        QTRY_VERIFY(view.toPlainText().endsWith("new"));
        QCOMPARE(colorAt(view, 8), palette.color(QPalette::Text));
        view.setTokenColors(true);
        QCOMPARE(colorAt(view, 5), tokenColor(0, palette));
    }

    void recolorsWhenThePaletteChanges() {
        OutputView view;
        view.beginRun("P");
        view.appendTokens({chunkOf("x", 0.3F)});
        QTRY_COMPARE(view.toPlainText(), "Px");
        applyTheme(Theme::Dark);
        QCOMPARE(colorAt(view, 1), tokenColor(0.3F, view.palette()));
        applyTheme(Theme::Light);
        QCOMPARE(colorAt(view, 1), tokenColor(0.3F, view.palette()));
    }

    void tellsAboutTheTokenUnderThePointer() {
        OutputView view;
        view.beginRun("Hi");
        TokenChunk chunk = chunkOf(" <b>", 0.25F);
        chunk.candidates = {{99, 0.5F}, {chunk.token, 0.25F}};
        chunk.candidateTexts = {" other\n", " <b>"};
        view.appendTokens({chunk, chunkOf("z")});
        view.endRun("note");
        QCOMPARE(view.tokenTip(1), "Prompt");
        const QString tip = view.tokenTip(2);
        QVERIFY2(tip.contains("25.0 %") && tip.contains("50.0 %"), qPrintable(tip));
        QVERIFY2(tip.contains("&lt;b&gt;") && !tip.contains("<b>"), qPrintable(tip));
        QVERIFY2(tip.contains(u"other↵"), qPrintable(tip));
        QVERIFY(view.tokenTip(5) != view.tokenTip(6));
        QVERIFY(view.tokenTip(8).isEmpty());  // the note
        QVERIFY(view.tokenTip(100).isEmpty());
    }

    // "\r\n" is one position in a document and two characters in a string.
    void findsTokensBehindLineBreaks() {
        OutputView view;
        view.beginRun("a\r\n");
        view.appendTokens({chunkOf("first\r\n"), chunkOf("second")});
        QTRY_VERIFY(view.toPlainText().endsWith("second"));
        const int second = static_cast<int>(view.toPlainText().indexOf("second"));
        QVERIFY(view.tokenTip(second).contains(visibleToken("second")));
        QVERIFY(view.tokenTip(second - 1).contains("first"));
    }

    void scrollsAlongOnlyWhenTheEndIsInView() {
        OutputView view;
        view.resize(300, 150);
        view.show();
        QVERIFY(QTest::qWaitForWindowExposed(&view));
        view.beginRun("start");
        int lines = 1;
        const auto addLines = [&] {
            for (int line = 0; line < 40; ++line)
                view.appendTokens({chunkOf("\nline")});
            lines += 40;
            QTRY_COMPARE(view.document()->blockCount(), lines);
        };
        addLines();
        QScrollBar* bar = view.verticalScrollBar();
        QVERIFY(bar->maximum() > 0);
        QCOMPARE(bar->value(), bar->maximum());
        bar->setValue(3);
        addLines();
        QCOMPARE(bar->value(), 3);
        bar->setValue(bar->maximum());
        addLines();
        QCOMPARE(bar->value(), bar->maximum());
    }

    // As when a message bar comes and goes above it.
    void keepsTheEndInViewWhenItIsMadeSmaller() {
        OutputView view;
        view.resize(300, 150);
        view.show();
        QVERIFY(QTest::qWaitForWindowExposed(&view));
        view.beginRun("start" + std::string(40, '\n') + "end");
        QScrollBar* bar = view.verticalScrollBar();
        QCOMPARE(bar->value(), bar->maximum());
        view.resize(300, 100);
        QTRY_VERIFY(view.viewport()->height() <= 100);
        QCOMPARE(bar->value(), bar->maximum());
        view.resize(200, 150);
        QTRY_VERIFY(view.viewport()->width() <= 200);
        QCOMPARE(bar->value(), bar->maximum());
        QFont larger = view.font();
        larger.setPointSizeF(larger.pointSizeF() + 3);
        view.setFont(larger);
        QVERIFY(bar->maximum() > 0);
        QCOMPARE(bar->value(), bar->maximum());
        bar->setValue(3);
        view.resize(200, 90);
        QTRY_VERIFY(view.viewport()->height() <= 90);
        QCOMPARE(bar->value(), 3);
    }

    void theTipOfATokenGoesWhenTheTextMoves() {
        OutputView view;
        view.resize(300, 150);
        view.show();
        QVERIFY(QTest::qWaitForWindowExposed(&view));
        view.beginRun("start" + std::string(40, '\n') + "end");
        const auto pointAt = [&view](const QPoint& point) {
            QHelpEvent help(QEvent::ToolTip, point, view.viewport()->mapToGlobal(point));
            QApplication::sendEvent(view.viewport(), &help);
            return QTest::qWaitFor([] { return QToolTip::isVisible(); });
        };
        QTextCursor end(view.document());
        end.movePosition(QTextCursor::End);
        end.movePosition(QTextCursor::Left);
        QVERIFY(pointAt(view.cursorRect(end).center()));
        view.verticalScrollBar()->setValue(3);
        QTRY_VERIFY(!QToolTip::isVisible());
        view.verticalScrollBar()->setValue(view.verticalScrollBar()->maximum());
        QVERIFY(pointAt(view.cursorRect(end).center()));
        view.clearRuns();
        QTRY_VERIFY(!QToolTip::isVisible());
    }

    void copiesTheSelectionOrEverything() {
        OutputView view;
        view.beginRun("Once");
        view.appendTokens({chunkOf(" more")});
        view.endRun("note");
        view.copyText();
        QCOMPARE(QApplication::clipboard()->text(), "Once more");
        QTextCursor cursor = view.textCursor();
        cursor.setPosition(5);
        cursor.setPosition(9, QTextCursor::KeepAnchor);
        view.setTextCursor(cursor);
        view.copyText();
        QCOMPARE(QApplication::clipboard()->text(), "more");
    }

    void everyColorCanBeRead_data() {
        QTest::addColumn<int>("theme");
        QTest::newRow("light") << static_cast<int>(Theme::Light);
        QTest::newRow("dark") << static_cast<int>(Theme::Dark);
    }
    void everyColorCanBeRead() {
        QFETCH(int, theme);
        applyTheme(static_cast<Theme>(theme));
        const QPalette palette = QApplication::palette();
        const QColor base = palette.color(QPalette::Base);
        QCOMPARE(isDark(palette), static_cast<Theme>(theme) == Theme::Dark);
        for (int step = 0; step <= 20; ++step)
            QVERIFY(contrastRatio(tokenColor(step / 20.0, palette), base) >= 4.5);
        QVERIFY(contrastRatio(promptColor(palette), base) >= 4.5);
        QVERIFY(contrastRatio(dimmedTextColor(palette), base) >= 4.5);
        const auto pair = [&](QPalette::ColorRole one, QPalette::ColorRole other) {
            return contrastRatio(palette.color(one), palette.color(other));
        };
        QVERIFY(pair(QPalette::WindowText, QPalette::Window) >= 7);
        QVERIFY(pair(QPalette::ButtonText, QPalette::Button) >= 7);
        QVERIFY(pair(QPalette::HighlightedText, QPalette::Highlight) >= 4.5);
        QVERIFY(pair(QPalette::ToolTipText, QPalette::ToolTipBase) >= 7);
    }

    void contrastIsThatOfTheStandard() {
        QCOMPARE(contrastRatio(Qt::black, Qt::white), 21.0);
        QCOMPARE(contrastRatio(Qt::white, Qt::white), 1.0);
        // #767676 on white is the well-known lightest grey that passes level AA.
        QVERIFY(contrastRatio(QColor(0x767676), Qt::white) >= 4.5);
        QVERIFY(contrastRatio(QColor(0x777777), Qt::white) < 4.5);
    }

private:
    static QColor colorAt(const OutputView& view, int position) {
        QTextCursor cursor(view.document());
        cursor.setPosition(position + 1);  // the format is that of the character before
        return cursor.charFormat().foreground().color();
    }
};

QTEST_MAIN(TestOutputView)
#include "test_output_view.moc"
