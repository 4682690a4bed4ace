// The pickle of a dictionary of tensors, as torch.save puts it into data.pkl.
#pragma once

#include <span>
#include <string>

#include "engine/checkpoint/checkpoint_writer.h"

namespace qllama {

// Protocol 2; tensor i views the whole of storage i ("data/i" in the zip) on the CPU.
std::string stateDictPickle(std::span<const TensorHeader> tensors);

}  // namespace qllama
