// From the bytes of a packed row (quant/packed_bf16.h, quant/packed_f16.h) to vectors of f32, for
// packed_kernels.cpp.
// Included once a target.
#if defined(QLLAMA_CPU_PACKED_FIELDS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef QLLAMA_CPU_PACKED_FIELDS_INL_H
#undef QLLAMA_CPU_PACKED_FIELDS_INL_H
#else
#define QLLAMA_CPU_PACKED_FIELDS_INL_H
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "engine/backend/cpu/kernels/load-inl.h"
#include "engine/quant/packed_bf16.h"
#include "engine/quant/packed_f16.h"
#include "engine/tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

constexpr std::size_t kLaneCount = hn::MaxLanes(F32Tag());
constexpr std::size_t kBlock = kBlockColumns;

// Neighbouring weights, divided by their factor.
struct TwoVectors {
    F32Vector first;
    F32Vector second;
};
constexpr std::size_t kTwo = 2 * kLaneCount;

// A field whose sign is the highest bit becomes a bf16, or with zeros behind it a float: its sign, its exponent,
// of which the upper four bits are those of 2^-15 to 2^0, its mantissa.
constexpr std::uint16_t kFieldBits = 0x87FF;
constexpr std::uint16_t kExponentBits = 112 << 7;

// Of bf16: a vector is read whole, of which a row's last fields are a part: behind those of the last row are the
// factors.
constexpr std::int64_t kReadBehind = 8;
static_assert(kReadBehind <= kTileRows * std::int64_t{sizeof(float)});

#if HWY_TARGET <= HWY_AVX3
// Each lane takes the two words of 16 bits that its field lies in.
HWY_INLINE F32Vector UnpackLanes(const std::byte* at) {
    alignas(64) static constexpr std::uint16_t kWords[32] = {0, 1, 0, 1,  1, 2,  2,  3,  3,  4, 3,
                                                             4, 4, 5, 5,  6, 6,  7,  6,  7,  7, 8,
                                                             8, 9, 9, 10, 9, 10, 10, 11, 11, 12};
    alignas(64) static constexpr std::uint32_t kShifts[16] = {20, 8, 12, 16, 20, 8, 12, 16,
                                                              20, 8, 12, 16, 20, 8, 12, 16};
    const __m512i bytes =
        _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
    const __m512i words = _mm512_permutexvar_epi16(_mm512_load_si512(kWords), bytes);
    const __m512i raised =
        _mm512_srai_epi32(_mm512_sllv_epi32(words, _mm512_load_si512(kShifts)), 4);
    constexpr int kAndOr = 0xEA;  // (a & b) | c
    return F32Vector{_mm512_castsi512_ps(_mm512_ternarylogic_epi32(
        raised, _mm512_set1_epi32(static_cast<int>(std::uint32_t{kFieldBits} << 16)),
        _mm512_set1_epi32(kExponentBits << 16), kAndOr))};
}

