#include "gui/terminal/load_request.h"

#include <unistd.h>

#include <string>

#include "engine/quant/weight_cache.h"
#include "gui/demo_model.h"
#include "gui/terminal/output.h"

namespace qllama {
namespace {

// A line of standard input, read without a buffer: what follows is not ours.
std::string readLine() {
    std::string line;
    for (char letter = 0; ::read(STDIN_FILENO, &letter, 1) == 1 && letter != '\n';)
        line += letter;
    return line;
}

bool askToGoOn(const Error& failure) {
    printError(failure.text());
    printError("Go on without it, on the CPU where there is no other device? [y/N]");
    const std::string answer = readLine();
    return answer == "y" || answer == "Y" || answer == "yes";
}

std::function<bool(const Error&)> mayLeaveDevice(const CommandLine& commandLine) {
    switch (commandLine.deviceFailure.value_or(DeviceFailurePolicy::Ask)) {
        case DeviceFailurePolicy::FallBack:
            return [](const Error&) { return true; };
        case DeviceFailurePolicy::Ask:
            if (::isatty(STDIN_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1) return askToGoOn;
            break;
        case DeviceFailurePolicy::Stop:
            break;
    }
    return {};
}

}  // namespace

Result<LoadRequest> completeLoadRequest(const CommandLine& commandLine) {
    LoadRequest load = commandLine.load;
    load.weightCacheFolder = defaultWeightCacheFolder();
    load.mayLeaveDevice = mayLeaveDevice(commandLine);
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
