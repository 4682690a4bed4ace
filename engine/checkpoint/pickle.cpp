#include "engine/checkpoint/pickle.h"

#include <bit>
#include <cstring>
#include <new>
#include <unordered_map>

#include "engine/checkpoint/printable.h"

namespace qllama {
namespace {

// A checkpoint of a thousand tensors has some 50,000 nodes.
constexpr std::size_t kMaxNodes = 2'000'000;
constexpr std::size_t kMaxStack = 4'000'000;
constexpr std::size_t kMaxMarks = 500;  // Python's own pickler recurses, so cannot nest deeper
constexpr std::size_t kMaxDepth = 500;
constexpr std::size_t kMaxGlobalName = 1024;
constexpr int kMinProtocol = 2;
constexpr int kMaxProtocol = 5;

enum class Opcode : std::uint8_t {
    Mark = '(',
    Stop = '.',
    Pop = '0',
    PopMark = '1',
    Dup = '2',
    BinBytes = 'B',
    ShortBinBytes = 'C',
    BinFloat = 'G',
    BinInt = 'J',
    BinInt1 = 'K',
    BinInt2 = 'M',
    None = 'N',
    BinPersistent = 'Q',
    Reduce = 'R',
    BinString = 'T',
    ShortBinString = 'U',
    BinUnicode = 'X',
    Append = 'a',
    Build = 'b',
    Global = 'c',
    Dict = 'd',
    Appends = 'e',
    BinGet = 'h',
    LongBinGet = 'j',
    List = 'l',
    BinPut = 'q',
    LongBinPut = 'r',
    SetItem = 's',
    Tuple = 't',
    SetItems = 'u',
    EmptyDict = '}',
    EmptyList = ']',
    EmptyTuple = ')',
    Protocol = 0x80,
    NewObject = 0x81,
    Tuple1 = 0x85,
    Tuple2 = 0x86,
    Tuple3 = 0x87,
    True = 0x88,
    False = 0x89,
    Long1 = 0x8A,
    Long4 = 0x8B,
    ShortBinUnicode = 0x8C,
    BinUnicode8 = 0x8D,
    BinBytes8 = 0x8E,
    EmptySet = 0x8F,
    AddItems = 0x90,
    FrozenSet = 0x91,
    NewObjectEx = 0x92,
    StackGlobal = 0x93,
    Memoize = 0x94,
    Frame = 0x95,
    ByteArray8 = 0x96,
};

class Machine {
public:
    Machine(std::span<const std::byte> bytes, PickleGlobalFilter isAllowed,
            const std::string& label)
        : m_bytes(bytes), m_isAllowed(isAllowed), m_label(label) {}

    Result<PickleDocument> run();

private:
    using Nodes = std::vector<PickleId>;

    // One table of small steps: what an opcode reads, pops and pushes.
    Result<void> step(Opcode opcode);
    Result<void> stepStack(Opcode opcode);
    Result<void> stepScalar(Opcode opcode);
    Result<void> stepText(Opcode opcode);
    Result<void> stepContainer(Opcode opcode);
    Result<void> stepMemo(Opcode opcode);
    Result<void> stepObject(Opcode opcode);

    [[nodiscard]] Error failure(const std::string& message,
                                ErrorCode code = ErrorCode::InvalidFile) const;
    Result<std::string_view> take(std::uint64_t count);
    Result<std::uint64_t> takeUnsigned(int byteCount);
    Result<std::string_view> takeLine();

    Result<void> push(PickleNode node);
    Result<void> pushId(PickleId id);
    Result<void> pushText(PickleKind kind, int lengthBytes);
    Result<void> pushLong(int lengthBytes);
    Result<void> pushGlobal(std::string_view module, std::string_view name);
    Result<void> pushItems(PickleKind kind, Nodes items, bool isFrozen);
    Result<PickleId> pop();
    Result<Nodes> popItems(std::size_t count);
    Result<Nodes> popToMark();

    Result<void> addTo(const Nodes& added, bool inPairs);
    Result<void> makeCall(bool hasKeywords);
    Result<void> remember(std::uint64_t slot);
    Result<void> recall(std::uint64_t slot);

