#include "gui/window/window_start.h"

#include <QSettings>
#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "gui/command_line.h"
#include "gui/window/window_settings.h"

namespace qllama {
namespace {

constexpr const char* kPlacementOptions[] = {"--device", "--opencl-device", "--split",
                                             "--percentage-to-gpu", "--strict-device"};

// What holds where the command line says nothing.
CommandLine remembered(const CommandLine& told, const QSettings& settings) {
    CommandLine kept;
    kept.generation = restoreGeneration(settings);
    if (told.given.contains("--stop")) kept.generation.stopStrings.clear();
    if (told.hasModel) return kept;
    kept.load = restoreLoad(settings);
    const bool placed =
        std::any_of(std::begin(kPlacementOptions), std::end(kPlacementOptions),
                    [&told](const char* option) { return told.given.contains(option); });
    if (placed) {
        kept.load.split.reset();
        kept.load.deviceShare.reset();
        kept.load.mayUseCpu = true;
    }
    return kept;
}

// Independent of the current folder: the window remembers it, and may start elsewhere the next time.
void makeAbsolute(std::filesystem::path& path) {
    if (path.empty()) return;  // none
    std::error_code failed;
    const bool hasName = path.filename() != "." && path.filename() != "..";
    const auto absolute = hasName ? std::filesystem::absolute(path, failed)
                                  : std::filesystem::canonical(path, failed);
    if (!failed) path = absolute;
}

std::optional<DeviceFailureChoice> choiceOf(const std::optional<DeviceFailurePolicy>& policy) {
    if (!policy) return std::nullopt;
    switch (*policy) {
        case DeviceFailurePolicy::FallBack:
            return DeviceFailureChoice::GoOn;
        case DeviceFailurePolicy::Stop:
            return DeviceFailureChoice::Stop;
        case DeviceFailurePolicy::Ask:
            break;
    }
    return DeviceFailureChoice::Ask;
}

}  // namespace

WindowStart windowStart(std::span<const std::string> arguments, const QSettings& settings) {
    const auto told = parseCommandLine(arguments).commandLine.value_or(CommandLine());
    const auto all =
        parseCommandLine(arguments, remembered(told, settings)).commandLine.value_or(told);
    WindowStart start;
    LoadRequest load = all.load;
    makeAbsolute(load.location.model);
    if (load.location.tokenizer) makeAbsolute(*load.location.tokenizer);
    if (load.location.params) makeAbsolute(*load.location.params);
    start.load = std::move(load);
    start.generation = all.generation;
    if (told.hasPrompt) start.prompt = told.generation.prompt;
    start.promptFile = told.promptFile;
    start.whenDeviceFails = choiceOf(told.deviceFailure);
    return start;
}

}  // namespace qllama
