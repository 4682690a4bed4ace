// The scalar conversions, for every 16-bit pattern, against arithmetic in f64.
#include <QtTest>
#include <bit>
#include <cmath>
#include <limits>

#include "engine/sampling/random_generator.h"
#include "engine/tensor/dtype.h"

using namespace qllama;

namespace {

// A 16-bit float by its definition: sign, exponent, fraction.
struct Format {
    int exponentBits;
    int fractionBits;
    float (*widen)(std::uint16_t);
    std::uint16_t (*narrow)(float);

    [[nodiscard]] int bias() const { return (1 << (exponentBits - 1)) - 1; }
    [[nodiscard]] std::uint16_t infinity() const {
        return static_cast<std::uint16_t>(((1 << exponentBits) - 1) << fractionBits);
    }
    [[nodiscard]] bool isNaN(int bits) const { return (bits & 0x7FFF) > infinity(); }

    // The value of a pattern that is no NaN. The pattern after the largest number counts as the
    // number it would be without infinity: that is where rounding to infinity begins.
    [[nodiscard]] double value(int bits) const {
        const int exponent = (bits & 0x7FFF) >> fractionBits;
        const int fraction = bits & ((1 << fractionBits) - 1);
        const double significand = exponent == 0 ? fraction : fraction + (1 << fractionBits);
        const double magnitude =
            std::ldexp(significand, std::max(exponent, 1) - bias() - fractionBits);
        return (bits & 0x8000) != 0 ? -magnitude : magnitude;
    }
};

const Format kFormats[] = {{5, 10, halfToFloat, floatToHalf},
                           {8, 7, bfloat16ToFloat, floatToBfloat16}};

std::uint32_t bitsOf(float value) {
    return std::bit_cast<std::uint32_t>(value);
}

}  // namespace

class TestDType : public QObject {
    Q_OBJECT

private slots:
    void wideningIsExact();
    void everyPatternSurvivesARoundTrip();
    void narrowingRoundsToNearestEven();
    void narrowingKeepsNaN();
    void narrowingOverflowsToInfinity();
    void randomFloatsNarrowToTheNearest();
    void factsAboutTypes();
};

void TestDType::wideningIsExact() {
    for (const Format& format : kFormats)
        for (int bits = 0; bits < 65536; ++bits) {
            const float wide = format.widen(static_cast<std::uint16_t>(bits));
            if (format.isNaN(bits)) {
                QVERIFY(std::isnan(wide));
            } else if ((bits & 0x7FFF) == format.infinity()) {
                QVERIFY(std::isinf(wide));
            } else {
                QVERIFY(static_cast<double>(wide) == format.value(bits));
            }
            QVERIFY(std::signbit(wide) == ((bits & 0x8000) != 0));
        }
}

void TestDType::everyPatternSurvivesARoundTrip() {
    for (const Format& format : kFormats)
        for (int bits = 0; bits < 65536; ++bits) {
            const std::uint16_t back =
                format.narrow(format.widen(static_cast<std::uint16_t>(bits)));
            if (format.isNaN(bits)) {
                QVERIFY(format.isNaN(back));
            } else {
                QCOMPARE(int{back}, bits);
            }
        }
}

// Between every two neighbours: the middle goes to the even one, its neighbours to the nearer.
void TestDType::narrowingRoundsToNearestEven() {
    for (const Format& format : kFormats)
        for (int bits = 0; bits < format.infinity(); ++bits)
            for (const int sign : {0, 0x8000}) {
                const int lower = bits | sign;
                const int upper = (bits + 1) | sign;
                const double middle = (format.value(lower) + format.value(upper)) / 2;
                const auto exact = static_cast<float>(middle);
                if (static_cast<double>(exact) != middle) continue;  // bf16's smallest subnormals
                const float inward = std::nextafter(exact, 0.0F);
                const float outward = std::nextafter(exact, exact * 2);
                QCOMPARE(int{format.narrow(exact)}, (bits & 1) == 0 ? lower : upper);
                QCOMPARE(int{format.narrow(inward)}, lower);
                QCOMPARE(int{format.narrow(outward)}, upper);
            }
}

void TestDType::narrowingKeepsNaN() {
    for (const Format& format : kFormats)
        for (const std::uint32_t bits :
             {0x7FC00000U, 0x7F800001U, 0xFFFFFFFFU, 0x7FFFFFFFU, 0xFF800001U, 0x7F80FFFFU})
            QVERIFY(format.isNaN(format.narrow(std::bit_cast<float>(bits))));
}

void TestDType::narrowingOverflowsToInfinity() {
    const float infinity = std::numeric_limits<float>::infinity();
    const float largest = std::numeric_limits<float>::max();
    for (const Format& format : kFormats) {
        QCOMPARE(format.narrow(infinity), format.infinity());
        QCOMPARE(int{format.narrow(-infinity)}, format.infinity() | 0x8000);
        QCOMPARE(format.narrow(largest), format.infinity());
    }
    QCOMPARE(int{floatToHalf(65504.0F)}, 0x7BFF);
    QCOMPARE(int{floatToHalf(65519.996F)}, 0x7BFF);
    QCOMPARE(int{floatToHalf(65520.0F)}, 0x7C00);
}

void TestDType::randomFloatsNarrowToTheNearest() {
    RandomGenerator random(std::uint64_t{1});
    for (int round = 0; round < 300'000; ++round) {
        const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(random.next()));
        if (std::isnan(value)) continue;
        for (const Format& format : kFormats) {
            const int bits = format.narrow(value);
            QVERIFY(std::signbit(value) == ((bits & 0x8000) != 0));
            const int magnitude = bits & 0x7FFF;
            if (std::isinf(value)) continue;
            const double error = std::abs(std::abs(double{value}) - format.value(magnitude));
            QVERIFY(magnitude <= format.infinity());
            if (magnitude > 0)
                QVERIFY(error <= std::abs(std::abs(double{value}) - format.value(magnitude - 1)));
            if (magnitude < format.infinity())
                QVERIFY(error <= std::abs(std::abs(double{value}) - format.value(magnitude + 1)));
        }
    }
    QCOMPARE(bitsOf(halfToFloat(0x8000)), 0x80000000U);
}

void TestDType::factsAboutTypes() {
    struct Fact {
        DType dtype;
        std::string_view name;
        int size;
        bool isFloat;
    };
    for (const Fact& fact :
         {Fact{DType::F64, "f64", 8, true}, Fact{DType::F32, "f32", 4, true},
          Fact{DType::F16, "f16", 2, true}, Fact{DType::BF16, "bf16", 2, true},
          Fact{DType::I64, "i64", 8, false}, Fact{DType::I32, "i32", 4, false},
          Fact{DType::I16, "i16", 2, false}, Fact{DType::I8, "i8", 1, false},
          Fact{DType::U8, "u8", 1, false}, Fact{DType::Bool, "bool", 1, false}}) {
        QCOMPARE(nameOf(fact.dtype), fact.name);
        QCOMPARE(sizeOf(fact.dtype), fact.size);
        QCOMPARE(isFloat(fact.dtype), fact.isFloat);
    }
}

QTEST_GUILESS_MAIN(TestDType)
#include "test_dtype.moc"
