// torch's format from before the zip (torch.save until 1.5, or on request still), one after the
// other in one file:
//
//   pickle   the magic number
//   pickle   the protocol version, 1001
//   pickle   facts about the machine that wrote it (byte order)
//   pickle   the object: names, shapes, and which storage each tensor views
//   pickle   the list of the storages' keys
//   for each key: int64 number of elements, then the elements
#pragma once

#include <memory>
#include <string>

#include "engine/checkpoint/torch_state_dict.h"
#include "engine/common/mapped_file.h"

namespace qllama {

// Whether the file begins with the magic number of this format.
bool isLegacyTorchFile(std::span<const std::byte> bytes);

// The storages stay in the mapped file. `label` names the file in errors.
Result<StateDict> readLegacyTorchFile(const std::shared_ptr<const MappedFile>& file,
                                      const std::string& label);

}  // namespace qllama
