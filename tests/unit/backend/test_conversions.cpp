// Conversions between f32 and the narrow types: every instruction set of this machine gives the bits
// of the plain functions.
#include <QtTest>
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/cpu/kernels/row_kernels.h"
#include "engine/tensor/dtype.h"

using namespace qllama;

namespace {

// A type of 16 bits, all of whose finite values are converted.
struct NarrowType {
    DType dtype;
    std::uint16_t infinity;
    float (*toFloat)(std::uint16_t);
    std::uint16_t (*fromFloat)(float);
};

const NarrowType kNarrowTypes[] = {
    {DType::F16, 0x7C00, halfToFloat, floatToHalf},
    {DType::BF16, 0x7F80,
     [](std::uint16_t bits) {
         return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
     },
     floatToBfloat16},
};

std::vector<std::uint16_t> finiteBits(const NarrowType& type) {
    std::vector<std::uint16_t> all;
    for (int sign = 0; sign <= 0x8000; sign += 0x8000)
        for (int bits = 0; bits < type.infinity; ++bits)
            all.push_back(static_cast<std::uint16_t>(sign | bits));
    all.pop_back();  // so that no vector length divides their number
    return all;
}

template <typename T>
std::size_t firstDifference(const std::vector<T>& a, const std::vector<T>& b) {
    const auto found = std::mismatch(a.begin(), a.end(), b.begin(), b.end(), [](T x, T y) {
        return std::memcmp(&x, &y, sizeof x) == 0;  // tells zero from minus zero
    });
    return static_cast<std::size_t>(found.first - a.begin());
}

}  // namespace

class TestConversions : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { m_targets = cpu::simdTargetsFound(); }
    void cleanup() { QVERIFY(forceCpuTarget(m_targets.front()).ok()); }
    void narrowValuesWidenExactly();
    void valuesBetweenAreRoundedToNearestEven();

private:
    std::vector<std::string> m_targets;
};

void TestConversions::narrowValuesWidenExactly() {
    for (const NarrowType& type : kNarrowTypes) {
        const auto bits = finiteBits(type);
        std::vector<float> expected;
        for (const std::uint16_t value : bits)
            expected.push_back(type.toFloat(value));
        for (const std::string& target : m_targets) {
            QVERIFY(forceCpuTarget(target).ok());
            std::vector<float> wide(bits.size());
            cpu::widen(type.dtype, bits.data(), static_cast<std::int64_t>(bits.size()),
                       wide.data());
            QCOMPARE(firstDifference(wide, expected), bits.size());
        }
    }
}

void TestConversions::valuesBetweenAreRoundedToNearestEven() {
    for (const NarrowType& type : kNarrowTypes) {
        std::vector<float> values;
        for (const std::uint16_t bits : finiteBits(type)) {
            // The middle between a value and the next one away from zero, and both its neighbours.
            // Beyond the largest finite value that is where infinity begins.
            const float value = type.toFloat(bits);
            const float before = type.toFloat(static_cast<std::uint16_t>(bits ^ 1));
            const float half = std::abs(value - before) / 2;
            const float middle = std::signbit(value) ? value - half : value + half;
            values.insert(values.end(), {middle, std::nextafter(middle, 0.0F),
                                         std::nextafter(middle, 2 * middle)});
        }
        std::vector<std::uint16_t> expected;
        for (const float value : values)
            expected.push_back(type.fromFloat(value));
        for (const std::string& target : m_targets) {
            QVERIFY(forceCpuTarget(target).ok());
            std::vector<std::uint16_t> narrow(values.size());
            cpu::narrow(type.dtype, values.data(), static_cast<std::int64_t>(values.size()),
                        narrow.data());
            QCOMPARE(firstDifference(narrow, expected), values.size());
        }
    }
}

QTEST_GUILESS_MAIN(TestConversions)
#include "test_conversions.moc"
