// What the devices of a model can do at best.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <vector>

#include "engine/backend/speed_probe.h"
#include "engine/session/model_loader.h"

namespace qllama {

// Borrows the model, whose devices must stay as they are meanwhile. One thread at a time.
class ModelSpeedProbe {
public:
    // Fails as SpeedProbe does.
    static Result<ModelSpeedProbe> create(LoadedModel& model, const std::stop_token& stop);

    // At how many GB (10^9 bytes) a second a token's weights could be read: each device's share at the
    // speed of that device, one after another.
    [[nodiscard]] Result<double> measureGbPerSecond(const std::stop_token& stop);

    // 10^9 multiply-adds a second for prompts; empty where it is not known, or for several devices.
    [[nodiscard]] Result<std::optional<double>> measureMultiplyAdds(const std::stop_token& stop);

private:
    struct Part {
        std::unique_ptr<SpeedProbe> probe;
        double bytesPerToken = 0;
    };
    std::vector<Part> m_parts;
    Precision m_precision = Precision::Source;
};

}  // namespace qllama