HWY_INLINE TwoVectors UnpackBf16(const std::byte* fields) {
    return {UnpackLanes(fields), UnpackLanes(fields + kLaneCount * kBf16FieldBits / 8)};
}
#elif HWY_TARGET == HWY_SCALAR
HWY_INLINE TwoVectors UnpackBf16(const std::byte* fields) {
    std::uint32_t two = 0;
    std::memcpy(&two, fields, 3);
    const auto unpacked = [](std::uint32_t field) HWY_ATTR {
        const auto raised = static_cast<std::int16_t>(field << 4);
        const auto bits = static_cast<std::uint16_t>((raised >> 4 & kFieldBits) | kExponentBits);
        return hn::Set(F32Tag(), bfloat16ToFloat(bits));
    };
    return {unpacked(two), unpacked(two >> kBf16FieldBits)};
}
#else
// Eight weights in 128 bits, 12 bytes of which their fields lie in: each word of 16 bits takes the two bytes of
// its field. The upper words of pairs are the first four weights, the lower ones the others.
HWY_INLINE TwoVectors UnpackBf16(const std::byte* fields) {
    const hn::Repartition<std::uint8_t, F32Tag> bytes;
    const hn::Repartition<std::uint16_t, F32Tag> words;
    const hn::Repartition<std::int16_t, F32Tag> numbers;
    const hn::RebindToUnsigned<F32Tag> pairs;
    const hn::Full128<std::uint8_t> eight;
    alignas(32) static constexpr std::uint8_t kBytes[32] = {6, 7,  0,  1,  7, 8, 1,  2,  9, 10, 3,
                                                            4, 10, 11, 4,  5, 6, 7,  0,  1, 7,  8,
                                                            1, 2,  9,  10, 3, 4, 10, 11, 4, 5};
    // Of two neighbouring fields one lies four bits lower in its bytes.
    alignas(32) static constexpr std::uint16_t kRaise[16] = {16, 16, 1, 1, 16, 16, 1, 1,
                                                             16, 16, 1, 1, 16, 16, 1, 1};
    const auto* at = reinterpret_cast<const std::uint8_t*>(fields);
#if HWY_TARGET == HWY_AVX2
    const auto packed = hn::Combine(bytes, hn::LoadU(eight, at + 12), hn::LoadU(eight, at));
#else
    const auto packed = hn::LoadU(eight, at);
#endif
    const auto raised =
        hn::Mul(hn::BitCast(words, hn::TableLookupBytes(packed, hn::Load(bytes, kBytes))),
                hn::Load(words, kRaise));
    const auto bits =
        hn::Or(hn::And(hn::BitCast(words, hn::ShiftRight<4>(hn::BitCast(numbers, raised))),
                       hn::Set(words, kFieldBits)),
               hn::Set(words, kExponentBits));
    const F32Tag d;
    const auto both = hn::BitCast(pairs, bits);
    const F32Vector upper = hn::BitCast(d, hn::And(both, hn::Set(pairs, 0xFFFF0000U)));
    const F32Vector lower = hn::BitCast(d, hn::ShiftLeft<16>(both));
#if HWY_TARGET == HWY_AVX2
    return {hn::ConcatLowerLower(d, lower, upper), hn::ConcatUpperUpper(d, lower, upper)};
#else
    return {upper, lower};
#endif
}
#endif

constexpr std::uint16_t kAllButSpareBit = 0xFFFF ^ kF16SpareBit;

// Of f16: words of 16 bits. Widened without their spare bits.
#if HWY_TARGET == HWY_SCALAR
struct Words {
    std::uint16_t first;
    std::uint16_t second;
};
HWY_INLINE Words LoadWords(const std::byte* at) {
    Words words;
    std::memcpy(&words, at, sizeof words);
    return words;
}
HWY_INLINE TwoVectors Widen(Words words) {
    const auto widened = [](unsigned word) HWY_ATTR {
        return hn::Set(F32Tag(), halfToFloat(static_cast<std::uint16_t>(word & kAllButSpareBit)));
    };
    return {widened(words.first), widened(words.second)};
}
// Bit 14 of the words above what is there, which moves down.
HWY_INLINE void PushBit(Words words, Words& bits) {
    bits.first = static_cast<std::uint16_t>(bits.first >> 1 | (words.first & kF16SpareBit));
    bits.second = static_cast<std::uint16_t>(bits.second >> 1 | (words.second & kF16SpareBit));
}
HWY_INLINE Words NoBits() {
    return {0, 0};
}
HWY_INLINE Words RaiseSign(Words words) {
    const auto raised = [](unsigned word) {
        return static_cast<std::uint16_t>(word + (word & kF16SpareBit));
    };
    return {raised(words.first), raised(words.second)};
}
#else
using WordTag = hn::Repartition<std::uint16_t, F32Tag>;
using Words = hn::Vec<WordTag>;

HWY_INLINE Words LoadWords(const std::byte* at) {
    return hn::LoadU(WordTag(), reinterpret_cast<const std::uint16_t*>(at));
}
HWY_INLINE TwoVectors Widen(Words words) {
    const hn::Half<WordTag> half;
    const hn::Rebind<hwy::float16_t, F32Tag> narrow;
    const Words masked = hn::And(words, hn::Set(WordTag(), kAllButSpareBit));
    return {hn::PromoteTo(F32Tag(), hn::BitCast(narrow, hn::LowerHalf(half, masked))),
            hn::PromoteTo(F32Tag(), hn::BitCast(narrow, hn::UpperHalf(half, masked)))};
}
// Bit 14 of the words above what is there, which moves down.
HWY_INLINE void PushBit(Words words, Words& bits) {
    bits = hn::Or(hn::ShiftRight<1>(bits), hn::And(words, hn::Set(WordTag(), kF16SpareBit)));
}
HWY_INLINE Words NoBits() {
    return hn::Zero(WordTag());
}
HWY_INLINE Words RaiseSign(Words words) {
    return hn::Add(words, hn::And(words, hn::Set(WordTag(), kF16SpareBit)));
}
#endif

