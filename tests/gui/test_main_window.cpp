// The window as a whole: it can be reached with the keyboard and read out, and has room on a small
// screen.
#include <QAccessible>
#include <QDoubleSpinBox>
#include <QLineEdit>
#include <QPushButton>
#include <QScrollArea>
#include <QScrollBar>
#include <QSpinBox>
#include <QToolButton>

#include "gui/window/application.h"
#include "gui/window/settings_panel.h"
#include "gui/window/theme.h"
#include "tests/gui/window_fixture.h"

using namespace qllama;
using State = EngineController::State;

class TestMainWindow : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { prepareApplication(); }
    void init() { m_window = std::make_unique<ScriptedWindow>(); }
    void cleanup() { m_window.reset(); }

    void everyControlHasANameAndCanBeReached() {
        m_window->openIdle();
        QStringList unnamed;
        QSet<QWidget*> inTabOrder;
        for (QWidget* widget = m_window->window->nextInFocusChain();
             widget != m_window->window.get(); widget = widget->nextInFocusChain())
            inTabOrder.insert(widget);
        for (QWidget* widget : m_window->window->findChildren<QWidget*>()) {
            if (!widget->isVisible() || widget->focusPolicy() == Qt::NoFocus) continue;
            if (widget->focusProxy() || widget->parentWidget()->inherits("QAbstractSpinBox"))
                continue;
            if (qobject_cast<QLabel*>(widget) || widget->inherits("QDockWidget")) continue;
            const QAccessibleInterface* accessible = QAccessible::queryAccessibleInterface(widget);
            if (!accessible || accessible->text(QAccessible::Name).isEmpty())
                unnamed +=
                    QLatin1String(widget->metaObject()->className()) + u' ' + widget->objectName();
            QVERIFY(inTabOrder.contains(widget));
        }
        QVERIFY2(unnamed.isEmpty(), qPrintable(unnamed.join(u'\n')));
        for (QToolButton* button : m_window->window->findChildren<QToolButton*>())
            if (button->isVisible() && button->objectName() != u"qt_toolbar_ext_button")
                QVERIFY2(!button->toolTip().isEmpty() || !button->text().isEmpty(),
                         qPrintable(button->objectName()));
    }

    // As it is read: down the column of settings, and through a row from left to right.
    void tabGoesDownTheSettings() {
        m_window->openIdle();
        const QWidget* panel = m_window->window->findChild<SettingsPanel*>()->widget();
        QList<QWidget*> stops;
        QWidget* first = QApplication::focusWidget();
        do {
            QTest::keyClick(QApplication::focusWidget(), Qt::Key_Tab);
            if (panel->isAncestorOf(QApplication::focusWidget()))
                stops += QApplication::focusWidget();
        } while (QApplication::focusWidget() != first && stops.size() < 100);
        QVERIFY(stops.size() > 10 && stops.size() < 100);
        for (int index = 1; index < stops.size(); ++index) {
            const QRect before = placeIn(panel, stops[index - 1]);
            const QRect now = placeIn(panel, stops[index]);
            const bool isBelow = now.center().y() > before.bottom();
            const bool isRight = now.bottom() > before.top() && now.left() > before.right();
            QVERIFY2(isBelow || isRight, qPrintable(stops[index - 1]->objectName() + " then " +
                                                    stops[index]->objectName()));
        }
    }

    void fitsASmallScreen() {
        m_window->openIdle();
        const QSize smallest = m_window->window->minimumSizeHint();
        QVERIFY2(
            smallest.width() <= 800 && smallest.height() <= 560,
            qPrintable(QStringLiteral("%1 x %2").arg(smallest.width()).arg(smallest.height())));
    }

    void aMessageInASmallWindowLeavesThePromptWhole() {
        m_window->script->load = [](auto&&...) -> Result<ModelInfo> {
            std::string message;
            for (int sentence = 0; sentence < 4; ++sentence)
                message += "This is a sentence about what is wrong with the model here. ";
            return Error{ErrorCode::InvalidFile, message, "fable"};
        };
        m_window->openIdle();
        QVERIFY(m_window->find<QWidget>("messageBar")->isVisible());
        m_window->window->resize(800, 500);
        const QWidget* prompt = m_window->find<QWidget>("promptEdit");
        const QWidget* generate = m_window->find<QWidget>("generateButton");
        const QWidget* window = m_window->window.get();
        QTRY_VERIFY(window->height() <= 560);
        QTRY_VERIFY(prompt->height() >= prompt->minimumHeight());
        QTRY_VERIFY2(placeIn(window, prompt).bottom() < placeIn(window, generate).top(),
                     qPrintable(QStringLiteral("%1 and %2")
                                    .arg(placeIn(window, prompt).bottom())
                                    .arg(placeIn(window, generate).top())));
    }

    // Also with its details, all of which can be read.
    void aLongMessageScrolls() {
        m_window->script->load = [](auto&&...) -> Result<ModelInfo> {
            std::string message;
            for (int sentence = 0; sentence < 40; ++sentence)
                message += "This is a sentence about what is wrong with the model here. ";
            return Error{ErrorCode::InvalidFile, message, "fable"};
        };
        m_window->openIdle();
        m_window->window->resize(640, 480);
        for (QToolButton* button : m_window->window->findChildren<QToolButton*>())
            if (button->text() == "Details" && button->isVisible()) button->click();
        const auto* area = m_window->find<QScrollArea>("messageWords");
        const auto* details = m_window->find<QLabel>("messageDetails");
        QTRY_VERIFY(!details->visibleRegion().isEmpty());
        QTRY_VERIFY(area->verticalScrollBar()->maximum() > 0);
        QVERIFY(m_window->window->height() <= 480);
        QVERIFY(area->height() < 240);
        area->verticalScrollBar()->setValue(area->verticalScrollBar()->maximum());
        QTRY_COMPARE(details->visibleRegion().boundingRect().bottom(), details->height() - 1);
    }

    // The speed dock and the settings fit beside each other; the plot gives way.
    void theSpeedDockFitsASmallScreen() {
        m_window->openIdle();
        m_window->find<QWidget>("speedDock")->show();
        const int least = m_window->window->minimumSizeHint().width();
        QVERIFY2(least <= 608, qPrintable(QString::number(least)));  // 95 % of 640
    }

    void theNumbersOfARunAreNeverCutOff() {
        m_window->script->generate = [](auto&&, GenerationSink& sink,
                                        auto&&) -> Result<GenerationResult> {
            sink.promptStarted(3, 77);
            GenerationResult result = resultOf(StopReason::Length, "");
            result.statistics.tokenCount = result.statistics.contextUsed = 1'000'000;
            result.statistics.contextLength = 1'048'576;
            return result;
        };
        m_window->openIdle();
        m_window->generate();
        const auto* context = m_window->find<QLabel>("statusContext");
        const auto* strip = m_window->find<QWidget>("statusStrip");
        for (const int width : {1200, 608}) {
            m_window->window->resize(width, 600);
            QTRY_COMPARE(m_window->window->width(), width);
            QTRY_VERIFY(placeIn(strip, context).right() < strip->width());
            QCOMPARE(m_window->find<QLabel>("statusDevice")->isVisible(), width > 1000);
            QVERIFY(m_window->find<QLabel>("statusTokensPerSecond")->isVisible());
        }
    }

    void theMainButtonCanBeRead_data() {
        QTest::addColumn<QString>("theme");
        for (const char* theme : {"As the Desktop", "Light", "Dark"})
            QTest::newRow(theme) << theme;
    }

    void theMainButtonCanBeRead() {
        QFETCH(const QString, theme);
        m_window->openIdle();
        m_window->action(theme)->trigger();
        const auto* generate = m_window->find<QPushButton>("generateButton");
        QTRY_VERIFY(generate->isEnabled());
        const QImage image = const_cast<QPushButton*>(generate)->grab().toImage();
        const QColor fill = image.pixelColor(image.width() / 2, 3);
        const QColor text = generate->palette().color(QPalette::HighlightedText);
        const double contrast = contrastRatio(fill, text);
        m_window->action("As the Desktop")->trigger();
        QVERIFY2(contrast >= 4.5, qPrintable(QString::number(contrast)));
    }

    // The keyboard stays where the user was working.
    void buttonsThatAreDoneGiveTheFocusBack() {
        m_window->openIdle();
        m_window->runUntilStopped([](auto&&) {});
        auto* generate = m_window->find<QPushButton>("generateButton");
        generate->setFocus();
        QTest::keyClick(generate, Qt::Key_Space);
        m_window->reached.acquire();
        auto* stop = m_window->find<QPushButton>("stopButton");
        QTRY_COMPARE(QApplication::focusWidget(), stop);
        QTest::keyClick(stop, Qt::Key_Space);
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(QApplication::focusWidget(), generate);
        m_window->find<QSpinBox>("contextLength")->setValue(128);
        auto* apply = m_window->find<QPushButton>("applyLoad");
        apply->setFocus(Qt::TabFocusReason);
        QTest::keyClick(apply, Qt::Key_Space);
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(QApplication::focusWidget(), m_window->find<QWidget>("precision"));
        auto* temperature = m_window->find<QDoubleSpinBox>("temperature");
        temperature->setValue(0.1);
        auto* reset = m_window->find<QPushButton>("samplerReset");
        reset->setFocus(Qt::TabFocusReason);
        QTest::keyClick(reset, Qt::Key_Space);
        QCOMPARE(QApplication::focusWidget(), temperature);
        QVERIFY(!temperature->findChild<QLineEdit*>()->hasSelectedText());
    }

    void stepsOfTheTokenLimit() {
        m_window->openIdle();
        auto* limit = m_window->find<QSpinBox>("maxTokens");
        const auto stepped = [limit](int from, Qt::Key key) {
            limit->setValue(from);
            QTest::keyClick(limit, key);
            return limit->value();
        };
        QCOMPARE(stepped(256, Qt::Key_Up), 272);
        QCOMPARE(stepped(20, Qt::Key_Down), 16);
        QCOMPARE(stepped(20, Qt::Key_Up), 32);
        QCOMPARE(stepped(4, Qt::Key_Down), 0);
        QCOMPARE(stepped(0, Qt::Key_Down), -1);
        QCOMPARE(stepped(-1, Qt::Key_Down), -1);
        QCOMPARE(stepped(-1, Qt::Key_Up), 16);
    }

    void textSizesHaveEnds() {
        m_window->openIdle();
        const auto size = [this] { return m_window->output()->font().pointSizeF(); };
        const double normal = size();
        QVERIFY(!m_window->action("Normal Text Size")->isEnabled());
        for (int press = 0; press < 40; ++press)
            m_window->action("Smaller Text")->trigger();
        const double smallest = size();
        QVERIFY(smallest >= 7 && smallest < normal);
        QVERIFY(!m_window->action("Smaller Text")->isEnabled());
        m_window->action("Larger Text")->trigger();
        QVERIFY(size() > smallest);
        m_window->action("Normal Text Size")->trigger();
        QCOMPARE(size(), normal);
    }

    // Above it, and as far to the right.
    void theButtonThatOpensAPromptLinesUpWithIt() {
        m_window->openIdle();
        const QWidget* window = m_window->window.get();
        const auto* open = m_window->find<QToolButton>("openPromptButton");
        QCOMPARE(placeIn(window, open).right(),
                 placeIn(window, m_window->find<QWidget>("promptEdit")).right());
        QVERIFY(!open->autoRaise());  // its edge is there to be seen
    }

private:
    static QRect placeIn(const QWidget* panel, const QWidget* widget) {
        return {widget->mapTo(panel, QPoint()), widget->size()};
    }

    std::unique_ptr<ScriptedWindow> m_window;
};

QTEST_MAIN(TestMainWindow)
#include "test_main_window.moc"
