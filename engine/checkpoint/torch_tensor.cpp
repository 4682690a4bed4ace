#include "engine/checkpoint/torch_tensor.h"

#include <algorithm>

#include "engine/checkpoint/printable.h"

namespace qllama {
namespace {

constexpr std::size_t kMaxRank = 8;
constexpr int kMaxWrappers = 8;  // a Parameter around a subclass around a tensor: three
constexpr std::size_t kMaxStorageKey = 1024;  // torch numbers them

// Only an empty tensor could claim more; joined with those of other shards it still fits 64 bits.
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 40;

// A view may repeat elements (torch.expand), but a small file must not stand for a huge tensor.
constexpr std::int64_t kMaxRepeatedElements = 1 << 20;

using Extents = std::vector<std::int64_t>;

class Rebuilder {
public:
    Rebuilder(const PickleDocument& document, const std::string& name, const StorageSource& source,
              const std::string& label)
        : m_document(document), m_name(name), m_source(source), m_label(label) {}

    Result<RebuiltTensor> call(const TorchGlobal& function, PickleId arguments, int wrappers);

private:
    [[nodiscard]] Error failure(const std::string& what) const {
        return {ErrorCode::InvalidFile, "Tensor \"" + printable(m_name) + "\" " + what + ".",
                m_label};
    }
    [[nodiscard]] const PickleNode& at(PickleId id) const { return m_document.at(id); }

    Result<RebuiltTensor> unwrap(const TorchGlobal& function, PickleId arguments, int wrappers);
    Result<RebuiltTensor> build(const TorchGlobal& function, const PickleNode& arguments);
    Result<std::int64_t> readNumber(PickleId id, const char* what) const;
    Result<Extents> readExtents(PickleId id, const char* what) const;
    Result<std::int64_t> neededElements(const StoredTensor& tensor) const;
    Result<void> attachStorage(StoredTensor& tensor, const StorageReference& reference);

