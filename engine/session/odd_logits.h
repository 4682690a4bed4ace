// What is said when a model's logits are not finite.
#pragma once

#include <string>

#include "engine/session/model_loader.h"

namespace qllama {

// `when`: "at the end of the prompt". Nothing sensible follows from such logits, nor from the keys and
// values beside them.
inline Error oddLogits(const ModelInfo& model, const std::string& when) {
    return {ErrorCode::InvalidFile,
            "The model computes values that are not numbers (infinite or undefined), first seen " +
                when +
                ". Its weights are damaged, or too large for the precision: load it with precision "
                "f32, or get the checkpoint again.",
            model.path};
}

}  // namespace qllama
