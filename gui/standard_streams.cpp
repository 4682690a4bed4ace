#include "gui/standard_streams.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <initializer_list>

namespace qllama {

void holdStandardStreams() {
    for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(descriptor, F_GETFD) != -1) continue;
        // Those below are open, so it gets this number. The wrong way round on purpose: nothing can be
        // read from the input, nor written to the others.
        const int mode = descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY;
        static_cast<void>(::open("/dev/null", mode));
    }
}

bool waitUntilReady(int descriptor, short event) {
    pollfd wait{descriptor, event, 0};
    int count;
    do
        count = ::poll(&wait, 1, -1);
    while (count < 0 && errno == EINTR);
    return count > 0;
}

}  // namespace qllama
