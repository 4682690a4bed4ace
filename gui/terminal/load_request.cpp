#include "gui/terminal/load_request.h"

#include <poll.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "engine/quant/weight_cache.h"
#include "gui/demo_model.h"
#include "gui/terminal/output.h"

namespace qllama {
namespace {

// A line of standard input, read without a buffer: what follows is not ours. Empty when stopped.
std::string readLine(const std::stop_token& stop) {
    constexpr int kLookEveryMs = 50;
    std::string line;
    while (!stop.stop_requested()) {
        pollfd input{STDIN_FILENO, POLLIN, 0};
        if (::poll(&input, 1, kLookEveryMs) <= 0) continue;
        char letter = 0;
        if (::read(STDIN_FILENO, &letter, 1) != 1 || letter == '\n') return line;
        if (letter != ' ') line += letter;
    }
    return {};
}

bool askToGoOn(const Error& failure, const std::stop_token& stop) {
    // Whatever was being shown may have left its line unfinished.
    printError("\n" + failure.text());
    printError("Go on without it, on the CPU where there is no other device? [y/N]");
    const std::string answer = readLine(stop);
    return answer == "y" || answer == "Y" || answer == "yes" || answer == "Yes";
}

std::function<bool(const Error&)> mayLeaveDevice(const CommandLine& commandLine,
                                                 std::stop_token stop) {
    switch (commandLine.deviceFailure.value_or(DeviceFailurePolicy::Ask)) {
        case DeviceFailurePolicy::FallBack:
            return [](const Error&) { return true; };
        case DeviceFailurePolicy::Ask:
            if (::isatty(STDIN_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1)
                return [stop = std::move(stop)](const Error& failure) {
                    return askToGoOn(failure, stop);
                };
            break;
        case DeviceFailurePolicy::Stop:
            break;
    }
    return {};
}

}  // namespace

Result<LoadRequest> completeLoadRequest(const CommandLine& commandLine, std::stop_token stop) {
    LoadRequest load = commandLine.load;
    load.weightCacheFolder = defaultWeightCacheFolder();
    load.mayLeaveDevice = mayLeaveDevice(commandLine, std::move(stop));
    if (commandLine.hasModel) return load;
    const auto demo = demoModelFolder();
    if (!demo)
        return Error{ErrorCode::NotFound,
                     "The demo model was not found: name a model with --model PATH.",
                     {}};
    load.location.model = *demo;
    return load;
}

}  // namespace qllama
