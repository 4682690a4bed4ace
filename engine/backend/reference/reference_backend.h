// The slow truth: every operation of Backend as a plain loop with double accumulation, one thread.
// Tests hold the fast backends against it; it is not offered to users.
#pragma once

#include <memory>

#include "engine/backend/backend.h"

namespace qllama {

struct ReferenceOptions {
    // Before products with quantised weights, as the engines do: to 8 bits in blocks of 64 columns,
    // with the engines' own f32 arithmetic, because any other would round some the other way.
    bool roundsActivations = false;
};

std::unique_ptr<Backend> createReferenceBackend(const ReferenceOptions& options = {});

}  // namespace qllama
