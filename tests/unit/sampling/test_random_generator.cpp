// The generator against published numbers, and its uniform values against the even distribution.
#include <QtTest>

#include "chi_square.h"
#include "engine/sampling/random_generator.h"

using namespace qllama;

class TestRandomGenerator : public QObject {
    Q_OBJECT

private slots:
    void splitMixGivesPublishedNumbers_data();
    void splitMixGivesPublishedNumbers();
    void xoshiroGivesPublishedNumbers();
    void seedFillsTheStateBySplitMix();
    void uniformIsTheUpper53Bits();
    void uniformIsEven();
    void seedsDiffer();
};

void TestRandomGenerator::splitMixGivesPublishedNumbers_data() {
    QTest::addColumn<quint64>("seed");
    QTest::addColumn<QList<quint64>>("expected");
    QTest::newRow("seed 0") << quint64{0}
                            << QList<quint64>{0xE220A8397B1DCDAFU, 0x6E789E6AA1B965F4U,
                                              0x06C45D188009454FU, 0xF88BB8A8724C81ECU};
    QTest::newRow("seed 1234567") << quint64{1234567}
                                  << QList<quint64>{6457827717110365317U, 3203168211198807973U,
                                                    9817491932198370423U, 4593380528125082431U,
                                                    16408922859458223821U};
}

void TestRandomGenerator::splitMixGivesPublishedNumbers() {
    QFETCH(quint64, seed);
    QFETCH(QList<quint64>, expected);
    std::uint64_t state = seed;
    for (const quint64 number : expected)
        QCOMPARE(quint64{splitMix64(state)}, number);
}

void TestRandomGenerator::xoshiroGivesPublishedNumbers() {
    RandomGenerator generator(RandomGenerator::State{1, 2, 3, 4});
    const QList<quint64> expected = {11520U,
                                     0U,
                                     1509978240U,
                                     1215971899390074240U,
                                     1216172134540287360U,
                                     607988272756665600U,
                                     16172922978634559625U,
                                     8476171486693032832U,
                                     10595114339597558777U,
                                     2904607092377533576U};
    for (const quint64 number : expected)
        QCOMPARE(quint64{generator.next()}, number);
}

void TestRandomGenerator::seedFillsTheStateBySplitMix() {
    RandomGenerator seeded(std::uint64_t{0});
    RandomGenerator filled(RandomGenerator::State{0xE220A8397B1DCDAFU, 0x6E789E6AA1B965F4U,
                                                  0x06C45D188009454FU, 0xF88BB8A8724C81ECU});
    QCOMPARE(quint64{RandomGenerator(std::uint64_t{0}).next()}, quint64{0x99EC5F36CB75F2B4U});
    for (int round = 0; round < 100; ++round)
        QCOMPARE(seeded.next(), filled.next());
}

void TestRandomGenerator::uniformIsTheUpper53Bits() {
    RandomGenerator numbers(std::uint64_t{7});
    RandomGenerator uniforms(std::uint64_t{7});
    for (int round = 0; round < 1000; ++round) {
        const double expected = std::ldexp(static_cast<double>(numbers.next() / 2048), -53);
        const double uniform = uniforms.uniform();
        QCOMPARE(uniform, expected);
        QVERIFY(uniform >= 0 && uniform < 1);
    }
}

void TestRandomGenerator::uniformIsEven() {
    constexpr int kBins = 64;
    RandomGenerator generator(std::uint64_t{2024});
    std::vector<std::int64_t> counts(kBins);
    for (int round = 0; round < 100'000; ++round)
        ++counts[static_cast<std::size_t>(generator.uniform() * kBins)];
    const double found = test::chiSquare(counts, std::vector<double>(kBins, 1.0 / kBins));
    QVERIFY2(found < test::chiSquareBound(kBins - 1), qPrintable(QString::number(found)));
}

void TestRandomGenerator::seedsDiffer() {
    QSet<quint64> first;
    for (std::uint64_t seed = 0; seed < 1000; ++seed)
        first.insert(RandomGenerator(seed).next());
    QCOMPARE(first.size(), 1000);
}

QTEST_GUILESS_MAIN(TestRandomGenerator)
#include "test_random_generator.moc"
