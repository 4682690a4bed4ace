#include "gui/window/buttons.h"

#include <QAction>
#include <QStyleOptionButton>
#include <QStyleOptionToolButton>
#include <QStylePainter>

#include "gui/window/text.h"

namespace qllama {

void PrimaryButton::paintEvent(QPaintEvent*) {
    QStyleOptionButton option;
    initStyleOption(&option);
    if (isEnabled()) {
        option.palette.setColor(QPalette::Button, palette().color(QPalette::Highlight));
        option.palette.setColor(QPalette::ButtonText, palette().color(QPalette::HighlightedText));
    }
    QStylePainter painter(this);
    painter.drawControl(QStyle::CE_PushButton, option);
}

MenuButton::MenuButton(QWidget* parent) : QToolButton(parent) {
    setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
    setPopupMode(QToolButton::InstantPopup);
    setFocusPolicy(Qt::TabFocus);
    setAutoRaise(true);
}

void MenuButton::setName(const QString& name, int mostPixels) {
    const QString shown = fontMetrics().elidedText(name, Qt::ElideMiddle, mostPixels);
    setText(withoutShortcuts(shown) + QStringLiteral(" \u25be"));
}

// The style's own arrow sits in a corner under the text; ours is a part of it.
void MenuButton::paintEvent(QPaintEvent*) {
    QStyleOptionToolButton option;
    initStyleOption(&option);
    option.features &= ~QStyleOptionToolButton::ToolButtonFeatures(QStyleOptionToolButton::HasMenu);
    QStylePainter painter(this);
    painter.drawComplexControl(QStyle::CC_ToolButton, option);
}

void followAction(QPushButton* button, QAction* action) {
    const auto update = [button, action] {
        button->setText(action->text());
        button->setToolTip(action->toolTip());
        button->setEnabled(action->isEnabled());
    };
    update();
    QObject::connect(action, &QAction::changed, button, update);
    QObject::connect(button, &QPushButton::clicked, action, &QAction::trigger);
}

}  // namespace qllama
