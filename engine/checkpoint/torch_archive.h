// torch.save's zip format, from a zip or from the folder it was unzipped into:
//
//   <any prefix>/data.pkl     the pickle: names, shapes, and which storage each tensor views
//   <any prefix>/byteorder    "little" (since torch 2.1)
//   <any prefix>/data/<key>   the bytes of one storage
#pragma once

#include <stop_token>
#include <string>

#include "engine/checkpoint/archive.h"
#include "engine/checkpoint/torch_state_dict.h"

namespace qllama {

// `label` names the file in errors. Stop is polled for each storage.
Result<StateDict> readTorchArchive(Archive& archive, const std::string& label,
                                   std::stop_token stop);

}  // namespace qllama
