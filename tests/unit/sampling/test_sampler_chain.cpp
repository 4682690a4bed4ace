// The whole chain: order, draw, reported probabilities, odd logits, repeatability.
#include <QtTest>
#include <algorithm>
#include <cmath>
#include <limits>

#include "chi_square.h"
#include "engine/sampling/sampler.h"
#include "reference_samplers.h"

using namespace qllama;

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> randomLogits(RandomGenerator& random, int count) {
    std::vector<float> logits(static_cast<std::size_t>(count));
    for (float& logit : logits)
        logit = static_cast<float>((random.uniform() + random.uniform() - 1) * 12);
    return logits;
}

test::Logits asMap(const std::vector<float>& logits) {
    test::Logits map;
    for (std::size_t index = 0; index < logits.size(); ++index)
        map[static_cast<TokenId>(index)] = logits[index];
    return map;
}

SamplerSettings neutralSettings() {
    SamplerSettings settings;
    for (const SamplerParameter& parameter : samplerParameters())
        settings.set(parameter.key, parameter.neutral);
    return settings;
}

// Values as people use them.
SamplerSettings randomSettings(RandomGenerator& random) {
    const auto among = [&](std::initializer_list<double> values) {
        return values.begin()[static_cast<std::size_t>(random.uniform() *
                                                       static_cast<double>(values.size()))];
    };
    SamplerSettings settings;
    settings.set("repetition-penalty", among({0.8, 0.95, 1.0, 1.1}));
    settings.set("repeat-penalty", among({0.9, 1.0, 1.1, 1.5}));
    settings.set("repeat-window", among({-1, 0, 3, 64}));
    settings.set("top-k", among({0, 1, 5, 40, 1000}));
    settings.set("top-p", among({0, 0.3, 0.9, 0.95, 1}));
    settings.set("min-p", among({0, 0.05, 0.3}));
    settings.set("temperature", among({0, 0.1, 0.8, 1, 2}));
    return settings;
}

}  // namespace

class TestSamplerChain : public QObject {
    Q_OBJECT

private slots:
    void chainMatchesTheReference();
    void greedyIsArgmaxWhateverElseIsSet();
    void greedyTakesTheLowestIdAmongEquals();
    void equalLogitsFollowTheGenerator();
    void drawsFollowTheDistribution_data();
    void drawsFollowTheDistribution();
    void probabilityIsTheModelsOwn();
    void probabilitiesOfAWholeVocabulary_data();
    void probabilitiesOfAWholeVocabulary();
    void probabilitiesAreStable();
    void candidatesAreTheMostLikely();
    void candidateCountIsBounded();
    void oddLogitsAreNotChosen();
    void nothingLeftGivesTokenZero();
    void sameSeedSameTokens();
    void everyCallUsesOneNumber();
    void largeVocabulary();
};

void TestSamplerChain::chainMatchesTheReference() {
    RandomGenerator random(std::uint64_t{11});
    for (std::uint64_t seed = 0; seed < 500; ++seed) {
        const SamplerSettings settings = randomSettings(random);
        const std::vector<float> logits = randomLogits(random, 300);
        std::vector<TokenId> history;
        while (random.uniform() < 0.97)
            history.push_back(static_cast<TokenId>(random.uniform() * 310));
        const test::Logits left = test::referenceChain(asMap(logits), history, settings);
        const TokenId expected = test::referenceDraw(left, RandomGenerator(seed).uniform());
        QCOMPARE(SamplerChain(settings, seed).sample(logits, history, 0).token, expected);
    }
}

void TestSamplerChain::greedyIsArgmaxWhateverElseIsSet() {
    RandomGenerator random(std::uint64_t{12});
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        SamplerSettings settings = randomSettings(random);
        settings.set("temperature", 0);
        settings.set("repetition-penalty", 1);
        settings.set("repeat-penalty", 1);
        const std::vector<float> logits = randomLogits(random, 1000);
        const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
        QCOMPARE(SamplerChain(settings, seed).sample(logits, {}, 0).token,
                 static_cast<TokenId>(best));
    }
}

void TestSamplerChain::greedyTakesTheLowestIdAmongEquals() {
    SamplerSettings settings;
    settings.set("temperature", 0);
    const std::vector<float> logits = {1, 7, 3, 7, 7};
    for (std::uint64_t seed = 0; seed < 20; ++seed)
        QCOMPARE(SamplerChain(settings, seed).sample(logits, {}, 0).token, 1);
}

// exp(0) is 1 on every platform, so here the tokens follow from the generator alone.
void TestSamplerChain::equalLogitsFollowTheGenerator() {
    const std::vector<float> logits(1000, 3.5F);
    SamplerChain chain(neutralSettings(), 99);
    RandomGenerator random(std::uint64_t{99});
    for (int round = 0; round < 200; ++round)
        QCOMPARE(chain.sample(logits, {}, 0).token,
                 static_cast<TokenId>(std::floor(random.uniform() * 1000)));
}

