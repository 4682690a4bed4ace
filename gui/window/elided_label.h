// A label that shortens its text with an ellipsis instead of widening the window.
#pragma once

#include <QLabel>

namespace qllama {

class ElidedLabel : public QLabel {
    Q_OBJECT

public:
    explicit ElidedLabel(QWidget* parent = nullptr);

    // What to show in the place of a text() that has not the whole room; empty: its two ends.
    void setShortText(const QString& text);
    // Gives up no more than what is beyond so many average characters.
    void setFewestCharacters(int count);
    [[nodiscard]] QString shownText() const;

    [[nodiscard]] QSize sizeHint() const override;
    [[nodiscard]] QSize minimumSizeHint() const override;

protected:
    void paintEvent(QPaintEvent* event) override;

private:
    QString m_shortText;
    int m_fewestCharacters = 0;
};

}  // namespace qllama
