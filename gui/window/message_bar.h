// One message in words at the top of the window, for as long as the user wants it there.
#pragma once

#include <QFrame>
#include <functional>
#include <optional>

class QLabel;
class QScrollArea;
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
    std::function<void()> unanswered = {};  // makes it a question: it went without its action
};

// Never modal and never takes the focus. A new message replaces the old one, but for a question that
// something waits for: that comes back when the new message is closed.
class MessageBar : public QFrame {
    Q_OBJECT

public:
    explicit MessageBar(QWidget* parent = nullptr);

    void showMessage(const Message& message);
    [[nodiscard]] QString text() const;
    // Nothing waits for the answer any longer; other messages stay.
    void withdrawQuestion();
    void clear();

public slots:
    void dismiss();  // the message that is shown

protected:
    void changeEvent(QEvent* event) override;
    void paintEvent(QPaintEvent* event) override;

private:
    void setupLayout();
    void present();
    void runAction();
    void updateDetails(bool shown);

    Message m_message;
    std::optional<Message> m_question;  // below it
    QLabel* m_icon;
    QScrollArea* m_words;  // text and details
    QLabel* m_text;
    QLabel* m_details;
    QPushButton* m_action;
    QToolButton* m_detailsButton;
    QToolButton* m_closeButton;
};

}  // namespace qllama
