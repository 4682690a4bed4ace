// Attention of queries over the cached keys and values of one kv head, in spans that can be
// computed apart and merged (online softmax, arXiv:2205.14135).
//
// Contract: the result for a query depends on its own values and its number of keys only. Keys are
// taken in chunks of kKeyChunk and spans of kKeySpan at fixed positions, merged in order, so decode
// and prefill, alone or in a batch, on any number of threads, give bit-identical results.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/backend/backend.h"

namespace qllama::cpu {

constexpr std::int64_t kKeyBlock = 16;  // positions interleaved in the key layout
constexpr std::int64_t kKeyChunk = 64;
constexpr std::int64_t kKeySpan = 512;

// Elements of a value row and of an output row: headDim rounded up so that kernels need no tails.
[[nodiscard]] constexpr std::int64_t paddedHeadDim(std::int64_t headDim) {
    return (headDim + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
}

// Keys and values of one kv head of one layer, f16 or f32. Chunk c of its positions begins
// c * chunkBytes behind `data`, with
//   keys   [kKeyChunk / kKeyBlock][headDim][kKeyBlock]: one vector load gives neighbouring positions
//   values [kKeyChunk][paddedHeadDim], zero in the padding
struct KvHead {
    KvPrecision precision = KvPrecision::F16;
    std::byte* data = nullptr;
    std::int64_t chunkBytes = 0;
    std::int64_t headDim = 0;

    [[nodiscard]] static std::int64_t elementBytes(KvPrecision precision) {
        return precision == KvPrecision::F16 ? 2 : 4;
    }
    [[nodiscard]] std::byte* keys(std::int64_t chunk) const { return data + chunk * chunkBytes; }
    [[nodiscard]] std::byte* values(std::int64_t chunk) const {
        return keys(chunk) + kKeyChunk * headDim * elementBytes(precision);
    }
};

struct AttentionQuery {
    const float* values = nullptr;  // [headDim], rotated
    std::int64_t keyCount = 0;      // sees keys [0, keyCount)
};

// Softmax over a part of the keys, not yet normalised, with powers of 2 for those of e:
// output = sum of 2^(score - maximum) * value, scores in multiples of ln 2.
struct AttentionPartial {
    float maximum = 0;
    float sum = 0;            // of the same powers; 0: this query sees no key of the part
    float* output = nullptr;  // [paddedHeadDim]
};

// Of a chunk's keys and values.
[[nodiscard]] constexpr std::int64_t chunkElements(std::int64_t headDim) {
    return kKeyChunk * (headDim + paddedHeadDim(headDim));
}

// Floats of a query in whole pieces.
constexpr std::int64_t kQueryPiece = 64;
[[nodiscard]] constexpr std::int64_t packedQueryFloats(std::int64_t headDim) {
    return (headDim + kQueryPiece - 1) / kQueryPiece * kQueryPiece;
}

// Floats that attendSpan works in: a chunk, widened, and its queries, packed.
[[nodiscard]] constexpr std::int64_t attentionRoomFloats(std::int64_t headDim,
                                                         std::int64_t queries) {
    return chunkElements(headDim) + queries * packedQueryFloats(headDim);
}

// Fills partials[i] for queries[i] (one at least) over the keys [begin, end) that it sees; begin is a
// multiple of kKeySpan and end - begin <= kKeySpan. scale is 1 / sqrt(headDim); `room` holds
// attentionRoomFloats(headDim, queries.size()), aligned to vectors; what it held is lost.
void attendSpan(const KvHead& kv, std::span<const AttentionQuery> queries, float scale,
                std::int64_t begin, std::int64_t end, std::span<AttentionPartial> partials,
                float* room);

// into = into joined with from, which covers later keys.
void mergePartial(AttentionPartial& into, const AttentionPartial& from, std::int64_t headDim);

}  // namespace qllama::cpu
