#include "engine/quant/packed_f16.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace qllama {
namespace {

constexpr std::size_t kBlock = kBlockColumns;
constexpr std::size_t kStored = kF16Group - 1;  // blocks of a group
constexpr unsigned kSign = 0x8000;

using Block = std::array<std::uint16_t, kBlock>;

// The block that begins at `first`, zero behind the row's end.
Block blockAt(std::span<const std::uint16_t> bits, std::size_t first) {
    Block block{};
    const auto rest = bits.subspan(std::min(first, bits.size()));
    std::copy_n(rest.begin(), std::min(rest.size(), kBlock), block.begin());
    return block;
}

bool hasSpareBits(const Block& block) {
    unsigned all = 0;
    for (const std::uint16_t word : block)
        all |= word;
    return (all & kF16SpareBit) == 0;
}

// Moves weights that have no spare bit from the block to the exceptions.
void takeExceptions(Block& block, std::size_t first, PackedRow& packed) {
    if (hasSpareBits(block)) return;
    for (std::size_t i = 0; i < kBlock; ++i) {
        if ((block[i] & kF16SpareBit) == 0) continue;
        packed.exceptions.push_back({static_cast<std::uint16_t>(first + i), block[i]});
        block[i] = 0;
    }
}

// The 15 bits of a weight next to each other, the sign above the others; and back.
constexpr unsigned joined(unsigned word) {
    return (word & (kF16SpareBit - 1)) | (word & kSign) >> 1;
}
constexpr unsigned parted(unsigned bits) {
    return (bits & (kF16SpareBit - 1)) | (bits << 1 & kSign);
}

// Puts bit `index` of each weight of the last block into the spare bits.
void spread(const Block& last, std::size_t index, Block& block) {
    for (std::size_t i = 0; i < kBlock; ++i)
        block[i] = static_cast<std::uint16_t>(
            block[i] | (joined(last[i]) << (kStored - 1 - index) & kF16SpareBit));
}

}  // namespace

void packF16Row(std::span<const std::uint16_t> bits, std::byte* row, PackedRow& packed) {
    const std::size_t blocks = (bits.size() + kBlock - 1) / kBlock;
    for (std::size_t group = 0; group < blocks; group += kF16Group) {
        const bool isWhole = group + kF16Group <= blocks;
        const std::size_t stored = isWhole ? kStored : blocks - group;
        Block last{};
        PackedRow later;  // its exceptions come behind those of the others
        if (isWhole) {
            last = blockAt(bits, (group + kStored) * kBlock);
            takeExceptions(last, (group + kStored) * kBlock, later);
        }
        for (std::size_t i = 0; i < stored; ++i, row += kF16BlockBytes) {
            Block block = blockAt(bits, (group + i) * kBlock);
            takeExceptions(block, (group + i) * kBlock, packed);
            spread(last, i, block);
            std::memcpy(row, block.data(), sizeof block);
        }
        packed.exceptions.insert(packed.exceptions.end(), later.exceptions.begin(),
                                 later.exceptions.end());
    }
}

std::uint16_t unpackF16(const std::byte* row, std::int64_t column) {
    const std::int64_t block = column / kBlockColumns;
    const std::int64_t group = block / kF16Group;
    const auto wordOf = [&](std::int64_t stored) {
        std::uint16_t word;
        std::memcpy(
            &word,
            row + (group * (kF16Group - 1) + stored) * kF16BlockBytes + column % kBlockColumns * 2,
            sizeof word);
        return unsigned{word};
    };
    if (block % kF16Group != kF16Group - 1)
        return static_cast<std::uint16_t>(wordOf(block % kF16Group) & ~unsigned{kF16SpareBit});
    unsigned bits = 0;
    for (std::int64_t stored = 0; stored < kF16Group - 1; ++stored)
        bits |= (wordOf(stored) & kF16SpareBit) >> (kF16Group - 2 - stored);
    return static_cast<std::uint16_t>(parted(bits));
}

}  // namespace qllama