    std::span<const std::byte> m_bytes;
    PickleGlobalFilter m_isAllowed;
    const std::string& m_label;
    std::size_t m_position = 0;
    std::size_t m_opcodePosition = 0;
    PickleDocument m_document;
    Nodes m_stack;
    std::vector<std::size_t> m_marks;  // heights of the stack
    std::unordered_map<std::uint64_t, PickleId> m_memo;
};

Error Machine::failure(const std::string& message, ErrorCode code) const {
    return {code, message, m_label + ", byte " + std::to_string(m_opcodePosition)};
}

Result<std::string_view> Machine::take(std::uint64_t count) {
    if (count > m_bytes.size() - m_position)
        return failure("The pickle is cut short: " + std::to_string(count) +
                       " more bytes were announced, " +
                       std::to_string(m_bytes.size() - m_position) + " are left.");
    const char* begin = reinterpret_cast<const char*>(m_bytes.data()) + m_position;
    m_position += count;
    return std::string_view(begin, count);
}

Result<std::uint64_t> Machine::takeUnsigned(int byteCount) {
    QLLAMA_TRY(const std::string_view bytes, take(static_cast<std::uint64_t>(byteCount)));
    std::uint64_t value = 0;
    for (std::size_t index = bytes.size(); index-- > 0;)
        value = value << 8 | static_cast<unsigned char>(bytes[index]);
    return value;
}

Result<std::string_view> Machine::takeLine() {
    const std::size_t limit = std::min(m_bytes.size() - m_position, kMaxGlobalName);
    const std::string_view ahead(reinterpret_cast<const char*>(m_bytes.data()) + m_position, limit);
    const std::size_t length = ahead.find('\n');
    if (length == std::string_view::npos)
        return failure("The pickle is damaged: a name does not end.");
    m_position += length + 1;
    return ahead.substr(0, length);
}

Result<void> Machine::push(PickleNode node) {
    if (m_document.nodes.size() >= kMaxNodes)
        return failure("The pickle holds more than " + std::to_string(kMaxNodes) +
                       " objects; a checkpoint has no such number.");
    m_document.nodes.push_back(std::move(node));
    return pushId(static_cast<PickleId>(m_document.nodes.size() - 1));
}

Result<void> Machine::pushId(PickleId id) {
    if (m_stack.size() >= kMaxStack) return failure("The pickle needs an absurdly large stack.");
    m_stack.push_back(id);
    return {};
}

Result<void> Machine::pushText(PickleKind kind, int lengthBytes) {
    QLLAMA_TRY(const std::uint64_t length, takeUnsigned(lengthBytes));
    PickleNode node{.kind = kind};
    QLLAMA_TRY(node.text, take(length));
    return push(std::move(node));
}

Result<void> Machine::pushLong(int lengthBytes) {
    QLLAMA_TRY(const std::uint64_t length, takeUnsigned(lengthBytes));
    QLLAMA_TRY(const std::string_view bytes, take(length));
    if (length > sizeof(std::int64_t)) return push({.kind = PickleKind::BigInt, .text = bytes});
    const bool isNegative = !bytes.empty() && (bytes.back() & 0x80) != 0;
    std::uint64_t value = isNegative ? ~std::uint64_t{0} : 0;
    for (std::size_t index = bytes.size(); index-- > 0;)
        value = value << 8 | static_cast<unsigned char>(bytes[index]);
    return push({.kind = PickleKind::Int, .integer = static_cast<std::int64_t>(value)});
}

Result<void> Machine::pushGlobal(std::string_view module, std::string_view name) {
    if (!m_isAllowed(module, name)) {
        return failure("The file asks Python to run \"" + printable(module) + "." +
                       printable(name) +
                       "\". That is not among the few functions a checkpoint of weights needs, so "
                       "nothing was executed and the file is refused. If you trust where it comes "
                       "from, save its tensors again as a plain state dict.");
    }
    return push({.kind = PickleKind::Global, .isFrozen = true, .text = module, .name = name});
}

Result<void> Machine::pushItems(PickleKind kind, Nodes items, bool isFrozen) {
    std::size_t depth = 0;
    for (const PickleId item : items)
        depth = std::max<std::size_t>(depth, m_document.nodes[item].depth + 1U);
    if (depth > kMaxDepth)
        return failure("The pickle is nested more than " + std::to_string(kMaxDepth) +
                       " levels deep; a checkpoint never is.");
    return push({.kind = kind,
                 .isFrozen = isFrozen,
                 .depth = static_cast<std::uint16_t>(depth),
                 .items = std::move(items)});
}

// Values under the topmost mark are out of reach until the mark is taken away.
Result<PickleId> Machine::pop() {
    const std::size_t floor = m_marks.empty() ? 0 : m_marks.back();
    if (m_stack.size() <= floor)
        return failure("The pickle is damaged: it takes a value that it never made.");
    const PickleId id = m_stack.back();
    m_stack.pop_back();
    return id;
}

Result<Machine::Nodes> Machine::popItems(std::size_t count) {
    Nodes items(count);
    for (std::size_t index = count; index-- > 0;) {
        QLLAMA_TRY(items[index], pop());
    }
    return items;
}

Result<Machine::Nodes> Machine::popToMark() {
    if (m_marks.empty()) return failure("The pickle is damaged: a mark is missing.");
    Nodes items(m_stack.begin() + static_cast<std::ptrdiff_t>(m_marks.back()), m_stack.end());
    m_stack.resize(m_marks.back());
    m_marks.pop_back();
    return items;
}

// Adds to the container on top of the stack, which stays there. A Call takes items as well: that
// is how the entries of an OrderedDict arrive.
Result<void> Machine::addTo(const Nodes& added, bool inPairs) {
    if (inPairs && added.size() % 2 != 0)
        return failure("The pickle is damaged: a dictionary gets a key without a value.");
    QLLAMA_TRY(const PickleId target, pop());
    PickleNode& node = m_document.nodes[target];
    const bool fits = node.kind == PickleKind::Call || (node.kind == PickleKind::Dict && inPairs) ||
                      ((node.kind == PickleKind::List || node.kind == PickleKind::Set) && !inPairs);
    if (!fits || node.isFrozen)
        return failure("The pickle is damaged: it adds items to something that holds none.");
    std::size_t depth = node.depth;
    for (const PickleId item : added)
        depth = std::max<std::size_t>(depth, m_document.nodes[item].depth + 1U);
    if (depth > kMaxDepth)
        return failure("The pickle is nested more than " + std::to_string(kMaxDepth) +
                       " levels deep; a checkpoint never is.");
    node.depth = static_cast<std::uint16_t>(depth);
    node.items.insert(node.items.end(), added.begin(), added.end());
    return pushId(target);
}

// Keyword arguments are kept as one more item; no rebuilder that we know takes any.
Result<void> Machine::makeCall(bool hasKeywords) {
    QLLAMA_TRY(Nodes parts, popItems(hasKeywords ? 3 : 2));
    if (m_document.at(parts[0]).kind != PickleKind::Global)
        return failure("The pickle is damaged: it calls something that is not a function.");
    if (m_document.at(parts[1]).kind != PickleKind::Tuple)
        return failure("The pickle is damaged: the arguments of a call are not a tuple.");
    parts.resize(2);
    return pushItems(PickleKind::Call, std::move(parts), false);
}

Result<void> Machine::remember(std::uint64_t slot) {
    if (m_stack.empty()) return failure("The pickle is damaged: it remembers a missing value.");
    if (m_memo.size() >= kMaxNodes)
        return failure("The pickle remembers more than " + std::to_string(kMaxNodes) + " objects.");
    m_memo[slot] = m_stack.back();
    return {};
}

Result<void> Machine::recall(std::uint64_t slot) {
    const auto found = m_memo.find(slot);
    if (found == m_memo.end())
        return failure("The pickle is damaged: it refers to object " + std::to_string(slot) +
                       ", which it never made.");
    return pushId(found->second);
}

Result<void> Machine::stepStack(Opcode opcode) {
    switch (opcode) {
        case Opcode::Mark:
            if (m_marks.size() >= kMaxMarks)
                return failure("The pickle is nested more than " + std::to_string(kMaxMarks) +
                               " levels deep; a checkpoint never is.");
            m_marks.push_back(m_stack.size());
            return {};
        case Opcode::Pop: {
            QLLAMA_TRY([[maybe_unused]] const PickleId dropped, pop());
            return {};
        }
        case Opcode::PopMark: {
            QLLAMA_TRY([[maybe_unused]] const Nodes dropped, popToMark());
            return {};
        }
        case Opcode::Dup: {
            QLLAMA_TRY(const PickleId top, pop());
            QLLAMA_CHECK(pushId(top));
            return pushId(top);
        }
        default:  // Frame: a hint for buffered readers
            QLLAMA_TRY([[maybe_unused]] const std::uint64_t length, takeUnsigned(8));
            return {};
    }
}

Result<void> Machine::stepScalar(Opcode opcode) {
    switch (opcode) {
        case Opcode::True:
        case Opcode::False:
            return push({.kind = PickleKind::Bool, .integer = opcode == Opcode::True ? 1 : 0});
        case Opcode::BinInt: {
            QLLAMA_TRY(const std::uint64_t bits, takeUnsigned(4));
            return push({.kind = PickleKind::Int, .integer = static_cast<std::int32_t>(bits)});
        }
        case Opcode::BinInt1:
        case Opcode::BinInt2: {
            QLLAMA_TRY(const std::uint64_t value, takeUnsigned(opcode == Opcode::BinInt1 ? 1 : 2));
            return push({.kind = PickleKind::Int, .integer = static_cast<std::int64_t>(value)});
        }
        case Opcode::Long1:
            return pushLong(1);
        case Opcode::Long4:
            return pushLong(4);
        case Opcode::BinFloat: {
            QLLAMA_TRY(const std::string_view bytes, take(8));
            std::uint64_t bits = 0;  // the only big-endian number of the format
            for (const char byte : bytes)
                bits = bits << 8 | static_cast<unsigned char>(byte);
            return push({.kind = PickleKind::Float, .real = std::bit_cast<double>(bits)});
        }
        default:
            return push({.kind = PickleKind::None});
    }
}

Result<void> Machine::stepText(Opcode opcode) {
    switch (opcode) {
        case Opcode::ShortBinUnicode:
        case Opcode::ShortBinString:  // Python 2's str: names of tensors in old files
            return pushText(PickleKind::Text, 1);
        case Opcode::BinUnicode:
        case Opcode::BinString:
            return pushText(PickleKind::Text, 4);
        case Opcode::BinUnicode8:
            return pushText(PickleKind::Text, 8);
        case Opcode::ShortBinBytes:
            return pushText(PickleKind::Bytes, 1);
        case Opcode::BinBytes:
            return pushText(PickleKind::Bytes, 4);
        default:  // BinBytes8, ByteArray8
            return pushText(PickleKind::Bytes, 8);
    }
}

Result<void> Machine::stepContainer(Opcode opcode) {
    const auto fixedTuple = [&](std::size_t count) -> Result<void> {
        QLLAMA_TRY(Nodes items, popItems(count));
        return pushItems(PickleKind::Tuple, std::move(items), true);
    };
    const auto fromMark = [&](PickleKind kind, bool isFrozen) -> Result<void> {
        QLLAMA_TRY(Nodes items, popToMark());
        if (kind == PickleKind::Dict && items.size() % 2 != 0)
            return failure("The pickle is damaged: a dictionary has a key without a value.");
        return pushItems(kind, std::move(items), isFrozen);
    };
    const auto add = [&](Result<Nodes> items, bool inPairs) -> Result<void> {
        if (!items.ok()) return items.error();
        return addTo(items.value(), inPairs);
    };
    switch (opcode) {
        case Opcode::EmptyTuple:
            return pushItems(PickleKind::Tuple, {}, true);
        case Opcode::EmptyList:
            return pushItems(PickleKind::List, {}, false);
        case Opcode::EmptyDict:
            return pushItems(PickleKind::Dict, {}, false);
        case Opcode::EmptySet:
            return pushItems(PickleKind::Set, {}, false);
        case Opcode::Tuple1:
            return fixedTuple(1);
        case Opcode::Tuple2:
            return fixedTuple(2);
        case Opcode::Tuple3:
            return fixedTuple(3);
        case Opcode::Tuple:
            return fromMark(PickleKind::Tuple, true);
        case Opcode::List:
            return fromMark(PickleKind::List, false);
        case Opcode::Dict:
            return fromMark(PickleKind::Dict, false);
        case Opcode::FrozenSet:
            return fromMark(PickleKind::Set, true);
        case Opcode::Append:
            return add(popItems(1), false);
        case Opcode::SetItem:
            return add(popItems(2), true);
        case Opcode::SetItems:
            return add(popToMark(), true);
        default:  // Appends, AddItems
            return add(popToMark(), false);
    }
}

Result<void> Machine::stepMemo(Opcode opcode) {
    switch (opcode) {
        case Opcode::Memoize:
            return remember(m_memo.size());
        case Opcode::BinPut:
        case Opcode::LongBinPut: {
            QLLAMA_TRY(const std::uint64_t slot, takeUnsigned(opcode == Opcode::BinPut ? 1 : 4));
            return remember(slot);
        }
        default: {
            QLLAMA_TRY(const std::uint64_t slot, takeUnsigned(opcode == Opcode::BinGet ? 1 : 4));
            return recall(slot);
        }
    }
}

Result<void> Machine::stepObject(Opcode opcode) {
    switch (opcode) {
        case Opcode::Global: {
            QLLAMA_TRY(const std::string_view module, takeLine());
            QLLAMA_TRY(const std::string_view name, takeLine());
            return pushGlobal(module, name);
        }
        case Opcode::StackGlobal: {
            QLLAMA_TRY(const Nodes names, popItems(2));
            const PickleNode& module = m_document.at(names[0]);
            const PickleNode& name = m_document.at(names[1]);
            if (module.kind != PickleKind::Text || name.kind != PickleKind::Text)
                return failure("The pickle is damaged: a function's name is not text.");
            return pushGlobal(module.text, name.text);
        }
        case Opcode::BinPersistent: {
            QLLAMA_TRY(Nodes identifier, popItems(1));
            return pushItems(PickleKind::Persistent, std::move(identifier), true);
        }
        case Opcode::Build: {
            QLLAMA_TRY(const Nodes pair, popItems(2));
            PickleNode& target = m_document.nodes[pair[0]];
            if (target.isFrozen)
                return failure("The pickle is damaged: it sets the state of a plain value.");
            target.state = pair[1];
            return pushId(pair[0]);
        }
        default:  // Reduce, NewObject, NewObjectEx
            return makeCall(opcode == Opcode::NewObjectEx);
    }
}

Result<void> Machine::step(Opcode opcode) {
    switch (opcode) {
        case Opcode::Mark:
        case Opcode::Pop:
        case Opcode::PopMark:
        case Opcode::Dup:
        case Opcode::Frame:
            return stepStack(opcode);
        case Opcode::None:
        case Opcode::True:
        case Opcode::False:
        case Opcode::BinInt:
        case Opcode::BinInt1:
        case Opcode::BinInt2:
        case Opcode::Long1:
        case Opcode::Long4:
        case Opcode::BinFloat:
            return stepScalar(opcode);
        case Opcode::ShortBinUnicode:
        case Opcode::BinUnicode:
        case Opcode::BinUnicode8:
        case Opcode::ShortBinString:
        case Opcode::BinString:
        case Opcode::ShortBinBytes:
        case Opcode::BinBytes:
        case Opcode::BinBytes8:
        case Opcode::ByteArray8:
            return stepText(opcode);
        case Opcode::EmptyTuple:
        case Opcode::EmptyList:
        case Opcode::EmptyDict:
        case Opcode::EmptySet:
        case Opcode::Tuple:
        case Opcode::Tuple1:
        case Opcode::Tuple2:
        case Opcode::Tuple3:
        case Opcode::List:
        case Opcode::Dict:
        case Opcode::FrozenSet:
        case Opcode::Append:
        case Opcode::Appends:
        case Opcode::SetItem:
        case Opcode::SetItems:
        case Opcode::AddItems:
            return stepContainer(opcode);
        case Opcode::BinPut:
        case Opcode::LongBinPut:
        case Opcode::BinGet:
        case Opcode::LongBinGet:
        case Opcode::Memoize:
            return stepMemo(opcode);
        case Opcode::Global:
        case Opcode::StackGlobal:
        case Opcode::BinPersistent:
        case Opcode::Build:
        case Opcode::Reduce:
        case Opcode::NewObject:
        case Opcode::NewObjectEx:
            return stepObject(opcode);
        default:
            return failure(
                "The pickle is damaged, or was not written by torch.save: it uses "
                "opcode " +
                std::to_string(static_cast<int>(opcode)) + ".");
    }
}

Result<PickleDocument> Machine::run() {
    QLLAMA_TRY(const std::uint64_t first, takeUnsigned(1));
    if (static_cast<Opcode>(first) != Opcode::Protocol)
        return failure("This is not a binary pickle: it does not begin with a protocol number.");
    QLLAMA_TRY(const std::uint64_t protocol, takeUnsigned(1));
    if (protocol < kMinProtocol || protocol > kMaxProtocol)
        return failure("The pickle has protocol " + std::to_string(protocol) + "; supported are " +
                           std::to_string(kMinProtocol) + " to " + std::to_string(kMaxProtocol) +
                           ".",
                       ErrorCode::Unsupported);
    while (true) {
        m_opcodePosition = m_position;
        QLLAMA_TRY(const std::uint64_t byte, takeUnsigned(1));
        const auto opcode = static_cast<Opcode>(byte);
        if (opcode == Opcode::Stop) break;
        QLLAMA_CHECK(step(opcode));
    }
    if (!m_marks.empty()) return failure("The pickle ends in the middle of a container.");
    QLLAMA_TRY(m_document.root, pop());
    m_document.sizeBytes = m_position;
    return std::move(m_document);
}

}  // namespace

Result<PickleDocument> parsePickle(std::span<const std::byte> bytes, PickleGlobalFilter isAllowed,
                                   const std::string& label) {
    return Machine(bytes, isAllowed, label).run();
}

}  // namespace qllama
