// Turns Ctrl-C into a request to stop.
#pragma once

#include <csignal>
#include <stop_token>
#include <thread>

namespace qllama {

// While one exists, SIGINT and SIGTERM go to its thread: the first asks `stop`, the second ends the
// program at once as if nobody watched. One that is ignored stays so. Make it before any other thread starts: they inherit the
// blocked signals from the thread that makes it.
class InterruptWatcher {
public:
    explicit InterruptWatcher(std::stop_source stop);
    ~InterruptWatcher();
    InterruptWatcher(const InterruptWatcher&) = delete;
    InterruptWatcher& operator=(const InterruptWatcher&) = delete;

private:
    void watch();

    std::stop_source m_stop;
    sigset_t m_signals;
    sigset_t m_oldMask;
    int m_signalDescriptor = -1;
    int m_endDescriptor = -1;
    std::thread m_thread;
};

}  // namespace qllama
