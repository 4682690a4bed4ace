// One piece of work at a time in a thread of its own, so that the window does not wait for a disk.
#pragma once

#include <QObject>
#include <QThread>
#include <functional>
#include <memory>

namespace qllama {

class BackgroundTask : public QObject {
    Q_OBJECT

public:
    using QObject::QObject;
    ~BackgroundTask() override;  // waits for the work, not for `done`

    // `work` must not throw. `done` follows on the thread of this object. Not while one runs.
    void start(std::function<void()> work, std::function<void()> done);
    [[nodiscard]] bool isRunning() const { return m_thread != nullptr; }

private:
    std::unique_ptr<QThread> m_thread;
};

}  // namespace qllama
