// What kept weights are found again by.
#pragma once

#include <string>

#include "engine/backend/precision.h"
#include "engine/checkpoint/checkpoint_reader.h"

namespace qllama {

// 32 hexadecimal digits that change with the content of the checkpoint (the directories of its
// files with their checksums, params.json, samples of every tensor), with the precision, and with
// what this program makes of them. Not with the names or places of the files. Takes milliseconds.
std::string weightCacheKey(const Checkpoint& checkpoint, Precision precision);

}  // namespace qllama
