#include "gui/window/background_task.h"

#include <utility>

namespace qllama {

BackgroundTask::~BackgroundTask() {
    if (m_thread) m_thread->wait();
}

void BackgroundTask::start(std::function<void()> work, std::function<void()> done) {
    Q_ASSERT(!isRunning());
    m_thread.reset(QThread::create(std::move(work)));
    m_thread->setObjectName(QStringLiteral("background"));
    connect(m_thread.get(), &QThread::finished, this, [this, done = std::move(done)] {
        const auto call = done;  // this function may go with the thread that is connected to it
        m_thread->wait();
        m_thread.reset();
        call();
    });
    m_thread->start();
}

}  // namespace qllama
