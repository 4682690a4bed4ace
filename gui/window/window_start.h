// What the window begins with: the command line over what is remembered from last time.
#pragma once

#include <QString>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "engine/session/generation_types.h"
#include "engine/session/model_loader.h"
#include "gui/window/device_menu.h"

class QSettings;

namespace qllama {

// What is empty is as it was last time.
struct WindowStart {
    std::optional<LoadRequest> load;  // an empty location: the model from last time
    std::optional<GenerationRequest> generation;
    std::optional<std::string> prompt;
    QString promptSource;  // what `prompt` was read from; empty: the command line itself
    std::optional<std::filesystem::path> promptFile;
    std::optional<DeviceFailureChoice> whenDeviceFails;
};

// A model on the command line is loaded exactly as the command line says. Without one, what the
// command line says of loading applies to the model from last time, as it was loaded then.
// `arguments`: such that parseCommandLine() takes them.
WindowStart windowStart(std::span<const std::string> arguments, const QSettings& settings);

}  // namespace qllama
