// Every sampler of the table against its slow reference and against the properties it promises.
#include <QtTest>
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/sampling/sampler_table.h"
#include "engine/sampling/softmax.h"
#include "reference_samplers.h"

using namespace qllama;

namespace {

constexpr int kVocabulary = 500;

// Rounded to quarters at times, so that equal logits occur.
TokenLogits randomTokens(RandomGenerator& random, bool ties) {
    TokenLogits tokens;
    for (TokenId token = 0; token < kVocabulary; ++token) {
        if (random.uniform() < 0.1) continue;  // as if it were -infinity
        const double logit = (random.uniform() + random.uniform() + random.uniform() - 1.5) * 8;
        tokens.push_back({token, static_cast<float>(ties ? std::round(logit * 4) / 4 : logit)});
    }
    return tokens;
}

std::vector<TokenId> randomHistory(RandomGenerator& random) {
    std::vector<TokenId> history(static_cast<std::size_t>(random.uniform() * 200));
    for (TokenId& token : history)
        token = static_cast<TokenId>(random.uniform() * 80) - 2;  // often repeated, some outside
    if (!history.empty()) history.back() = kVocabulary + 5;
    return history;
}

double randomValue(const SamplerParameter& parameter, RandomGenerator& random) {
    const double last = std::min(parameter.maximum, parameter.minimum + 600);
    const double value = parameter.minimum + random.uniform() * (last - parameter.minimum);
    return parameter.decimals == 0 ? std::floor(value) : value;
}

test::Logits asMap(const TokenLogits& tokens) {
    test::Logits logits;
    for (const TokenLogit& entry : tokens)
        logits[entry.token] = entry.logit;
    return logits;
}

TokenLogits applied(const SamplerDescriptor& descriptor, TokenLogits tokens,
                    const std::vector<TokenId>& history, const SamplerSettings& settings) {
    if (const auto sampler = descriptor.create(settings)) sampler->apply(tokens, history);
    return tokens;
}

std::vector<TokenId> idsOf(const TokenLogits& tokens) {
    std::vector<TokenId> ids;
    for (const TokenLogit& entry : tokens)
        ids.push_back(entry.token);
    return ids;
}

SamplerSettings with(std::string_view key, double value) {
    SamplerSettings settings;
    settings.set(key, value);
    return settings;
}

// What samplers must leave behind, whatever they do.
void verifyInvariants(const TokenLogits& before, const TokenLogits& after) {
    QVERIFY(!after.empty());
    const std::vector<TokenId> idsBefore = idsOf(before);
    const std::vector<TokenId> idsAfter = idsOf(after);
    QVERIFY(std::is_sorted(idsAfter.begin(), idsAfter.end(), std::less_equal<>()));
    QVERIFY(std::includes(idsBefore.begin(), idsBefore.end(), idsAfter.begin(), idsAfter.end()));
    for (const TokenLogit& entry : after)
        QVERIFY(std::isfinite(entry.logit));
}

// Softmax does not see a constant added to all logits: compare after bringing the best to 0.
void verifySame(const TokenLogits& found, const test::Logits& expected) {
    QCOMPARE(found.size(), expected.size());
    const double bestFound = largestLogit(found);
    long double bestExpected = expected.begin()->second;
    for (const auto& [token, logit] : expected)
        bestExpected = std::max(bestExpected, logit);
    for (const TokenLogit& entry : found) {
        QVERIFY(expected.count(entry.token) == 1);
        const auto wanted = static_cast<double>(expected.at(entry.token) - bestExpected);
        // One rounding to f32 of the logit and one of the best.
        const double scale = std::abs(wanted) + 2 * std::abs(bestFound);
        QVERIFY(std::abs(entry.logit - bestFound - wanted) <=
                2 * std::numeric_limits<float>::epsilon() * scale);
    }
}

}  // namespace

class TestSamplers : public QObject {
    Q_OBJECT

private slots:
    void everySamplerMatchesItsReference_data();
    void everySamplerMatchesItsReference();
    void everySamplerIsOffAtNeutral();
    void everySamplerSurvivesExtremes();
    void topKLeavesK();
    void topKPrefersLowerIdsAmongEquals();
    void topPKeepsTheTokenThatReachesP();
    void topPZeroKeepsOne();
    void minPKeepsTheRatio();
    void temperatureZeroKeepsTheBest();
    void temperatureScalesDifferences();
    void repetitionPenaltyDiscouragesBothSigns();
    void repetitionPenaltyCountsOccurrences();
    void repeatPenaltyDiscouragesBothSigns();
    void repeatPenaltyCountsOnce();
    void repeatPenaltyLooksAtItsWindow();
};

void TestSamplers::everySamplerMatchesItsReference_data() {
    QTest::addColumn<int>("index");
    for (std::size_t index = 0; index < samplerTable().size(); ++index)
        QTest::newRow(samplerTable()[index]->name.data()) << static_cast<int>(index);
}