void TestSamplerChain::drawsFollowTheDistribution_data() {
    QTest::addColumn<QString>("key");
    QTest::addColumn<double>("value");
    QTest::newRow("model's own") << "temperature" << 1.0;
    QTest::newRow("cold") << "temperature" << 0.6;
    QTest::newRow("hot") << "temperature" << 2.5;
    QTest::newRow("top-k") << "top-k" << 6.0;
    QTest::newRow("top-p") << "top-p" << 0.8;
    QTest::newRow("min-p") << "min-p" << 0.2;
    QTest::newRow("repetition penalty") << "repetition-penalty" << 0.7;
}

void TestSamplerChain::drawsFollowTheDistribution() {
    QFETCH(QString, key);
    QFETCH(double, value);
    SamplerSettings settings = neutralSettings();
    settings.set(key.toStdString(), value);
    std::vector<float> logits;
    for (int token = 0; token < 20; ++token)  // every probability well above zero
        logits.push_back(static_cast<float>((token * 7) % 20) * 0.15F - 1);
    const std::vector<TokenId> history = {0, 3, 3, 19};

    std::vector<double> probabilities(logits.size());
    for (const auto& [token, probability] :
         test::referenceSoftmax(test::referenceChain(asMap(logits), history, settings)))
        probabilities[static_cast<std::size_t>(token)] = static_cast<double>(probability);
    std::vector<std::int64_t> counts(logits.size());
    SamplerChain chain(settings, 4711);
    for (int round = 0; round < 50'000; ++round)
        ++counts[static_cast<std::size_t>(chain.sample(logits, history, 0).token)];

    const double found = test::chiSquare(counts, probabilities);
    const double bound = test::chiSquareBound(test::possibleCount(probabilities) - 1);
    QVERIFY2(found < bound, qPrintable(QString("%1 >= %2").arg(found).arg(bound)));
}

void TestSamplerChain::probabilityIsTheModelsOwn() {
    RandomGenerator random(std::uint64_t{13});
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        const std::vector<float> logits = randomLogits(random, 200);
        const auto expected = test::referenceSoftmax(asMap(logits));
        const std::vector<TokenId> history = {1, 2, 3, 1};
        const SampledToken sampled =
            SamplerChain(randomSettings(random), seed).sample(logits, history, 200);
        QCOMPARE(sampled.probability, static_cast<float>(expected.at(sampled.token)));
        QCOMPARE(sampled.candidates.size(), std::size_t{200});
        for (const Candidate& candidate : sampled.candidates)
            QCOMPARE(candidate.probability, static_cast<float>(expected.at(candidate.token)));
    }
}

// From nearly flat to one token alone, of a number of tokens that no vector divides.
void TestSamplerChain::probabilitiesOfAWholeVocabulary_data() {
    QTest::addColumn<double>("spread");
    for (const double spread : {0.0, 0.01, 1.0, 30.0, 1e4, 1e38})
        QTest::addRow("spread %g", spread) << spread;
}

void TestSamplerChain::probabilitiesOfAWholeVocabulary() {
    QFETCH(double, spread);
    RandomGenerator random(std::uint64_t{5});
    std::vector<float> logits(32003);
    for (float& logit : logits)
        logit = static_cast<float>((random.uniform() - 0.5) * spread);
    const double largest = *std::max_element(logits.begin(), logits.end());
    double total = 0;
    for (const float logit : logits)
        total += std::exp(logit - largest);
    const SampledToken sampled = SamplerChain(neutralSettings(), 1).sample(logits, {}, 3);
    for (const Candidate& candidate : sampled.candidates) {
        const float logit = logits[static_cast<std::size_t>(candidate.token)];
        const double expected = std::exp(logit - largest) / total;
        QVERIFY(candidate.probability <= 1);
        QVERIFY(std::abs(candidate.probability - expected) <= 1e-6 * expected);
    }
}

void TestSamplerChain::probabilitiesAreStable() {
    // exp() of these overflows or underflows without the shift by the largest.
    for (const float base : {-5000.0F, 0.0F, 5000.0F}) {
        const std::vector<float> logits = {base, base + 1, base - 1};
        const SampledToken sampled = SamplerChain(neutralSettings(), 1).sample(logits, {}, 3);
        QCOMPARE(sampled.candidates[0].token, 1);
        QCOMPARE(sampled.oddLogits, std::size_t{0});
        QCOMPARE(sampled.candidates[0].probability, 0.66524096F);
        QCOMPARE(sampled.candidates[1].probability, 0.24472847F);
        QCOMPARE(sampled.candidates[2].probability, 0.09003057F);
    }
    SamplerSettings cold;
    cold.set("temperature", 1e-6);
    QCOMPARE(SamplerChain(cold, 1).sample(std::vector<float>{1, 3, 2}, {}, 0).token, 1);
}

