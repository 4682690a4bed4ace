#include "gui/display.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace qllama {
namespace {

std::string_view valueOf(const char* variable) {
    const char* value = std::getenv(variable);
    return value == nullptr ? std::string_view() : value;
}

bool connects(int family, const sockaddr* address, socklen_t size) {
    const int descriptor = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return false;
    const bool connected = ::connect(descriptor, address, size) == 0;
    ::close(descriptor);
    return connected;
}

// `name` may begin with a zero byte: Linux' sockets without a file.
bool listensAt(std::string_view name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (name.empty() || name.size() >= sizeof address.sun_path) return false;
    std::memcpy(address.sun_path, name.data(), name.size());
    const std::size_t size = offsetof(sockaddr_un, sun_path) + name.size();
    return connects(AF_UNIX, reinterpret_cast<const sockaddr*>(&address),
                    static_cast<socklen_t>(size));
}

bool listensOnThisMachine(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connects(AF_INET, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

// "HOST:NUMBER.SCREEN", as X(7) has it. Other machines are not asked, which might take minutes.
bool hasX11(std::string_view display) {
    const std::size_t colon = display.rfind(':');
    if (colon == std::string_view::npos) return false;
    const std::string_view host = display.substr(0, colon);
    int number = 0;
    const char* const end = display.data() + display.size();
    if (std::from_chars(display.data() + colon + 1, end, number).ec != std::errc()) return false;
    constexpr int kFirstPort = 6000;
    if (host == "localhost" || host == "127.0.0.1")
        return listensOnThisMachine(kFirstPort + number);
    if (!host.empty() && host != "unix") return true;
    const std::string file = "/tmp/.X11-unix/X" + std::to_string(number);
    return listensAt(file) || listensAt('\0' + file);
}

bool hasWayland(std::string_view display) {
    if (display.empty()) return false;
    if (display.starts_with('/')) return listensAt(display);
    return listensAt(std::string(valueOf("XDG_RUNTIME_DIR")) + "/" + std::string(display));
}

}  // namespace

std::string displayProblem(int argc, const char* const* argv) {
    for (int index = 1; index < argc; ++index)
        if (std::strcmp(argv[index], "-platform") == 0) return {};
    const std::string_view x11 = valueOf("DISPLAY");
    const std::string_view wayland = valueOf("WAYLAND_DISPLAY");
    if (!valueOf("QT_QPA_PLATFORM").empty() || hasX11(x11) || hasWayland(wayland)) return {};
    const std::string advice = "; use --headless to generate in the terminal.";
    if (x11.empty() && wayland.empty())
        return "There is no display to open the window on (neither DISPLAY nor WAYLAND_DISPLAY is "
               "set)" +
               advice;
    return "The display " + std::string(wayland.empty() ? x11 : wayland) +
           " does not answer, so there is nothing to open the window on" + advice;
}

}  // namespace qllama
