#include "engine/checkpoint/pickle.h"

#include <bit>

#include "engine/checkpoint/pickle_machine.h"

namespace qllama {
namespace {

constexpr std::size_t kMaxMarks = 500;  // Python's own pickler recurses, so cannot nest deeper
constexpr int kMinProtocol = 2;
constexpr int kMaxProtocol = 5;

}  // namespace

Result<void> PickleMachine::stepStack(Opcode opcode) {
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

Result<void> PickleMachine::stepScalar(Opcode opcode) {
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

Result<void> PickleMachine::stepText(Opcode opcode) {
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

Result<void> PickleMachine::stepContainer(Opcode opcode) {
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

Result<void> PickleMachine::stepMemo(Opcode opcode) {
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

Result<void> PickleMachine::stepObject(Opcode opcode) {
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

Result<void> PickleMachine::step(Opcode opcode) {
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

Result<PickleDocument> PickleMachine::run() {
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

Result<PickleDocument> parsePickle(std::span<const std::byte> bytes, PickleGlobalFilter isAllowed,
                                   const std::string& label, std::size_t firstOffset) {
    return PickleMachine(bytes, isAllowed, label, firstOffset).run();
}

}  // namespace qllama