    const PickleDocument& m_document;
    const std::string& m_name;
    const StorageSource& m_source;
    const std::string& m_label;
};

Result<RebuiltTensor> Rebuilder::call(const TorchGlobal& function, PickleId arguments,
                                      int wrappers) {
    const PickleNode& tuple = at(arguments);
    if (tuple.kind != PickleKind::Tuple) return failure("is described by something strange");
    if (function.role == TorchRole::RebuildParameter || function.role == TorchRole::RebuildFromType)
        return unwrap(function, arguments, wrappers);
    return build(function, tuple);
}

// A parameter is its tensor, a subclass with attributes is what its own rebuilder makes.
Result<RebuiltTensor> Rebuilder::unwrap(const TorchGlobal& function, PickleId arguments,
                                        int wrappers) {
    const PickleNode& tuple = at(arguments);
    if (wrappers >= kMaxWrappers) return failure("is wrapped in too many others");
    PickleId inner = kNoPickle;
    const TorchGlobal* innerFunction = nullptr;
    if (function.role == TorchRole::RebuildParameter && !tuple.items.empty()) {
        innerFunction = torchGlobalOf(m_document, tuple.items[0]);
        if (at(tuple.items[0]).kind == PickleKind::Call) inner = at(tuple.items[0]).items[1];
    } else if (tuple.items.size() >= 3) {
        innerFunction = torchGlobalOf(m_document, tuple.items[0]);
        inner = tuple.items[2];
    }
    if (innerFunction == nullptr || inner == kNoPickle)
        return failure("is described by something strange");
    if (innerFunction->role > TorchRole::RebuildFromType)
        return RebuiltTensor(UnreadableTensor{"is not a plain tensor"});
    return call(*innerFunction, inner, wrappers + 1);
}

Result<RebuiltTensor> Rebuilder::build(const TorchGlobal& function, const PickleNode& arguments) {
    const bool hasOwnType = function.role == TorchRole::RebuildTensorV3;
    if (arguments.items.size() < (hasOwnType ? 7 : 4))
        return failure("is described by too few numbers");
    QLLAMA_TRY(const StorageReference reference,
               readStorageReference(m_document, arguments.items[0], m_label));
    std::optional<DType> dtype = reference.dtype;
    if (hasOwnType) {
        const TorchGlobal* type = torchGlobalOf(m_document, arguments.items[6]);
        if (type == nullptr || type->role != TorchRole::ElementType)
            return failure("has no element type");
        dtype = type->dtype;
    } else if (reference.isUntyped) {
        dtype = DType::U8;
    }
    if (!dtype) return RebuiltTensor(UnreadableTensor{"has elements of a type that is not used"});
    StoredTensor tensor;
    tensor.dtype = *dtype;
    QLLAMA_TRY(tensor.offset, readNumber(arguments.items[1], "offset"));
    QLLAMA_TRY(tensor.shape, readExtents(arguments.items[2], "shape"));
    QLLAMA_TRY(tensor.strides, readExtents(arguments.items[3], "strides"));
    if (tensor.shape.size() != tensor.strides.size())
        return failure("has the shape " + shapeText(tensor.shape) + " but the strides " +
                       shapeText(tensor.strides));
    QLLAMA_CHECK(attachStorage(tensor, reference));
    return RebuiltTensor(std::move(tensor));
}

Result<std::int64_t> Rebuilder::readNumber(PickleId id, const char* what) const {
    const PickleNode& node = at(id);
    if (node.kind != PickleKind::Int) return failure(std::string("has no number as ") + what);
    if (node.integer < 0)
        return failure(std::string("has a negative number (") + std::to_string(node.integer) +
                       ") in its " + what);
    return node.integer;
}

Result<Extents> Rebuilder::readExtents(PickleId id, const char* what) const {
    const PickleNode* node = &at(id);
    const TorchGlobal* global = torchGlobalOf(m_document, id);
    if (node->kind == PickleKind::Call && global != nullptr && global->role == TorchRole::Size) {
        const PickleNode& arguments = at(node->items[1]);
        if (arguments.items.size() == 1) node = &at(arguments.items[0]);
    }
    if (node->kind != PickleKind::Tuple && node->kind != PickleKind::List)
        return failure(std::string("has no list of numbers as ") + what);
    if (node->items.size() > kMaxRank)
        return failure("has " + std::to_string(node->items.size()) + " dimensions; at most " +
                       std::to_string(kMaxRank) + " make sense");
    Extents extents;
    for (const PickleId item : node->items) {
        QLLAMA_TRY(const std::int64_t extent, readNumber(item, what));
        extents.push_back(extent);
    }
    return extents;
}

// One more than the last element of the storage that the view reaches; 0 for an empty tensor.
Result<std::int64_t> Rebuilder::neededElements(const StoredTensor& tensor) const {
    std::int64_t count = 1;
    std::int64_t last = tensor.offset;
    bool overflow = false;
    for (std::size_t axis = 0; axis < tensor.shape.size(); ++axis) {
        std::int64_t reach = 0;
        overflow |= tensor.shape[axis] > kMaxExtent;
        overflow |= __builtin_mul_overflow(count, tensor.shape[axis], &count);
        overflow |= __builtin_mul_overflow(std::max<std::int64_t>(tensor.shape[axis] - 1, 0),
                                           tensor.strides[axis], &reach);
        overflow |= __builtin_add_overflow(last, reach, &last);
    }
    std::int64_t bytes = 0;
    overflow |= __builtin_mul_overflow(count, sizeOf(tensor.dtype), &bytes);
    overflow |= __builtin_add_overflow(last, 1, &last);
    overflow |= __builtin_mul_overflow(last, sizeOf(tensor.dtype), &bytes);
    if (overflow)
        return failure("claims the impossible size " + shapeText(tensor.shape) + " with strides " +
                       shapeText(tensor.strides) + " from element " +
                       std::to_string(tensor.offset) + " on");
    return count == 0 ? 0 : last;
}

Result<void> Rebuilder::attachStorage(StoredTensor& tensor, const StorageReference& reference) {
    QLLAMA_TRY(const std::int64_t needed, neededElements(tensor));
    const std::string storageName = "storage \"" + printable(reference.key) + "\"";
    const std::int64_t available = reference.isUntyped
                                       ? reference.elementCount / sizeOf(tensor.dtype)
                                       : reference.elementCount;
    if (needed > available)
        return failure("of shape " + shapeText(tensor.shape) + " reaches element " +
                       std::to_string(needed) + " of its " + storageName + ", which has " +
                       std::to_string(available) + "; the file is damaged");
    const std::int64_t count = tensor.elementCount();
    if (count > available && count > kMaxRepeatedElements)
        return failure("repeats the " + std::to_string(available) + " elements of its " +
                       storageName + " to " + std::to_string(count) + "; that is refused");
    if (needed == 0) {
        tensor.offset = 0;
        return {};
    }
    QLLAMA_TRY(tensor.storage, m_source(reference));
    const auto sizeBytes = static_cast<std::uint64_t>(available) * sizeOf(tensor.dtype);
    if (tensor.storage.bytes.size() < sizeBytes)
        return failure("needs " + std::to_string(sizeBytes) + " bytes of its " + storageName +
                       ", but only " + std::to_string(tensor.storage.bytes.size()) +
                       " are in the file; the file is truncated or damaged");
    return {};
}

}  // namespace

const TorchGlobal* torchGlobalOf(const PickleDocument& document, PickleId id) {
    const PickleNode* node = &document.at(id);
    if (node->kind == PickleKind::Call) node = &document.at(node->items[0]);
    return node->kind == PickleKind::Global ? findTorchGlobal(node->text, node->name) : nullptr;
}

bool makesTensor(const PickleDocument& document, PickleId id) {
    if (document.at(id).kind != PickleKind::Call) return false;
    const TorchGlobal* function = torchGlobalOf(document, id);
    return function != nullptr && function->role <= TorchRole::RebuildFromType;
}

Result<StorageReference> readStorageReference(const PickleDocument& document, PickleId id,
                                              const std::string& label) {
    const Error strange{ErrorCode::InvalidFile,
                        "The pickle names a storage in a way that torch never does.", label};
    const PickleNode& node = document.at(id);
    if (node.kind != PickleKind::Persistent) return strange;
    const PickleNode& tuple = document.at(node.items[0]);
    if (tuple.kind != PickleKind::Tuple || tuple.items.size() < 5) return strange;
    const TorchGlobal* type = torchGlobalOf(document, tuple.items[1]);
    const PickleNode& word = document.at(tuple.items[0]);
    const PickleNode& key = document.at(tuple.items[2]);
    const PickleNode& count = document.at(tuple.items[4]);
    const bool isStorage = type != nullptr && (type->role == TorchRole::Storage ||
                                               type->role == TorchRole::UntypedStorage);
    if (!isStorage || word.text != "storage" || key.kind != PickleKind::Text ||
        key.text.size() > kMaxStorageKey || count.kind != PickleKind::Int || count.integer < 0)
        return strange;
    StorageReference reference{.key = std::string(key.text),
                               .dtype = type->dtype,
                               .isUntyped = type->role == TorchRole::UntypedStorage,
                               .elementCount = count.integer,
                               .viewOffset = 0};
    if (tuple.items.size() > 5 && document.at(tuple.items[5]).kind != PickleKind::None) {
        const PickleNode& view = document.at(tuple.items[5]);  // (key, offset, count)
        if (view.kind != PickleKind::Tuple || view.items.size() != 3) return strange;
        const PickleNode& offset = document.at(view.items[1]);
        const PickleNode& length = document.at(view.items[2]);
        if (offset.kind != PickleKind::Int || offset.integer < 0 ||
            length.kind != PickleKind::Int || length.integer < 0)
            return strange;
        reference.viewOffset = offset.integer;
        reference.elementCount = length.integer;
    }
    return reference;
}

Result<RebuiltTensor> rebuildTensor(const PickleDocument& document, PickleId id,
                                    const std::string& name, const StorageSource& source,
                                    const std::string& label) {
    const TorchGlobal* function = torchGlobalOf(document, id);
    return Rebuilder(document, name, source, label).call(*function, document.at(id).items[1], 0);
}

}  // namespace qllama
