// The allow-listed rebuilders: what torch's own _rebuild_... functions would have made of a Call.
#pragma once

#include <string>
#include <variant>

#include "engine/checkpoint/torch_globals.h"
#include "engine/checkpoint/torch_state_dict.h"

namespace qllama {

// Why a Call that makes a tensor gives none that we can use; the rest of the file may be fine.
struct UnreadableTensor {
    std::string reason;  // "has complex elements"
};
using RebuiltTensor = std::variant<StoredTensor, UnreadableTensor>;

// What the table says about a Global or about the callable of a Call; nullptr for other nodes.
const TorchGlobal* torchGlobalOf(const PickleDocument& document, PickleId id);

// Whether the node is a Call of a rebuilder.
bool makesTensor(const PickleDocument& document, PickleId id);

// Reads the identifier ("storage", type, key, device, count[, view]) of a Persistent node.
Result<StorageReference> readStorageReference(const PickleDocument& document, PickleId id,
                                              const std::string& label);

// Runs the rebuilder. InvalidFile when its numbers are nonsense or reach outside the storage.
Result<RebuiltTensor> rebuildTensor(const PickleDocument& document, PickleId id,
                                    const std::string& name, const StorageSource& source,
                                    const std::string& label);

}  // namespace qllama
