// The Python globals that a pickle of tensors may name, and what each means to us. One line in the
// table for the next one; whatever is not in it makes parsePickle() refuse the file.
#pragma once

#include <optional>
#include <string_view>

#include "engine/checkpoint/pickle.h"
#include "engine/tensor/dtype.h"

namespace qllama {

enum class TorchRole : std::uint8_t {
    RebuildTensor,     // (storage, offset, size, stride, ...)
    RebuildTensorV3,   // (storage, offset, size, stride, requires_grad, hooks, dtype, ...)
    RebuildParameter,  // (tensor, ...)
    RebuildFromType,   // (rebuilder, type, arguments, state)
    Mapping,           // OrderedDict and the like: the entries are what counts
    Storage,           // a typed storage; dtype empty: an element type we cannot read
    UntypedStorage,    // counted in bytes
    ElementType,       // torch.float16 and the like, same rule for dtype
    Size,              // torch.Size((4, 2))
    Inert,             // harmless to know about, and of no use here
};

struct TorchGlobal {
    std::string_view module;
    std::string_view name;
    TorchRole role = TorchRole::Inert;
    std::optional<DType> dtype;
};

// nullptr when the global is not allowed.
const TorchGlobal* findTorchGlobal(std::string_view module, std::string_view name);

inline bool isTorchGlobal(std::string_view module, std::string_view name) {
    return findTorchGlobal(module, name) != nullptr;
}

}  // namespace qllama
