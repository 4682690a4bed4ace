#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "gui/command_line_options.h"
#include "gui/option_values.h"

namespace qllama {
namespace {

constexpr std::string_view kModelGroup = "Model";
constexpr int kMaximumDeviceNumber = 99;  // more is a slip of the finger

std::vector<std::string> partsOf(const std::string& text) {
    std::vector<std::string> parts;
    for (std::size_t start = 0; start <= text.size();) {
        const std::size_t comma = std::min(text.find(',', start), text.size());
        parts.push_back(text.substr(start, comma - start));
        start = comma + 1;
    }
    return parts;
}

bool isDeviceName(const std::string& text) {
    constexpr std::string_view kPrefix = "opencl:";
    int number = 0;
    const bool openCl = text.starts_with(kPrefix) &&
                        parseNumber(text.substr(kPrefix.size()), number) && number >= 0 &&
                        number <= kMaximumDeviceNumber;
    return text == "cpu" || openCl;
}

std::string parseDevice(const std::string& text, std::string& device) {
    const std::vector<std::string> names = partsOf(text);
    if (text != "auto" && !std::all_of(names.begin(), names.end(), isDeviceName))
        return "takes cpu, auto or opencl:N, or several devices with commas (--list-devices shows "
               "them), not " +
               quoted(text);
    device = text;
    return {};
}

std::string parseSplit(const std::string& text, std::optional<std::vector<std::int64_t>>& split) {
    split.reset();
    if (text == "auto") return {};
    std::vector<std::int64_t> counts;
    for (const std::string& part : partsOf(text)) {
        std::int64_t count = 0;
        if (!parseNumber(part, count) || count < 0)
            return "takes auto or a number of layers for each device (20,12), not " + quoted(text);
        counts.push_back(count);
    }
    split = std::move(counts);
    return {};
}

std::string parsePolicy(const std::string& text, std::optional<DeviceFailurePolicy>& policy) {
    if (text == "ask")
        policy = DeviceFailurePolicy::Ask;
    else if (text == "cpu")
        policy = DeviceFailurePolicy::FallBack;
    else if (text == "stop")
        policy = DeviceFailurePolicy::Stop;
    else
        return "takes ask, cpu or stop, not " + quoted(text);
    return {};
}

std::string parseShare(const std::string& text, std::optional<double>& share) {
    double number = 0;
    if (!parseNumber(text, number) || !(number >= 0 && number <= 1))
        return "needs a number from 0 to 1, not " + quoted(text);
    share = number;
    return {};
}

void addDeviceOptions(std::vector<CommandLineOption>& options) {
    options.push_back({.names = {"--device"},
                       .valueName = "cpu|auto|opencl:N",
                       .group = kModelGroup,
                       .help = "Where to compute (default " + LoadRequest().device +
                               "); several with commas run a range of layers each.",
                       .apply = [](CommandLine& line, const std::string& value) {
                           return parseDevice(value, line.load.device);
                       }});
    options.push_back({.names = {"--opencl-device"},
                       .valueName = "N",
                       .group = kModelGroup,
                       .help = "The same as --device opencl:N.",
                       .apply = [](CommandLine& line, const std::string& value) {
                           int number = 0;
                           std::string problem = parseWhole(value, 0, kMaximumDeviceNumber, number);
                           if (problem.empty())
                               line.load.device = "opencl:" + std::to_string(number);
                           return problem;
                       }});
}

}  // namespace

void addPlacementOptions(std::vector<CommandLineOption>& options) {
    addDeviceOptions(options);
    options.push_back({.names = {"--split"},
                       .valueName = "auto|N,N",
                       .group = kModelGroup,
                       .help = "Layers on each of the devices; otherwise each takes what fits into "
                               "its memory, in their order.",
                       .apply = [](CommandLine& line, const std::string& value) {
                           return parseSplit(value, line.load.split);
                       }});
    options.push_back({.names = {"--percentage-to-gpu"},
                       .valueName = "F",
                       .group = kModelGroup,
                       .help = "Part of the layers, from 0 to 1, for the device; the CPU takes the "
                               "others.",
                       .apply = [](CommandLine& line, const std::string& value) {
                           return parseShare(value, line.load.deviceShare);
                       }});
    options.push_back({.names = {"--strict-device"},
                       .group = kModelGroup,
                       .help =
                           "Fail when the model does not fit on the device, rather than let the "
                           "CPU run the layers that do not.",
                       .apply = [](CommandLine& line, const std::string&) {
                           line.load.mayUseCpu = false;
                           return "";
                       }});
    options.push_back({.names = {"--on-device-failure"},
                       .valueName = "ask|cpu|stop",
                       .group = kModelGroup,
                       .help =
                           "When a device fails: ask (without a terminal to ask on: stop), go on "
                           "without it, at last on the CPU, or stop.",
                       .apply = [](CommandLine& line, const std::string& value) {
                           return parsePolicy(value, line.deviceFailure);
                       }});
    options.push_back({.names = {"--plan"},
                       .group = kModelGroup,
                       .help = "Show how many bytes of the model would go to which device, without "
                               "loading it. With --json as JSON.",
                       .needsNoWindow = true,
                       .apply = [](CommandLine& line, const std::string&) {
                           return setAction(line, TerminalAction::Plan);
                       }});
    options.push_back({.names = {"--profile"},
                       .group = kModelGroup,
                       .help = "Time each kernel of OpenCL devices and list them at the end.",
                       .terminalOnly = true,
                       .apply = [](CommandLine& line, const std::string&) {
                           line.load.profile = true;
                           return "";
                       }});
}

}  // namespace qllama
