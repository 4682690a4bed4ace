#include "gui/window/about_box.h"

#include <QCoreApplication>
#include <QMessageBox>

#include "gui/window/symbolic_icon.h"

namespace qllama {

void showAboutBox(QWidget* parent) {
    const auto tr = [](const char* text) { return QCoreApplication::translate("AboutBox", text); };
    auto* box = new QMessageBox(parent);
    box->setAttribute(Qt::WA_DeleteOnClose);
    box->setObjectName(QStringLiteral("aboutBox"));
    box->setWindowTitle(tr("About QLLaMA"));
    box->setIconPixmap(applicationIcon().pixmap(QSize(96, 96), box->devicePixelRatio()));
    box->setText(tr("<h3>QLLaMA %1</h3>").arg(QStringLiteral(QLLAMA_VERSION)));
    box->setInformativeText(
        tr("<p>Runs LLaMA-family models on your own computer, from the checkpoint files as they "
           "are.</p><p>Free software under the GNU General Public License, version 3 or later. "
           "It comes without any warranty.</p>"));
    box->open();
}

}  // namespace qllama
