// The window as a whole: it can be reached with the keyboard and read out, and has room on a small
// screen.
#include <QAccessible>
#include <QPushButton>
#include <QToolButton>

#include "gui/window/application.h"
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
        m_window->openScripted(startWith("/models/fable"));
        QVERIFY(m_window->becomesIdle());
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

    void fitsASmallScreen() {
        m_window->openScripted(startWith("/models/fable"));
        QVERIFY(m_window->becomesIdle());
        const QSize smallest = m_window->window->minimumSizeHint();
        QVERIFY2(
            smallest.width() <= 800 && smallest.height() <= 560,
            qPrintable(QStringLiteral("%1 x %2").arg(smallest.width()).arg(smallest.height())));
    }

private:
    std::unique_ptr<ScriptedWindow> m_window;
};

QTEST_MAIN(TestMainWindow)
#include "test_main_window.moc"
