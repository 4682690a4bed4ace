#include "gui/window/elided_label.h"

#include <QPainter>
#include <QStyle>

namespace qllama {

ElidedLabel::ElidedLabel(QWidget* parent) : QLabel(parent) {
    setTextFormat(Qt::PlainText);
    setSizePolicy(QSizePolicy::Maximum, QSizePolicy::Preferred);
}

QSize ElidedLabel::sizeHint() const {
    return {fontMetrics().horizontalAdvance(text()) + 2, fontMetrics().height()};
}

QSize ElidedLabel::minimumSizeHint() const {
    int shortest = fontMetrics().horizontalAdvance(m_shortText.isEmpty() ? QStringLiteral("abcd…")
                                                                         : m_shortText + u' ');
    shortest = qMax(shortest, m_fewestCharacters * fontMetrics().averageCharWidth());
    return {qMin(shortest, sizeHint().width()), fontMetrics().height()};
}

void ElidedLabel::setShortText(const QString& text) {
    m_shortText = text;
    updateGeometry();
    update();
}

void ElidedLabel::setFewestCharacters(int count) {
    m_fewestCharacters = count;
    updateGeometry();
}

QString ElidedLabel::shownText() const {
    const bool isShort =
        !m_shortText.isEmpty() && fontMetrics().horizontalAdvance(text()) > width();
    return fontMetrics().elidedText(isShort ? m_shortText : text(), Qt::ElideMiddle, width());
}

void ElidedLabel::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    style()->drawItemText(&painter, rect(), static_cast<int>(Qt::AlignLeft | Qt::AlignVCenter),
                          palette(), isEnabled(), shownText(), foregroundRole());
}

}  // namespace qllama
