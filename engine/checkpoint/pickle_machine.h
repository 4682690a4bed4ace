// Inside of pickle.cpp: the state of the machine and the small operations its opcodes are made of.
#pragma once

#include <unordered_map>

#include "engine/checkpoint/pickle.h"

namespace qllama {

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

// Runs once. Every step checks what it takes; nothing recurses, so no input can exhaust the stack.
class PickleMachine {
public:
    PickleMachine(std::span<const std::byte> bytes, PickleGlobalFilter isAllowed,
                  const std::string& label, std::size_t firstOffset)
        : m_bytes(bytes), m_isAllowed(isAllowed), m_label(label), m_firstOffset(firstOffset) {}

    Result<PickleDocument> run();

private:
    using Nodes = std::vector<PickleId>;

    // What one opcode reads from the bytes, takes from the stack and puts there.
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
    Result<std::uint16_t> depthWith(std::size_t depth, const Nodes& items);
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
    std::size_t m_firstOffset;  // of the bytes in their file, for errors
    std::size_t m_position = 0;
    std::size_t m_opcodePosition = 0;
    PickleDocument m_document;
    std::size_t m_itemCount = 0;  // of all containers
    Nodes m_stack;
    std::vector<std::size_t> m_marks;  // heights of the stack
    std::unordered_map<std::uint64_t, PickleId> m_memo;
};

}  // namespace qllama
