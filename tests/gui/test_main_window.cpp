// The window as a whole: it can be reached with the keyboard and read out, and has room on a small
// screen.
#include <QAccessible>
#include <QPushButton>
#include <QToolButton>

#include "gui/window/application.h"
#include "gui/window/settings_panel.h"
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