void TestSamplers::everySamplerMatchesItsReference() {
    QFETCH(int, index);
    const SamplerDescriptor& descriptor = *samplerTable()[static_cast<std::size_t>(index)];
    const auto reference = test::referenceOf(std::string(descriptor.name));
    QVERIFY2(reference, "a sampler in the table has no reference in reference_samplers.cpp");
    RandomGenerator random(static_cast<std::uint64_t>(index));
    for (int round = 0; round < 200; ++round) {
        SamplerSettings settings;
        for (const SamplerParameter& parameter : descriptor.parameters)
            settings.set(parameter.key, randomValue(parameter, random));
        const TokenLogits tokens = randomTokens(random, round % 2 == 0);
        const std::vector<TokenId> history = randomHistory(random);
        const TokenLogits found = applied(descriptor, tokens, history, settings);
        verifyInvariants(tokens, found);
        verifySame(found, reference(asMap(tokens), history, settings));
        if (QTest::currentTestFailed()) QFAIL(qPrintable(QString("round %1").arg(round)));
    }
}

void TestSamplers::everySamplerIsOffAtNeutral() {
    SamplerSettings settings;
    for (const SamplerParameter& parameter : samplerParameters())
        settings.set(parameter.key, parameter.neutral);
    for (const SamplerDescriptor* descriptor : samplerTable())
        QVERIFY2(descriptor->create(settings) == nullptr, descriptor->name.data());
}

void TestSamplers::everySamplerSurvivesExtremes() {
    const float largest = std::numeric_limits<float>::max();
    const float smallest = std::numeric_limits<float>::denorm_min();
    const TokenLogits hard[] = {
        {{0, largest}, {1, -largest}, {2, 0}, {3, smallest}, {4, -smallest}},
        {{3, -largest}},
        {{0, 0.0F}, {7, -0.0F}},
        {{1, largest}, {2, largest}, {9, std::nextafter(largest, 0.0F)}},
    };
    const std::vector<TokenId> history(3000, 1);  // penalty^3000 underflows or overflows
    for (const SamplerDescriptor* descriptor : samplerTable())
        for (const SamplerParameter& parameter : descriptor->parameters)
            for (const double value : {parameter.minimum, parameter.minimum + parameter.step / 1e6,
                                       parameter.defaultValue, parameter.maximum})
                for (const TokenLogits& tokens : hard) {
                    SamplerSettings settings = with(parameter.key, value);
                    if (parameter.key == "repeat-window") settings.set("repeat-penalty", 3.0);
                    verifyInvariants(tokens, applied(*descriptor, tokens, history, settings));
                }
}

void TestSamplers::topKLeavesK() {
    RandomGenerator random(std::uint64_t{5});
    const TokenLogits tokens = randomTokens(random, false);
    for (const std::size_t count : {1U, 2U, 40U, 255U, 256U, 257U, 400U, 600U}) {
        const TokenLogits kept =
            applied(kTopK, tokens, {}, with("top-k", static_cast<double>(count)));
        QCOMPARE(kept.size(), std::min(count, tokens.size()));
        float leastKept = std::numeric_limits<float>::max();
        for (const TokenLogit& entry : kept)
            leastKept = std::min(leastKept, entry.logit);
        const auto better = std::count_if(tokens.begin(), tokens.end(), [&](const auto& entry) {
            return entry.logit > leastKept;
        });
        QCOMPARE(static_cast<std::size_t>(better), kept.size() - 1);
    }
    QCOMPARE(applied(kTopK, tokens, {}, with("top-k", 0)).size(), tokens.size());
}

void TestSamplers::topKPrefersLowerIdsAmongEquals() {
    const TokenLogits tokens = {{0, 1}, {1, 2}, {2, 2}, {3, 2}, {4, 5}, {5, 2}};
    QCOMPARE(idsOf(applied(kTopK, tokens, {}, with("top-k", 3))), (std::vector<TokenId>{1, 2, 4}));
}

void TestSamplers::topPKeepsTheTokenThatReachesP() {
    // Probabilities 0.1, 0.2, 0.3, 0.4 by construction.
    const auto logit = [](double probability) { return static_cast<float>(std::log(probability)); };
    const TokenLogits tokens = {{0, logit(0.1)}, {1, logit(0.2)}, {2, logit(0.3)}, {3, logit(0.4)}};
    const auto kept = [&](double mass) {
        return idsOf(applied(kTopP, tokens, {}, with("top-p", mass)));
    };
    QCOMPARE(kept(0.39), (std::vector<TokenId>{3}));
    QCOMPARE(kept(0.41), (std::vector<TokenId>{2, 3}));
    QCOMPARE(kept(0.69), (std::vector<TokenId>{2, 3}));
    QCOMPARE(kept(0.71), (std::vector<TokenId>{1, 2, 3}));
    QCOMPARE(kept(0.95), (std::vector<TokenId>{0, 1, 2, 3}));
    QCOMPARE(kept(1.0), (std::vector<TokenId>{0, 1, 2, 3}));
}

