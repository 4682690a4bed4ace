// One message in words at the top of the window, for as long as the user wants it there.
#pragma once

#include <QFrame>
#include <functional>

class QLabel;
class QToolButton;
class QPushButton;

namespace qllama {

// What to say. `details` is shown on demand; `action` is the one thing that may help.
struct Message {
    enum class Kind { Info, Warning, Error };
    Kind kind = Kind::Error;
    QString text;
    QString details;
    QString actionText;
    std::function<void()> action;
    bool actionAsks =
        false;  // first asks the user for more: the message stays until he has answered
    std::function<void()> unanswered =
        {};  // it went without its action: closed, or for another message
};

// Never modal and never takes the focus; a new message replaces the old one.
class MessageBar : public QFrame {
    Q_OBJECT

public:
    explicit MessageBar(QWidget* parent = nullptr);

    void showMessage(const Message& message);
    [[nodiscard]] QString text() const;

public slots:
    void dismiss();

protected:
    void changeEvent(QEvent* event) override;
    void paintEvent(QPaintEvent* event) override;

private:
    void setupLayout();
    void runAction();
    void updateDetails(bool shown);

    Message m_message;
    QLabel* m_icon;
    QLabel* m_text;
    QLabel* m_details;
    QPushButton* m_action;
    QToolButton* m_detailsButton;
    QToolButton* m_closeButton;
};

}  // namespace qllama
