#include "engine/checkpoint/pickle_machine.h"

#include <algorithm>

#include "engine/checkpoint/printable.h"

namespace qllama {
namespace {

// A checkpoint of a thousand tensors has some 50,000 nodes.
constexpr std::size_t kMaxNodes = 2'000'000;
constexpr std::size_t kMaxStack = 4'000'000;
constexpr std::size_t kMaxItems = 8'000'000;  // of all containers together
constexpr std::size_t kMaxDepth = 500;
constexpr std::size_t kMaxGlobalName = 1024;

}  // namespace

Error PickleMachine::failure(const std::string& message, ErrorCode code) const {
    return {code, message, m_label + ", byte " + std::to_string(m_firstOffset + m_opcodePosition)};
}

Result<std::string_view> PickleMachine::take(std::uint64_t count) {
    if (count > m_bytes.size() - m_position)
        return failure("The pickle is cut short: its next value has a length of " +
                       std::to_string(count) + " where " +
                       countText(static_cast<std::int64_t>(m_bytes.size() - m_position), "byte") +
                       " remain.");
    const char* begin = reinterpret_cast<const char*>(m_bytes.data()) + m_position;
    m_position += count;
    return std::string_view(begin, count);
}

Result<std::uint64_t> PickleMachine::takeUnsigned(int byteCount) {
    QLLAMA_TRY(const std::string_view bytes, take(static_cast<std::uint64_t>(byteCount)));
    std::uint64_t value = 0;
    for (std::size_t index = bytes.size(); index-- > 0;)
        value = value << 8 | static_cast<unsigned char>(bytes[index]);
    return value;
}

Result<std::string_view> PickleMachine::takeLine() {
    const std::size_t limit = std::min(m_bytes.size() - m_position, kMaxGlobalName);
    const std::string_view ahead(reinterpret_cast<const char*>(m_bytes.data()) + m_position, limit);
    const std::size_t length = ahead.find('\n');
    if (length == std::string_view::npos)
        return failure("The pickle is damaged: a name does not end.");
    m_position += length + 1;
    return ahead.substr(0, length);
}

Result<void> PickleMachine::push(PickleNode node) {
    if (m_document.nodes.size() >= kMaxNodes)
        return failure("The pickle holds more than " + std::to_string(kMaxNodes) +
                       " objects; a checkpoint has no such number.");
    m_document.nodes.push_back(std::move(node));
    return pushId(static_cast<PickleId>(m_document.nodes.size() - 1));
}

Result<void> PickleMachine::pushId(PickleId id) {
    if (m_stack.size() >= kMaxStack) return failure("The pickle needs an absurdly large stack.");
    m_stack.push_back(id);
    return {};
}

Result<void> PickleMachine::pushText(PickleKind kind, int lengthBytes) {
    QLLAMA_TRY(const std::uint64_t length, takeUnsigned(lengthBytes));
    PickleNode node{.kind = kind};
    QLLAMA_TRY(node.text, take(length));
    return push(std::move(node));
}

Result<void> PickleMachine::pushLong(int lengthBytes) {
    QLLAMA_TRY(const std::uint64_t length, takeUnsigned(lengthBytes));
    QLLAMA_TRY(const std::string_view bytes, take(length));
    if (length > sizeof(std::int64_t)) return push({.kind = PickleKind::BigInt, .text = bytes});
    const bool isNegative = !bytes.empty() && (bytes.back() & 0x80) != 0;
    std::uint64_t value = isNegative ? ~std::uint64_t{0} : 0;
    for (std::size_t index = bytes.size(); index-- > 0;)
        value = value << 8 | static_cast<unsigned char>(bytes[index]);
    return push({.kind = PickleKind::Int, .integer = static_cast<std::int64_t>(value)});
}

Result<void> PickleMachine::pushGlobal(std::string_view module, std::string_view name) {
    if (!m_isAllowed(module, name)) {
        return failure("The file asks Python to run \"" + printable(module) + "." +
                       printable(name) +
                       "\". That is not among the few functions a checkpoint of weights needs, so "
                       "nothing was executed and the file is refused. If you trust where it comes "
                       "from, save its tensors again as a plain state dict.");
    }
    return push({.kind = PickleKind::Global, .isFrozen = true, .text = module, .name = name});
}

// The depth of a container of depth `depth` that takes in `items`, which count against the limit.
Result<std::uint16_t> PickleMachine::depthWith(std::size_t depth, const Nodes& items) {
    m_itemCount += items.size();
    if (m_itemCount > kMaxItems)
        return failure("The containers of the pickle hold more than " + std::to_string(kMaxItems) +
                       " items; a checkpoint has no such number.");
    for (const PickleId item : items)
        depth = std::max<std::size_t>(depth, m_document.nodes[item].depth + 1U);
    if (depth > kMaxDepth)
        return failure("The pickle is nested more than " + std::to_string(kMaxDepth) +
                       " levels deep; a checkpoint never is.");
    return static_cast<std::uint16_t>(depth);
}

Result<void> PickleMachine::pushItems(PickleKind kind, Nodes items, bool isFrozen) {
    QLLAMA_TRY(const std::uint16_t depth, depthWith(0, items));
    return push({.kind = kind, .isFrozen = isFrozen, .depth = depth, .items = std::move(items)});
}

// Values under the topmost mark are out of reach until the mark is taken away.
Result<PickleId> PickleMachine::pop() {
    const std::size_t floor = m_marks.empty() ? 0 : m_marks.back();
    if (m_stack.size() <= floor)
        return failure("The pickle is damaged: it takes a value that it never made.");
    const PickleId id = m_stack.back();
    m_stack.pop_back();
    return id;
}

Result<PickleMachine::Nodes> PickleMachine::popItems(std::size_t count) {
    Nodes items(count);
    for (std::size_t index = count; index-- > 0;) {
        QLLAMA_TRY(items[index], pop());
    }
    return items;
}

Result<PickleMachine::Nodes> PickleMachine::popToMark() {
    if (m_marks.empty()) return failure("The pickle is damaged: a mark is missing.");
    Nodes items(m_stack.begin() + static_cast<std::ptrdiff_t>(m_marks.back()), m_stack.end());
    m_stack.resize(m_marks.back());
    m_marks.pop_back();
    return items;
}

// Adds to the container on top of the stack, which stays there. A Call takes items as well: that
// is how the entries of an OrderedDict arrive.
Result<void> PickleMachine::addTo(const Nodes& added, bool inPairs) {
    if (inPairs && added.size() % 2 != 0)
        return failure("The pickle is damaged: a dictionary gets a key without a value.");
    QLLAMA_TRY(const PickleId target, pop());
    PickleNode& node = m_document.nodes[target];
    const bool fits = node.kind == PickleKind::Call || (node.kind == PickleKind::Dict && inPairs) ||
                      ((node.kind == PickleKind::List || node.kind == PickleKind::Set) && !inPairs);
    if (!fits || node.isFrozen)
        return failure("The pickle is damaged: it adds items to something that holds none.");
    QLLAMA_TRY(node.depth, depthWith(node.depth, added));
    node.items.insert(node.items.end(), added.begin(), added.end());
    return pushId(target);
}

// Keyword arguments are kept as one more item; no rebuilder that we know takes any.
Result<void> PickleMachine::makeCall(bool hasKeywords) {
    QLLAMA_TRY(Nodes parts, popItems(hasKeywords ? 3 : 2));
    if (m_document.at(parts[0]).kind != PickleKind::Global)
        return failure("The pickle is damaged: it calls something that is not a function.");
    if (m_document.at(parts[1]).kind != PickleKind::Tuple)
        return failure("The pickle is damaged: the arguments of a call are not a tuple.");
    parts.resize(2);
    return pushItems(PickleKind::Call, std::move(parts), false);
}

Result<void> PickleMachine::remember(std::uint64_t slot) {
    if (m_stack.empty()) return failure("The pickle is damaged: it remembers a missing value.");
    if (m_memo.size() >= kMaxNodes)
        return failure("The pickle remembers more than " + std::to_string(kMaxNodes) + " objects.");
    m_memo[slot] = m_stack.back();
    return {};
}

Result<void> PickleMachine::recall(std::uint64_t slot) {
    const auto found = m_memo.find(slot);
    if (found == m_memo.end())
        return failure("The pickle is damaged: it refers to object " + std::to_string(slot) +
                       ", which it never made.");
    return pushId(found->second);
}

}  // namespace qllama
