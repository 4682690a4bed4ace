// The descriptors that window, command line and tests are built from, and the settings' checks.
#include <QtTest>
#include <cmath>
#include <limits>

#include "engine/sampling/sampler_table.h"

using namespace qllama;

class TestSamplerSettings : public QObject {
    Q_OBJECT

private slots:
    void parametersAreThoseDocumented();
    void tableAndParametersAgree();
    void descriptorsAreComplete();
    void defaultsHaveNoProblem();
    void missingKeysHaveTheirDefault();
    void equalityIsByValue();
    void limitsAreAcceptedAndBeyondIsRefused();
    void problemsAreSentences_data();
    void problemsAreSentences();
};

void TestSamplerSettings::parametersAreThoseDocumented() {
    const std::vector<std::pair<std::string_view, double>> expected = {{"repetition-penalty", 1.0},
                                                                       {"repeat-penalty", 1.0},
                                                                       {"repeat-window", 64},
                                                                       {"top-k", 40},
                                                                       {"top-p", 0.95},
                                                                       {"min-p", 0.05},
                                                                       {"temperature", 0.8}};
    QCOMPARE(samplerParameters().size(), expected.size());
    for (std::size_t index = 0; index < expected.size(); ++index) {
        QCOMPARE(samplerParameters()[index].key, expected[index].first);
        QCOMPARE(samplerParameters()[index].defaultValue, expected[index].second);
    }
}

void TestSamplerSettings::tableAndParametersAgree() {
    std::size_t index = 0;
    for (const SamplerDescriptor* sampler : samplerTable()) {
        QVERIFY(!sampler->name.empty());
        for (const SamplerParameter& parameter : sampler->parameters) {
            QVERIFY(index < samplerParameters().size());
            QCOMPARE(samplerParameters()[index].key, parameter.key);
            QCOMPARE(findSamplerParameter(parameter.key), &samplerParameters()[index]);
            ++index;
        }
    }
    QCOMPARE(index, samplerParameters().size());
    QVERIFY(findSamplerParameter("no-such-key") == nullptr);
}

void TestSamplerSettings::descriptorsAreComplete() {
    QSet<QString> keys;
    for (const SamplerParameter& parameter : samplerParameters()) {
        keys.insert(QString::fromUtf8(parameter.key.data(), qsizetype(parameter.key.size())));
        QVERIFY(!parameter.label.empty());
        QVERIFY(parameter.help.ends_with('.'));
        QVERIFY(parameter.minimum < parameter.maximum);
        QVERIFY(parameter.step > 0);
        for (const double value : {parameter.defaultValue, parameter.neutral}) {
            QVERIFY(value >= parameter.minimum);
            QVERIFY(value <= parameter.maximum);
        }
        // The control in the window shows the default and the step unrounded.
        const double unit = std::pow(10.0, parameter.decimals);
        for (const double value : {parameter.defaultValue, parameter.step})
            QVERIFY(std::abs(value * unit - std::round(value * unit)) < 1e-9);
    }
    QCOMPARE(keys.size(), qsizetype(samplerParameters().size()));
}

void TestSamplerSettings::defaultsHaveNoProblem() {
    QCOMPARE(SamplerSettings().problem(), std::string());
}

void TestSamplerSettings::missingKeysHaveTheirDefault() {
    SamplerSettings settings;
    for (const SamplerParameter& parameter : samplerParameters()) {
        QCOMPARE(settings.value(parameter.key), parameter.defaultValue);
        settings.set(parameter.key, parameter.minimum);
        QCOMPARE(settings.value(parameter.key), parameter.minimum);
    }
}

void TestSamplerSettings::equalityIsByValue() {
    SamplerSettings changed;
    changed.set("top-k", 7);
    QVERIFY(!(changed == SamplerSettings()));
    changed.set("top-k", 40);
    QVERIFY(changed == SamplerSettings());
}

void TestSamplerSettings::limitsAreAcceptedAndBeyondIsRefused() {
    const double infinity = std::numeric_limits<double>::infinity();
    for (const SamplerParameter& parameter : samplerParameters()) {
        for (const double value : {parameter.minimum, parameter.maximum, parameter.neutral}) {
            SamplerSettings settings;
            settings.set(parameter.key, value);
            QCOMPARE(settings.problem(), std::string());
        }
        for (const double value :
             {parameter.minimum - parameter.step, std::nextafter(parameter.minimum, -infinity),
              std::nextafter(parameter.maximum, infinity), infinity, -infinity,
              std::numeric_limits<double>::quiet_NaN()}) {
            SamplerSettings settings;
            settings.set(parameter.key, value);
            QVERIFY(settings.problem().find(parameter.key) != std::string::npos);
        }
    }
}

void TestSamplerSettings::problemsAreSentences_data() {
    QTest::addColumn<QString>("key");
    QTest::addColumn<double>("value");
    QTest::addColumn<QString>("sentence");
    QTest::newRow("above") << "top-p" << 1.5
                           << "Top-p (top-p) is 1.5; it must be a number from 0 to 1.";
    QTest::newRow("below")
        << "temperature" << -0.25
        << "Temperature (temperature) is -0.25; it must be a number from 0 to 5.";
    QTest::newRow("fraction of a whole number")
        << "top-k" << 2.5 << "Top-k (top-k) is 2.5; it must be a whole number from 0 to 1000000.";
    QTest::newRow("window") << "repeat-window" << -2.0
                            << "Repeat window (repeat-window) is -2; it must be a whole number "
                               "from -1 to 1000000.";
    QTest::newRow("zero penalty") << "repetition-penalty" << 0.0
                                  << "Repetition penalty (rllama) (repetition-penalty) is 0; it "
                                     "must be a number from 0.01 to 2.";
}

void TestSamplerSettings::problemsAreSentences() {
    QFETCH(QString, key);
    QFETCH(double, value);
    QFETCH(QString, sentence);
    SamplerSettings settings;
    settings.set(key.toStdString(), value);
    QCOMPARE(QString::fromStdString(settings.problem()), sentence);
}

QTEST_GUILESS_MAIN(TestSamplerSettings)
#include "test_sampler_settings.moc"
