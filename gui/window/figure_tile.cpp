#include "gui/window/figure_tile.h"

#include <QLabel>
#include <QVBoxLayout>

namespace qllama {

FigureTile::FigureTile(const QString& caption, const QString& toolTip, const QString& widest,
                       QWidget* parent, const QString& widestCaption)
    : QWidget(parent), m_caption(new QLabel(caption, this)), m_value(new QLabel(this)) {
    QFont small = m_caption->font();
    small.setPointSizeF(small.pointSizeF() * 0.85);
    m_caption->setFont(small);
    m_caption->setForegroundRole(QPalette::PlaceholderText);
    QFont strong = m_value->font();
    strong.setPointSizeF(strong.pointSizeF() * 1.1);
    m_value->setFont(strong);
    m_value->setTextFormat(Qt::PlainText);
    const int width = QFontMetrics(strong).horizontalAdvance(widest);
    m_value->setFixedWidth(width);
    m_caption->setTextFormat(Qt::PlainText);
    const QString& widestTitle = widestCaption.isEmpty() ? caption : widestCaption;
    m_caption->setFixedWidth(qMax(width, QFontMetrics(small).horizontalAdvance(widestTitle)));
    m_value->setFixedHeight(QFontMetrics(strong).height());
    m_value->setAccessibleDescription(caption);
    setToolTip(toolTip);
    auto* layout = new QVBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setSpacing(0);
    layout->addWidget(m_caption);
    layout->addWidget(m_value);
    setValue({});
}

void FigureTile::setValue(const QString& value) {
    const QString shown = value.isEmpty() ? QStringLiteral("–") : value;
    if (m_value->text() != shown) m_value->setText(shown);
}

void FigureTile::setCaption(const QString& caption) {
    if (m_caption->text() == caption) return;
    m_caption->setText(caption);
    m_value->setAccessibleDescription(caption);
}

QString FigureTile::caption() const {
    return m_caption->text();
}

QString FigureTile::value() const {
    return m_value->text();
}

}  // namespace qllama
