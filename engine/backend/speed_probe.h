// What a device can do at best, for comparison with what the forward pass does on it.
#pragma once

#include <optional>
#include <stop_token>

#include "engine/backend/precision.h"
#include "engine/common/result.h"

namespace qllama {

// Holds a buffer far larger than the caches, filled once, so that single measurements are quick and can
// be taken between the things they are compared with. It uses all of the device while it measures. One
// thread at a time, and the backend it comes from must still be there.
class SpeedProbe {
public:
    virtual ~SpeedProbe() = default;

    // Bytes read from the device's memory a second, in GB (10^9): the best of several patterns of access.
    // Fails with Cancelled or Device.
    [[nodiscard]] virtual Result<double> measureGbPerSecond(const std::stop_token& stop) = 0;

    // 10^9 multiply-adds a second in the arithmetic that products of many positions with weights of this
    // precision use, in registers alone. Empty where it is not known. Fails as above.
    [[nodiscard]] virtual Result<std::optional<double>> measureMultiplyAdds(
        Precision precision, const std::stop_token& stop) = 0;
};

}  // namespace qllama
