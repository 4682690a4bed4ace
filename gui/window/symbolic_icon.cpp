#include "gui/window/symbolic_icon.h"

#include <QApplication>
#include <QIconEngine>
#include <QPainter>
#include <QPalette>
#include <QPixmap>
#include <QSvgRenderer>

namespace qllama {
namespace {

class SymbolicIconEngine final : public QIconEngine {
public:
    SymbolicIconEngine(QString path, QPalette::ColorRole role)
        : m_path(std::move(path)), m_role(role) {}

    void paint(QPainter* painter, const QRect& rect, QIcon::Mode mode, QIcon::State) override {
        const qreal scale = painter->device() ? painter->device()->devicePixelRatio() : 1;
        painter->drawPixmap(rect, rendered(rect.size() * scale, mode));
    }

    QPixmap pixmap(const QSize& size, QIcon::Mode mode, QIcon::State) override {
        return rendered(size, mode);
    }

    QPixmap scaledPixmap(const QSize& size, QIcon::Mode mode, QIcon::State, qreal) override {
        return rendered(size, mode);
    }

    [[nodiscard]] QIconEngine* clone() const override {
        return new SymbolicIconEngine(m_path, m_role);
    }

private:
    [[nodiscard]] QPixmap rendered(const QSize& size, QIcon::Mode mode) const {
        const auto group = mode == QIcon::Disabled ? QPalette::Disabled : QPalette::Active;
        const auto role = mode == QIcon::Selected   ? QPalette::HighlightedText
                          : mode == QIcon::Disabled ? QPalette::ButtonText
                                                    : m_role;
        QPixmap pixmap(size);
        pixmap.fill(Qt::transparent);
        QPainter painter(&pixmap);
        QSvgRenderer(m_path).render(&painter, QRectF(QPointF(), size));
        painter.setCompositionMode(QPainter::CompositionMode_SourceIn);
        painter.fillRect(pixmap.rect(), QApplication::palette().color(group, role));
        return pixmap;
    }

    QString m_path;
    QPalette::ColorRole m_role;
};

}  // namespace

QIcon symbolicIcon(const QString& name, QPalette::ColorRole role) {
    return QIcon(new SymbolicIconEngine(QStringLiteral(":/icons/%1.svg").arg(name), role));
}

QIcon applicationIcon() {
    return QIcon(QStringLiteral(":/icons/qllama.svg"));
}

}  // namespace qllama
