#include "engine/session/weight_cache_key.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "engine/backend/cpu/quantizer_fingerprint.h"
#include "engine/common/content_checksum.h"
#include "engine/common/mapped_file.h"

namespace qllama {
namespace {

// Gathers what the key depends on; each piece with its length, so that none runs into the next.
class Facts {
public:
    void add(std::span<const std::byte> bytes) {
        add(static_cast<std::uint64_t>(bytes.size()));
        m_bytes.insert(m_bytes.end(), bytes.begin(), bytes.end());
    }
    void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
    void add(std::uint64_t number) {
        const auto bytes = std::as_bytes(std::span(&number, 1));
        m_bytes.insert(m_bytes.end(), bytes.begin(), bytes.end());
    }
    [[nodiscard]] std::string key() const {
        std::array<char, 33> digits;
        std::snprintf(digits.data(), digits.size(), "%016llx%016llx",
                      static_cast<unsigned long long>(contentChecksum(m_bytes, 1)),
                      static_cast<unsigned long long>(contentChecksum(m_bytes, 2)));
        return digits.data();
    }

private:
    std::vector<std::byte> m_bytes;
};

// torch can be told to leave out checksums, and old files have none: a few values of each part
// tell one training step from the next.
void addSamples(Facts& facts, const StoredTensor& part) {
    constexpr std::int64_t kValues = 16;
    const std::int64_t rows = part.shape.size() > 1 ? part.shape.front() : 1;
    std::vector<float> values(static_cast<std::size_t>(std::min(kValues, part.shape.back())));
    for (const std::int64_t row : {std::int64_t{0}, rows / 2, rows - 1}) {
        part.readRow(row, 0, values);
        facts.add(std::as_bytes(std::span(values)));
    }
}

void addTensor(Facts& facts, const CatalogTensor& tensor) {
    facts.add(tensor.name);
    facts.add(nameOf(tensor.dtype));
    facts.add(std::as_bytes(std::span(tensor.shape)));
    if (!isFloat(tensor.dtype) || tensor.elementCount() == 0 || tensor.shape.empty()) return;
    for (const StoredTensor& part : tensor.parts)
        addSamples(facts, part);
    // In huge pages a few values keep megabytes resident, and kept weights will need none of them.
    tensor.releasePages();
}

}  // namespace

std::string weightCacheKey(const Checkpoint& checkpoint, Precision precision) {
    Facts facts;
    facts.add(keyOf(precision));
    facts.add(kBlockLayoutVersion);
    if (quantFormat(precision))
        for (const BlockFormatInfo& info : quantizedFormats())
            facts.add(cpu::quantizerFingerprint(info.format));
    for (const ShardInfo& shard : checkpoint.shards)
        facts.add(shard.fingerprint);
    if (const auto params = MappedFile::open(checkpoint.paramsPath); params.ok())
        facts.add(params.value()->bytes());
    for (const auto& [name, tensor] : checkpoint.tensors)
        addTensor(facts, tensor);
    return facts.key();
}

}  // namespace qllama
