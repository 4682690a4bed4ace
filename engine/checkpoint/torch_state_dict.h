// From the nodes of a pickle to named tensors. Only our own rebuilders run, on checked numbers.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint/pickle.h"
#include "engine/common/result.h"
#include "engine/tensor/stored_tensor.h"

namespace qllama {

// What a pickle says about one storage: which, of what type, how long. Not yet believed.
struct StorageReference {
    std::string key;
    std::optional<DType> dtype;  // empty: untyped (counted in bytes) or a type we cannot read
    bool isUntyped = false;
    std::int64_t elementCount = 0;  // bytes when untyped
    std::int64_t viewOffset = 0;    // in elements; only very old files have views of storages
};

// The bytes of a storage. May be called again for the same key.
using StorageSource = std::function<Result<StorageBytes>(const StorageReference&)>;

struct StateDict {
    std::map<std::string, StoredTensor> tensors;  // by name, without "module." and the like
    std::vector<std::string> notes;               // what was left out, in sentences
};

// Finds the dictionary of weights in the pickle: the whole of it, or below "model", "state_dict"
// or another key. Every tensor is checked to lie inside its storage. Other entries become notes.
Result<StateDict> readStateDict(const PickleDocument& document, const StorageSource& source,
                                const std::string& label);

// Every storage that the pickle mentions, for files that store them one after the other.
Result<std::vector<StorageReference>> storagesOf(const PickleDocument& document,
                                                 const std::string& label);

}  // namespace qllama
