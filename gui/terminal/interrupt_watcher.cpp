#include "gui/terminal/interrupt_watcher.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>

namespace qllama {

namespace {

// Whoever started the program so (a shell its background jobs, `trap '' INT`) wants it to go on. A
// signal that is blocked would come through all the same.
bool isIgnored(int signal) {
    struct sigaction action {};
    return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

InterruptWatcher::InterruptWatcher(std::stop_source stop) : m_stop(std::move(stop)) {
    sigemptyset(&m_signals);
    for (const int signal : {SIGINT, SIGTERM})
        if (!isIgnored(signal)) sigaddset(&m_signals, signal);
    pthread_sigmask(SIG_BLOCK, &m_signals, &m_oldMask);
    m_signalDescriptor = ::signalfd(-1, &m_signals, SFD_CLOEXEC);
    m_endDescriptor = ::eventfd(0, EFD_CLOEXEC);
    m_thread = std::thread([this] { watch(); });
}

InterruptWatcher::~InterruptWatcher() {
    const std::uint64_t one = 1;
    // Cannot fail: the counter is far from its maximum.
    static_cast<void>(::write(m_endDescriptor, &one, sizeof one));
    m_thread.join();
    ::close(m_signalDescriptor);
    ::close(m_endDescriptor);
    pthread_sigmask(SIG_SETMASK, &m_oldMask, nullptr);
}

void InterruptWatcher::watch() {
    pollfd waits[] = {{m_signalDescriptor, POLLIN, 0}, {m_endDescriptor, POLLIN, 0}};
    bool asked = false;
    while (true) {
        if (::poll(waits, 2, -1) < 0) continue;
        if ((waits[1].revents & POLLIN) != 0) return;
        if ((waits[0].revents & POLLIN) == 0) continue;
        signalfd_siginfo signal{};
        if (::read(m_signalDescriptor, &signal, sizeof signal) != sizeof signal) continue;
        if (asked) {
            // The default action, here and now, with the exit status that a shell expects.
            pthread_sigmask(SIG_UNBLOCK, &m_signals, nullptr);
            std::raise(static_cast<int>(signal.ssi_signo));
        }
        asked = true;
        m_stop.request_stop();
    }
}

}  // namespace qllama
