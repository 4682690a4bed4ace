// The slow truth: every operation of Backend as a plain loop with double accumulation, one thread.
// Tests hold the fast backends against it; it is not offered to users.
#pragma once

#include <memory>

#include "engine/backend/backend.h"

namespace qllama {

std::unique_ptr<Backend> createReferenceBackend();

}  // namespace qllama
