#include "gui/window/buttons.h"

#include <QAction>
#include <QStyleOptionButton>
#include <QStyleOptionToolButton>
#include <QStylePainter>

#include "gui/window/text.h"
#include "gui/window/theme.h"

namespace qllama {
namespace {

constexpr double kButtonRadius = 2.5;

}  // namespace

// The style would lighten the colour of the background, after which its text can hardly be read.
void PrimaryButton::paintEvent(QPaintEvent*) {
    QStyleOptionButton option;
    initStyleOption(&option);
    QStylePainter painter(this);
    if (!isEnabled()) {
        painter.drawControl(QStyle::CE_PushButton, option);
        return;
    }
    const QColor text = palette().color(QPalette::HighlightedText);
    const QColor resting = readableOn(text, palette().color(QPalette::Highlight));
    painter.setRenderHint(QPainter::Antialiasing);
    painter.setPen(Qt::NoPen);
    painter.setBrush(option.state & QStyle::State_Sunken ? resting.darker(115) : resting);
    painter.drawRoundedRect(rect().adjusted(1, 1, -1, -1), kButtonRadius, kButtonRadius);
    if (option.state & (QStyle::State_MouseOver | QStyle::State_HasFocus)) {
        painter.setPen(text);
        painter.setBrush(Qt::NoBrush);
        painter.drawRoundedRect(QRectF(rect()).adjusted(3.5, 3.5, -3.5, -3.5), 1, 1);
    }
    option.palette.setColor(QPalette::ButtonText, text);
    painter.drawControl(QStyle::CE_PushButtonLabel, option);
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