void TestSamplerChain::candidatesAreTheMostLikely() {
    const std::vector<float> logits = {1, 5, kNaN, 5, 2, -kInfinity, 4};
    const SampledToken sampled = SamplerChain(SamplerSettings(), 3).sample(logits, {}, 4);
    std::vector<TokenId> tokens;
    for (const Candidate& candidate : sampled.candidates)
        tokens.push_back(candidate.token);
    QCOMPARE(tokens, (std::vector<TokenId>{1, 3, 6, 4}));

    RandomGenerator random(std::uint64_t{14});
    const std::vector<float> many = randomLogits(random, 5000);
    std::vector<float> sorted = many;
    std::sort(sorted.rbegin(), sorted.rend());
    const SampledToken of = SamplerChain(SamplerSettings(), 3).sample(many, {}, 50);
    for (std::size_t rank = 0; rank < 50; ++rank)
        QCOMPARE(many[static_cast<std::size_t>(of.candidates[rank].token)], sorted[rank]);
}

void TestSamplerChain::candidateCountIsBounded() {
    const std::vector<float> logits = {1, 2, 3};
    SamplerChain chain(SamplerSettings(), 3);
    QCOMPARE(chain.sample(logits, {}, -1).candidates.size(), std::size_t{0});
    QCOMPARE(chain.sample(logits, {}, 0).candidates.size(), std::size_t{0});
    QCOMPARE(chain.sample(logits, {}, 2).candidates.size(), std::size_t{2});
    QCOMPARE(chain.sample(logits, {}, 1000).candidates.size(), std::size_t{3});
}

void TestSamplerChain::oddLogitsAreNotChosen() {
    const std::vector<float> logits = {kNaN, 1, -kInfinity, 2, -kNaN};
    RandomGenerator random(std::uint64_t{15});
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        const std::vector<TokenId> history = {0, 1, 2, 3, 4, 77, -1};
        const SampledToken sampled =
            SamplerChain(randomSettings(random), seed).sample(logits, history, 5);
        QVERIFY(sampled.token == 1 || sampled.token == 3);
        QCOMPARE(sampled.candidates.size(), std::size_t{2});
        QVERIFY(sampled.probability > 0 && sampled.probability < 1);
        QCOMPARE(sampled.oddLogits, std::size_t{3});
    }
    // +infinity is the largest finite number: it wins, and shares with its like.
    const std::vector<float> infinite = {1, kInfinity, 3, kInfinity};
    const SampledToken shared = SamplerChain(SamplerSettings(), 1).sample(infinite, {}, 4);
    QVERIFY(shared.token == 1 || shared.token == 3);
    QCOMPARE(shared.probability, 0.5F);
    QCOMPARE(shared.oddLogits, std::size_t{2});
}

void TestSamplerChain::nothingLeftGivesTokenZero() {
    for (const float odd : {kNaN, -kInfinity}) {
        const std::vector<float> logits(10, odd);
        const SampledToken sampled =
            SamplerChain(SamplerSettings(), 8).sample(logits, std::vector<TokenId>{1, 2}, 5);
        QCOMPARE(sampled.token, 0);
        QCOMPARE(sampled.probability, 0.0F);
        QVERIFY(sampled.candidates.empty());
        QCOMPARE(sampled.oddLogits, logits.size());
    }
}

void TestSamplerChain::sameSeedSameTokens() {
    RandomGenerator random(std::uint64_t{16});
    const std::vector<float> logits = randomLogits(random, 2000);
    const auto tokens = [&](std::uint64_t seed) {
        SamplerSettings settings = neutralSettings();
        SamplerChain chain(settings, seed);
        std::vector<TokenId> history;
        for (int round = 0; round < 50; ++round)
            history.push_back(chain.sample(logits, history, round % 3).token);
        return history;
    };
    QCOMPARE(tokens(1), tokens(1));
    QVERIFY(tokens(1) != tokens(2));
}

void TestSamplerChain::everyCallUsesOneNumber() {
    const std::vector<float> even(100, 0.0F);
    for (const std::vector<float>& first :
         {std::vector<float>{1}, std::vector<float>{kNaN, kNaN}, std::vector<float>(50, 2.0F)}) {
        SamplerChain chain(neutralSettings(), 21);
        RandomGenerator random(std::uint64_t{21});
        static_cast<void>(chain.sample(first, {}, 0));
        static_cast<void>(random.uniform());
        QCOMPARE(chain.sample(even, {}, 0).token,
                 static_cast<TokenId>(std::floor(random.uniform() * 100)));
    }
}

void TestSamplerChain::largeVocabulary() {
    RandomGenerator random(std::uint64_t{17});
    const std::vector<float> logits = randomLogits(random, 32'000);
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
        const test::Logits left = test::referenceChain(asMap(logits), {}, SamplerSettings());
        QCOMPARE(SamplerChain(SamplerSettings(), seed).sample(logits, {}, 5).token,
                 test::referenceDraw(left, RandomGenerator(seed).uniform()));
    }
}

QTEST_GUILESS_MAIN(TestSamplerChain)
#include "test_sampler_chain.moc"
