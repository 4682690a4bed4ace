// One figure with its caption. Takes new texts without a new layout, since they change often.
#pragma once

#include <QWidget>

class QLabel;

namespace qllama {

class FigureTile : public QWidget {
    Q_OBJECT

public:
    // `widest`: a text as wide as any value will be; `widestCaption`: empty where it stays the same.
    FigureTile(const QString& caption, const QString& toolTip, const QString& widest,
               QWidget* parent = nullptr, const QString& widestCaption = {});

    void setValue(const QString& value);  // empty: a dash
    void setCaption(const QString& caption);
    [[nodiscard]] QString value() const;
    [[nodiscard]] QString caption() const;

private:
    QLabel* m_caption;
    QLabel* m_value;
};

}  // namespace qllama
