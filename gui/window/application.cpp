#include "gui/window/application.h"

#include <QApplication>
#include <QLocale>
#include <QStyle>
#include <QTranslator>

#include "gui/window/outlined_style.h"
#include "gui/window/symbolic_icon.h"

// In the global namespace, as the macro demands.
static void initializeResources() {
    Q_INIT_RESOURCE(qllama);
}

namespace qllama {
namespace {

void installTranslation(const QLocale& locale) {
    auto* translator = new QTranslator(qApp);
    if (translator->load(locale, QStringLiteral("qllama"), QStringLiteral("_"),
                         QStringLiteral(":/i18n")))
        QApplication::installTranslator(translator);
    else
        delete translator;
}

}  // namespace

void prepareApplication() {
    initializeResources();
    QApplication::setApplicationName(QStringLiteral("qllama"));
    QApplication::setOrganizationName(QStringLiteral("qllama"));
    QApplication::setApplicationDisplayName(QStringLiteral("QLLaMA"));
    QApplication::setApplicationVersion(QStringLiteral(QLLAMA_VERSION));
    QApplication::setDesktopFileName(QStringLiteral("qllama"));
    QApplication::setWindowIcon(applicationIcon());
    if (QApplication::style()->name() == u"fusion") QApplication::setStyle(new OutlinedStyle);
    installTranslation(QLocale(QLocale::English));  // "1 token", "2 tokens"
    if (QLocale().language() != QLocale::English) installTranslation(QLocale());
}

}  // namespace qllama
