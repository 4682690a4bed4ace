// For a look at a checkpoint that cannot be used.
#pragma once

#include <stop_token>

#include "engine/checkpoint/checkpoint_reader.h"

namespace qllama {

// What can be read of a checkpoint that openCheckpoint() refuses: without params.json (then paramsPath
// is empty and params has its defaults), or with files missing. Tensors that cannot be put together
// are those of the first file alone, as they lie in it, with a note. Fails where no weights can be
// found, or those found cannot be read.
Result<Checkpoint> surveyCheckpoint(const CheckpointLocation& location, std::stop_token stop);

}  // namespace qllama
