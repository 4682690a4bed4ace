#include "gui/window/message_bar.h"

#include <QAccessible>
#include <QEvent>
#include <QHBoxLayout>
#include <QLabel>
#include <QPainter>
#include <QPushButton>
#include <QScrollArea>
#include <QScrollBar>
#include <QTimer>
#include <QToolButton>
#include <QVBoxLayout>
#include <utility>

#include "gui/window/symbolic_icon.h"
#include "gui/window/theme.h"

namespace qllama {
namespace {

constexpr double kMostOfWindow = 0.4;
constexpr int kLeastWordLines = 3;

QColor kindColor(Message::Kind kind) {
    switch (kind) {
        case Message::Kind::Error:
            return QColor(0xd64545);
        case Message::Kind::Warning:
            return QColor(0xc98a1b);
        case Message::Kind::Info:
            break;
    }
    return QColor(0x4b70d8);
}

QString iconName(Message::Kind kind) {
    switch (kind) {
        case Message::Kind::Error:
            return QStringLiteral("error");
        case Message::Kind::Warning:
            return QStringLiteral("warning");
        case Message::Kind::Info:
            break;
    }
    return QStringLiteral("info");
}

QLabel* selectableLabel(QWidget* parent) {
    auto* label = new QLabel(parent);
    label->setWordWrap(true);
    label->setTextFormat(Qt::PlainText);
    label->setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
    return label;
}

// As high as what is in it, but so that the window under it can still be used.
class WordsArea final : public QScrollArea {
public:
    explicit WordsArea(QWidget* parent) : QScrollArea(parent) {
        setFrameShape(QFrame::NoFrame);
        setWidgetResizable(true);
        setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
        setFocusPolicy(Qt::NoFocus);
        viewport()->setAutoFillBackground(false);
        QSizePolicy policy(QSizePolicy::Expanding, QSizePolicy::Preferred);
        policy.setHeightForWidth(true);
        setSizePolicy(policy);
    }
    [[nodiscard]] int heightForWidth(int width) const override {
        const int most = qMax(kLeastWordLines * fontMetrics().lineSpacing(),
                              static_cast<int>(kMostOfWindow * window()->height()));
        return qMin(widget()->heightForWidth(width), most);
    }
    [[nodiscard]] QSize sizeHint() const override {
        return {widget()->sizeHint().width(), heightForWidth(width())};
    }
    [[nodiscard]] QSize minimumSizeHint() const override {
        const int least = kLeastWordLines * fontMetrics().lineSpacing();
        return {0, qMin(least, heightForWidth(width()))};
    }
};

}  // namespace

MessageBar::MessageBar(QWidget* parent)
    : QFrame(parent),
      m_icon(new QLabel(this)),
      m_words(new WordsArea(this)),
      m_text(selectableLabel(this)),
      m_details(selectableLabel(this)),
      m_action(new QPushButton(this)),
      m_detailsButton(new QToolButton(this)),
      m_closeButton(new QToolButton(this)) {
    setObjectName(QStringLiteral("messageBar"));
    m_words->setObjectName(QStringLiteral("messageWords"));
    m_text->setObjectName(QStringLiteral("messageText"));
    m_details->setObjectName(QStringLiteral("messageDetails"));
    m_action->setObjectName(QStringLiteral("messageAction"));
    m_detailsButton->setText(tr("Details"));
    m_detailsButton->setCheckable(true);
    m_detailsButton->setAutoRaise(true);
    m_closeButton->setObjectName(QStringLiteral("messageClose"));
    m_closeButton->setIcon(symbolicIcon(QStringLiteral("close")));
    m_closeButton->setToolTip(tr("Dismiss this message"));
    m_closeButton->setAccessibleName(tr("Dismiss"));
    m_closeButton->setAutoRaise(true);
    setupLayout();
    connect(m_closeButton, &QToolButton::clicked, this, &MessageBar::dismiss);
    connect(m_detailsButton, &QToolButton::toggled, this, &MessageBar::updateDetails);
    connect(m_action, &QPushButton::clicked, this, &MessageBar::runAction);
    hide();
}

void MessageBar::setupLayout() {
    auto* row = new QHBoxLayout;
    row->addWidget(m_icon, 0, Qt::AlignTop);
    row->addSpacing(4);
    auto* page = new QWidget;
    auto* words = new QVBoxLayout(page);
    words->setContentsMargins(0, 0, 0, 0);
    words->setSpacing(0);
    words->addWidget(m_text);
    words->addWidget(m_details);
    words->addStretch(1);
    m_words->setWidget(page);
    page->setAutoFillBackground(false);  // the bar's own colour is behind it
    row->addWidget(m_words, 1);
    row->addWidget(m_closeButton, 0, Qt::AlignTop);
    m_details->setContentsMargins(0, 8, 0, 4);
    // Below the text, so that a long sentence has the whole width also in a small window.
    auto* buttons = new QHBoxLayout;
    buttons->addStretch(1);
    buttons->addWidget(m_detailsButton);
    buttons->addWidget(m_action);
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(14, 8, 8, 8);
    layout->setSpacing(4);
    layout->addLayout(row);
    layout->addLayout(buttons);
}

void MessageBar::showMessage(const Message& message) {
    if (message.unanswered)
        clear();
    else if (m_message.unanswered)
        m_question = std::move(m_message);
    m_message = message;
    present();
}

void MessageBar::present() {
    const Message& message = m_message;
    const int iconSize = fontMetrics().height() + 2;
    m_icon->setPixmap(
        symbolicIcon(iconName(message.kind)).pixmap(QSize(iconSize, iconSize), devicePixelRatio()));
    m_text->setText(message.text);
    m_details->setText(message.details);
    m_detailsButton->setVisible(!message.details.isEmpty());
    m_detailsButton->setChecked(false);
    updateDetails(false);
    m_action->setText(message.actionText);
    m_action->setVisible(bool(message.action));
    setAccessibleName(message.kind == Message::Kind::Error ? tr("Error") : tr("Message"));
    setAccessibleDescription(message.text);
    show();
    update();
    QAccessibleEvent alert(this, QAccessible::Alert);
    QAccessible::updateAccessibility(&alert);
}

QString MessageBar::text() const {
    return isHidden() ? QString() : m_text->text();
}

void MessageBar::dismiss() {
    const Message before = std::exchange(m_message, {});
    if (const auto question = std::exchange(m_question, {})) {
        m_message = *question;
        present();
        return;
    }
    hide();
    if (before.unanswered) before.unanswered();
}

void MessageBar::withdrawQuestion() {
    if (const auto question = std::exchange(m_question, {}))
        question->unanswered();
    else if (m_message.unanswered)
        dismiss();
}

void MessageBar::clear() {
    withdrawQuestion();
    dismiss();
}

void MessageBar::runAction() {
    const auto action = m_message.action;
    m_message.unanswered = {};
    if (!m_message.actionAsks) dismiss();
    if (action) action();
}

void MessageBar::updateDetails(bool shown) {
    m_details->setVisible(shown && !m_message.details.isEmpty());
    m_words->updateGeometry();
    // Laid out by then.
    QTimer::singleShot(0, this, [this, shown] {
        m_words->verticalScrollBar()->setValue(shown ? m_details->y() : 0);
    });
}

void MessageBar::changeEvent(QEvent* event) {
    QFrame::changeEvent(event);
    if (event->type() == QEvent::PaletteChange && !isHidden()) {
        const int iconSize = fontMetrics().height() + 2;
        m_icon->setPixmap(symbolicIcon(iconName(m_message.kind))
                              .pixmap(QSize(iconSize, iconSize), devicePixelRatio()));
    }
}

// A tint of the kind's colour over the window's own, and a bar of the full colour at the left edge.
void MessageBar::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    const QColor color = kindColor(m_message.kind);
    QColor tint = color;
    tint.setAlphaF(isDark(palette()) ? 0.22F : 0.12F);
    painter.setRenderHint(QPainter::Antialiasing);
    painter.setPen(Qt::NoPen);
    painter.setBrush(tint);
    painter.drawRoundedRect(rect(), 5, 5);
    painter.setBrush(color);
    painter.drawRoundedRect(QRectF(0, 0, 4, height()), 2, 2);
}

}  // namespace qllama