void TestSamplers::topPZeroKeepsOne() {
    TokenLogits equal;
    for (TokenId token = 3; token < 3000; ++token)
        equal.push_back({token, 1.25F});
    QCOMPARE(idsOf(applied(kTopP, equal, {}, with("top-p", 0))), (std::vector<TokenId>{3}));
    // Half of equal tokens are the half with the lower ids.
    QCOMPARE(applied(kTopP, equal, {}, with("top-p", 0.4999)).size(), std::size_t{1499});
    QCOMPARE(applied(kTopP, equal, {}, with("top-p", 0.4999)).back().token, 3 + 1498);
}

void TestSamplers::minPKeepsTheRatio() {
    RandomGenerator random(std::uint64_t{6});
    const TokenLogits tokens = randomTokens(random, false);
    const Softmax softmax(tokens);
    const double best = softmax.probability(largestLogit(tokens));
    for (const double fraction : {0.01, 0.05, 0.5, 1.0}) {
        const auto kept = idsOf(applied(kMinP, tokens, {}, with("min-p", fraction)));
        for (const TokenLogit& entry : tokens) {
            const bool stays = softmax.probability(entry.logit) >= fraction * best * (1 - 1e-12);
            QCOMPARE(std::binary_search(kept.begin(), kept.end(), entry.token), stays);
        }
    }
}

void TestSamplers::temperatureZeroKeepsTheBest() {
    const TokenLogits tokens = {{2, -1}, {4, 3}, {6, 3}, {8, 2}};
    QCOMPARE(idsOf(applied(kTemperature, tokens, {}, with("temperature", 0))),
             (std::vector<TokenId>{4}));
}

void TestSamplers::temperatureScalesDifferences() {
    const TokenLogits tokens = {{0, 1}, {1, 3}, {2, -5}};
    const TokenLogits scaled = applied(kTemperature, tokens, {}, with("temperature", 0.5));
    QCOMPARE(scaled[1].logit - scaled[0].logit, 4.0F);
    QCOMPARE(scaled[0].logit - scaled[2].logit, 12.0F);
}

void TestSamplers::repetitionPenaltyDiscouragesBothSigns() {
    const TokenLogits tokens = {{0, 2}, {1, -2}, {2, 2}, {3, -2}, {4, 0}};
    const TokenLogits found =
        applied(kRepetitionPenalty, tokens, {0, 1, 4}, with("repetition-penalty", 0.5));
    QCOMPARE(found[0].logit, 1.0F);
    QCOMPARE(found[1].logit, -4.0F);
    QCOMPARE(found[2].logit, 2.0F);
    QCOMPARE(found[3].logit, -2.0F);
    QCOMPARE(found[4].logit, 0.0F);
}

void TestSamplers::repetitionPenaltyCountsOccurrences() {
    const TokenLogits tokens = {{0, 8}, {1, -1}, {2, 8}};
    const TokenLogits found =
        applied(kRepetitionPenalty, tokens, {1, 0, 1, 0, 0}, with("repetition-penalty", 0.5));
    QCOMPARE(found[0].logit, 1.0F);
    QCOMPARE(found[1].logit, -4.0F);
    QCOMPARE(found[2].logit, 8.0F);
}

void TestSamplers::repeatPenaltyDiscouragesBothSigns() {
    const TokenLogits tokens = {{0, 2}, {1, -2}, {2, 2}, {3, -2}};
    const TokenLogits found = applied(kRepeatPenalty, tokens, {0, 1}, with("repeat-penalty", 2.0));
    QCOMPARE(found[0].logit, 1.0F);
    QCOMPARE(found[1].logit, -4.0F);
    QCOMPARE(found[2].logit, 2.0F);
    QCOMPARE(found[3].logit, -2.0F);
}

void TestSamplers::repeatPenaltyCountsOnce() {
    const TokenLogits tokens = {{0, 8}};
    QCOMPARE(applied(kRepeatPenalty, tokens, {0, 0, 0}, with("repeat-penalty", 2.0))[0].logit,
             4.0F);
}

void TestSamplers::repeatPenaltyLooksAtItsWindow() {
    const TokenLogits tokens = {{0, 8}, {1, 8}, {2, 8}};
    const std::vector<TokenId> history = {0, 1, 2};
    const auto punished = [&](double window) {
        SamplerSettings settings = with("repeat-penalty", 2.0);
        settings.set("repeat-window", window);
        std::vector<TokenId> ids;
        for (const TokenLogit& entry : applied(kRepeatPenalty, tokens, history, settings))
            if (entry.logit < 8) ids.push_back(entry.token);
        return ids;
    };
    QCOMPARE(punished(0), std::vector<TokenId>());
    QCOMPARE(punished(1), (std::vector<TokenId>{2}));
    QCOMPARE(punished(2), (std::vector<TokenId>{1, 2}));
    QCOMPARE(punished(1000), (std::vector<TokenId>{0, 1, 2}));
    QCOMPARE(punished(-1), (std::vector<TokenId>{0, 1, 2}));
}

QTEST_GUILESS_MAIN(TestSamplers)
#include "test_samplers.moc"
