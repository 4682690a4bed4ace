#include "engine/checkpoint/state_dict_pickle.h"

#include <cassert>
#include <cstdint>
#include <string_view>

namespace qllama {
namespace {

// The opcodes of Python's pickle protocol 2 that a state dict needs.
constexpr std::string_view kProtocol2 = "\x80\x02";
constexpr char kEmptyDict = '}';
constexpr char kMark = '(';
constexpr char kSetItems = 'u';
constexpr char kStop = '.';
constexpr char kGlobal = 'c';    // module, line feed, name, line feed
constexpr char kUnicode = 'X';   // 32-bit length, UTF-8
constexpr char kSmallInt = 'K';  // 8 bits without sign
constexpr char kInt = 'J';       // 32 bits with sign
constexpr char kLong = '\x8a';   // 8-bit length, two's complement
constexpr char kTuple = 't';     // of everything since the mark
constexpr char kEmptyTuple = ')';
constexpr char kReduce = 'R';      // callable, tuple of arguments
constexpr char kPersistent = 'Q';  // the tuple on the stack names something outside the pickle
constexpr char kFalse = '\x89';

std::string_view storageType(DType dtype) {
    switch (dtype) {
        case DType::F64:
            return "DoubleStorage";
        case DType::F32:
            return "FloatStorage";
        case DType::BF16:
            return "BFloat16Storage";
        default:
            assert(dtype == DType::F16);
            return "HalfStorage";
    }
}

class PickleText {
public:
    void add(char opcode) { m_text += opcode; }
    void add(std::string_view text) { m_text += text; }
    void global(std::string_view module, std::string_view name) {
        add(kGlobal);
        m_text.append(module).append("\n").append(name).append("\n");
    }
    void unicode(std::string_view text) {
        add(kUnicode);
        littleEndian(static_cast<std::int64_t>(text.size()), 4);
        m_text += text;
    }
    void integer(std::int64_t value) {
        assert(value >= 0);
        if (value <= UINT8_MAX) {
            add(kSmallInt);
            littleEndian(value, 1);
        } else if (value <= INT32_MAX) {
            add(kInt);
            littleEndian(value, 4);
        } else {
            add(kLong);
            add('\x08');
            littleEndian(value, 8);
        }
    }
    [[nodiscard]] const std::string& text() const { return m_text; }

private:
    void littleEndian(std::int64_t value, int bytes) {
        for (int i = 0; i < bytes; ++i)
            m_text += static_cast<char>(value >> (8 * i) & 0xFF);
    }

    std::string m_text;
};

void addIntegers(PickleText& pickle, std::span<const std::int64_t> values) {
    pickle.add(kMark);
    for (const std::int64_t value : values)
        pickle.integer(value);
    pickle.add(kTuple);
}

void addStorage(PickleText& pickle, const TensorHeader& tensor, std::size_t index) {
    pickle.add(kMark);
    pickle.unicode("storage");
    pickle.global("torch", storageType(tensor.dtype));
    pickle.unicode(std::to_string(index));
    pickle.unicode("cpu");
    pickle.integer(tensor.elementCount());
    pickle.add(kTuple);
    pickle.add(kPersistent);
}

// _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)
void addTensor(PickleText& pickle, const TensorHeader& tensor, std::size_t index) {
    std::vector<std::int64_t> strides(tensor.shape.size(), 1);
    for (std::size_t axis = strides.size(); axis-- > 1;)
        strides[axis - 1] = strides[axis] * tensor.shape[axis];
    pickle.global("torch._utils", "_rebuild_tensor_v2");
    pickle.add(kMark);
    addStorage(pickle, tensor, index);
    pickle.integer(0);
    addIntegers(pickle, tensor.shape);
    addIntegers(pickle, strides);
    pickle.add(kFalse);
    pickle.global("collections", "OrderedDict");
    pickle.add(kEmptyTuple);
    pickle.add(kReduce);
    pickle.add(kTuple);
    pickle.add(kReduce);
}

}  // namespace

std::string stateDictPickle(std::span<const TensorHeader> tensors) {
    PickleText pickle;
    pickle.add(kProtocol2);
    pickle.add(kEmptyDict);
    pickle.add(kMark);
    for (std::size_t index = 0; index < tensors.size(); ++index) {
        pickle.unicode(tensors[index].name);
        addTensor(pickle, tensors[index], index);
    }
    pickle.add(kSetItems);
    pickle.add(kStop);
    return pickle.text();
}

}  // namespace qllama