HWY_INLINE Words GatherBits(const std::byte* group) {
    Words bits = NoBits();
    for (std::int64_t stored = 0; stored < kF16Group - 1; ++stored)
        PushBit(LoadWords(group + stored * kF16BlockBytes), bits);
    return bits;
}

// How rows are made of blocks. A row's blocks lie at offsetOf(); unpack() takes weights from there, `column` being
// one of the block. Turns are blocks that take up whole cache lines; in one, unpackInTurn() takes the weights
// of block kInTurn, with what the blocks before it have carried along.
struct Bf16Rows {
    static constexpr bool kHasFactors = true;
    static constexpr int kTurnBlocks = 4;
    static constexpr int kTurnLines = kTurnBlocks * kBf16BlockBytes / kLineBytes;
    static_assert(kTurnLines * kLineBytes == kTurnBlocks * kBf16BlockBytes);
    struct Carry {};
    template <int kTokens>
    using ForTokens = Bf16Rows;

    static HWY_INLINE bool beginsTurn(std::size_t block) { return block % kTurnBlocks == 0; }
    static HWY_INLINE bool isSpread(std::size_t) { return false; }
    static HWY_INLINE std::size_t offsetOf(std::size_t block) { return block * kBf16BlockBytes; }
    template <bool kIsSpread>
    static HWY_INLINE TwoVectors unpack(const std::byte* block, std::size_t column) {
        return UnpackBf16(block + column * kBf16FieldBits / 8);
    }
    template <int kInTurn>
    static HWY_INLINE TwoVectors unpackInTurn(const std::byte* turn, std::size_t column, Carry&) {
        return unpack<false>(turn + kInTurn * kBf16BlockBytes, column);
    }
    static HWY_INLINE float toFloat(std::uint16_t bits) { return bfloat16ToFloat(bits); }
};

// For one token AVX-512 has registers in which the bits of the last block gather while the others are multiplied;
// read again for them, the others take 2 % longer.
template <bool kCarries>
struct F16Rows {
    static constexpr bool kHasFactors = false;
    static constexpr int kTurnBlocks = kCarries ? kF16Group : 1;
    static constexpr int kTurnLines = kCarries ? kF16Group - 1 : 1;
    struct Carry {
        Words bits;
    };
    template <int kTokens>
    using ForTokens = F16Rows<kHasAvx512 && kTokens == 1>;

    static HWY_INLINE bool beginsTurn(std::size_t block) {
        return kCarries ? block % kF16Group == 0 : !isSpread(block);
    }
    // Over the others of its group, with whose beginning it begins.
    static HWY_INLINE bool isSpread(std::size_t block) {
        return block % kF16Group == kF16Group - 1;
    }
    static HWY_INLINE std::size_t offsetOf(std::size_t block) {
        const std::size_t stored = isSpread(block) ? 0 : block % kF16Group;
        return (block / kF16Group * (kF16Group - 1) + stored) * kF16BlockBytes;
    }
    template <bool kIsSpread>
    static HWY_INLINE TwoVectors unpack(const std::byte* block, std::size_t column) {
        const std::byte* at = block + column * 2;
        if constexpr (kIsSpread)
            return Widen(RaiseSign(GatherBits(at)));
        else
            return Widen(LoadWords(at));
    }
    template <int kInTurn>
    static HWY_INLINE TwoVectors unpackInTurn(const std::byte* turn, std::size_t column,
                                              Carry& carry) {
        if constexpr (kInTurn == kF16Group - 1) return Widen(RaiseSign(carry.bits));
        const Words words = LoadWords(turn + kInTurn * kF16BlockBytes + column * 2);
        if constexpr (kCarries && kInTurn == 0) carry.bits = NoBits();
        if constexpr (kCarries) PushBit(words, carry.bits);
        return Widen(words);
    }
    static HWY_INLINE float toFloat(std::uint16_t bits) { return halfToFloat(bits); }
};
static_assert(!kHasAvx512 || kTwo == kBlock);  // a carry is of one vector

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
