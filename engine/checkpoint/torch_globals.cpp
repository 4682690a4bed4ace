#include "engine/checkpoint/torch_globals.h"

namespace qllama {
namespace {

using enum TorchRole;

constexpr TorchGlobal kGlobals[] = {
    {"torch._utils", "_rebuild_tensor", RebuildTensor, {}},
    {"torch._utils", "_rebuild_tensor_v2", RebuildTensor, {}},
    {"torch._utils", "_rebuild_tensor_v3", RebuildTensorV3, {}},
    {"torch._utils", "_rebuild_parameter", RebuildParameter, {}},
    {"torch._utils", "_rebuild_parameter_with_state", RebuildParameter, {}},
    {"torch._tensor", "_rebuild_from_type_v2", RebuildFromType, {}},

    {"collections", "OrderedDict", Mapping, {}},
    {"collections", "defaultdict", Mapping, {}},

    {"torch", "DoubleStorage", Storage, DType::F64},
    {"torch", "FloatStorage", Storage, DType::F32},
    {"torch", "HalfStorage", Storage, DType::F16},
    {"torch", "BFloat16Storage", Storage, DType::BF16},
    {"torch", "LongStorage", Storage, DType::I64},
    {"torch", "IntStorage", Storage, DType::I32},
    {"torch", "ShortStorage", Storage, DType::I16},
    {"torch", "CharStorage", Storage, DType::I8},
    {"torch", "ByteStorage", Storage, DType::U8},
    {"torch", "BoolStorage", Storage, DType::Bool},
    {"torch", "ComplexFloatStorage", Storage, {}},
    {"torch", "ComplexDoubleStorage", Storage, {}},
    {"torch", "QInt8Storage", Storage, {}},
    {"torch", "QUInt8Storage", Storage, {}},
    {"torch", "QInt32Storage", Storage, {}},
    {"torch", "UntypedStorage", UntypedStorage, {}},
    {"torch.storage", "UntypedStorage", UntypedStorage, {}},
    {"torch.storage", "_UntypedStorage", UntypedStorage, {}},

    {"torch", "float64", ElementType, DType::F64},
    {"torch", "float32", ElementType, DType::F32},
    {"torch", "float16", ElementType, DType::F16},
    {"torch", "bfloat16", ElementType, DType::BF16},
    {"torch", "int64", ElementType, DType::I64},
    {"torch", "int32", ElementType, DType::I32},
    {"torch", "int16", ElementType, DType::I16},
    {"torch", "int8", ElementType, DType::I8},
    {"torch", "uint8", ElementType, DType::U8},
    {"torch", "bool", ElementType, DType::Bool},
    {"torch", "complex64", ElementType, {}},
    {"torch", "complex128", ElementType, {}},
    {"torch", "uint16", ElementType, {}},
    {"torch", "uint32", ElementType, {}},
    {"torch", "uint64", ElementType, {}},
    {"torch", "float8_e4m3fn", ElementType, {}},
    {"torch", "float8_e5m2", ElementType, {}},

    {"torch", "Size", Size, {}},
    {"torch", "device", Inert, {}},
    {"torch", "Tensor", Inert, {}},
    {"torch.nn.parameter", "Parameter", Inert, {}},
    {"torch._utils", "_rebuild_qtensor", Inert, {}},
    {"torch._utils", "_rebuild_sparse_tensor", Inert, {}},
    {"torch.serialization", "_get_layout", Inert, {}},
    {"argparse", "Namespace", Inert, {}},
    {"_codecs", "encode", Inert, {}},   // bytes, in protocol 2
    {"__builtin__", "set", Inert, {}},  // protocol 2 uses Python 2's names
    {"__builtin__", "frozenset", Inert, {}},
    {"__builtin__", "bytearray", Inert, {}},
    {"__builtin__", "complex", Inert, {}},
    {"__builtin__", "dict", Inert, {}},
    {"__builtin__", "list", Inert, {}},
    {"__builtin__", "int", Inert, {}},
    {"__builtin__", "float", Inert, {}},
    {"builtins", "set", Inert, {}},
    {"builtins", "frozenset", Inert, {}},
    {"builtins", "bytearray", Inert, {}},
    {"builtins", "complex", Inert, {}},
    {"builtins", "dict", Inert, {}},
    {"builtins", "list", Inert, {}},
    {"builtins", "int", Inert, {}},
    {"builtins", "float", Inert, {}},
    {"numpy", "dtype", Inert, {}},
    {"numpy", "ndarray", Inert, {}},
    {"numpy.core.multiarray", "scalar", Inert, {}},
    {"numpy.core.multiarray", "_reconstruct", Inert, {}},
    {"numpy._core.multiarray", "scalar", Inert, {}},
    {"numpy._core.multiarray", "_reconstruct", Inert, {}},
};

}  // namespace

const TorchGlobal* findTorchGlobal(std::string_view module, std::string_view name) {
    for (const TorchGlobal& global : kGlobals)
        if (global.module == module && global.name == name) return &global;
    return nullptr;
}

}  // namespace qllama
