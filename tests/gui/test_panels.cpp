// The settings: sampler parameters, run limits, seed, load settings, and how they are remembered.
#include <QApplication>
#include <QCheckBox>
#include <QClipboard>
#include <QComboBox>
#include <QDoubleSpinBox>
#include <QLabel>
#include <QLineEdit>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QSettings>
#include <QSignalSpy>
#include <QSlider>
#include <QTemporaryDir>
#include <QTest>
#include <QWheelEvent>

#include "gui/window/application.h"
#include "gui/window/load_panel.h"
#include "gui/window/recent_models.h"
#include "gui/window/run_panel.h"
#include "gui/window/sampler_panel.h"
#include "gui/window/seed_field.h"
#include "gui/window/settings_panel.h"
#include "gui/window/status_strip.h"
#include "gui/window/stop_string_lines.h"
#include "gui/window/text.h"
#include "gui/window/window_settings.h"

using namespace qllama;

namespace {

class LayoutRequests : public QObject {
public:
    bool eventFilter(QObject*, QEvent* event) override {
        count += event->type() == QEvent::LayoutRequest ? 1 : 0;
        return false;
    }
    int count = 0;
};

}  // namespace

class TestPanels : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { prepareApplication(); }

    void everySamplerParameterHasAControl_data() {
        QTest::addColumn<QString>("key");
        for (const SamplerParameter& parameter : samplerParameters())
            QTest::newRow(std::string(parameter.key).c_str()) << toQString(parameter.key);
    }
    void everySamplerParameterHasAControl() {
        QFETCH(QString, key);
        const SamplerParameter& parameter = *findSamplerParameter(key.toStdString());
        SamplerPanel panel;
        QCOMPARE(panel.settings().value(parameter.key), parameter.defaultValue);
        auto* box = panel.findChild<QDoubleSpinBox*>(key);
        QVERIFY(box);
        QCOMPARE(box->accessibleName(), toQString(parameter.label));
        QVERIFY(!box->accessibleDescription().isEmpty());
        QSignalSpy changed(&panel, &SamplerPanel::settingsChanged);
        box->setValue(parameter.maximum);
        QCOMPARE(panel.settings().value(parameter.key), parameter.maximum);
        QCOMPARE(changed.count(), parameter.maximum == parameter.defaultValue ? 0 : 1);
        box->setValue(parameter.minimum);
        QCOMPARE(panel.settings().value(parameter.key), parameter.minimum);
        QVERIFY(panel.settings().problem().empty());
        panel.resetToDefaults();
        QCOMPARE(panel.settings(), SamplerSettings());
    }

    void sliderAndBoxFollowEachOther() {
        SamplerPanel panel;
        panel.resize(300, 500);
        auto* box = panel.findChild<QDoubleSpinBox*>("top-p");
        auto* slider = box->parentWidget()->findChild<QSlider*>();
        QVERIFY(slider);
        slider->setValue(slider->maximum() / 2);
        QCOMPARE(box->value(), 0.5);
        box->setValue(0.25);
        QCOMPARE(slider->value(), slider->maximum() / 4);
        auto* reset = panel.findChild<QPushButton*>("samplerReset");
        QVERIFY(reset->isEnabled());
        reset->click();
        QCOMPARE(box->value(), findSamplerParameter("top-p")->defaultValue);
        QVERIFY(!reset->isEnabled());
    }

    void aFineValueIsNotRounded() {
        SamplerPanel panel;
        SamplerSettings fine;
        fine.set("top-p", 0.9125);
        panel.setSettings(fine);
        QCOMPARE(panel.settings(), fine);
        auto* box = panel.findChild<QDoubleSpinBox*>("top-p");
        auto* slider = box->parentWidget()->findChild<QSlider*>();
        slider->setValue(slider->maximum() / 10 * 3);
        QCOMPARE(box->text(), QLocale().toString(0.3, 'f', 2));
    }

    void theWheelChangesNothingInPassing() {
        SamplerPanel panel;
        auto* box = panel.findChild<QDoubleSpinBox*>("temperature");
        const double before = box->value();
        QWheelEvent wheel(QPointF(5, 5), box->mapToGlobal(QPointF(5, 5)), {}, QPoint(0, -120),
                          Qt::NoButton, Qt::NoModifier, Qt::NoScrollPhase, false);
        QApplication::sendEvent(box, &wheel);
        QCOMPARE(box->value(), before);
        QVERIFY(!wheel.isAccepted());
    }

    void stopStringsAreEscapedLines_data() {
        QTest::addColumn<QString>("lines");
        QTest::addColumn<QStringList>("strings");
        QTest::newRow("none") << "" << QStringList();
        QTest::newRow("plain") << "END\nUser:" << QStringList{"END", "User:"};
        QTest::newRow("empty lines") << "\nEND\n\n" << QStringList{"END"};
        QTest::newRow("escapes") << "\\n\\n\n\\tx\\\\n" << QStringList{"\n\n", "\tx\\n"};
        QTest::newRow("spaces stay") << " a \n  " << QStringList{" a ", "  "};
        QTest::newRow("unknown escape") << "\\q\\" << QStringList{"\\q\\"};
    }
    void stopStringsAreEscapedLines() {
        QFETCH(QString, lines);
        QFETCH(QStringList, strings);
        const auto parsed = parseStopStrings(lines);
        QStringList found;
        for (const std::string& text : parsed)
            found += QString::fromStdString(text);
        QCOMPARE(found, strings);
        QCOMPARE(parseStopStrings(formatStopStrings(parsed)), parsed);
    }

    void theSeedIsRandomOrKept() {
        SeedField field;
        QVERIFY(!field.seed());
        field.showUsedSeed(18446744073709551615ULL);
        QVERIFY(!field.seed());
        auto* edit = field.findChild<QLineEdit*>("seedEdit");
        QVERIFY(edit->isReadOnly());
        field.findChild<QAbstractButton*>("seedCopy")->click();
        QCOMPARE(QApplication::clipboard()->text(), "18446744073709551615");
        field.findChild<QCheckBox*>("seedRandom")->click();
        QCOMPARE(field.seed().value(), 18446744073709551615ULL);
        edit->clear();
        QTest::keyClicks(edit, "12x-3");  // what is no digit is not taken
        QCOMPARE(field.seed().value(), 123ULL);
        QTest::keyClicks(edit, "18446744073709551616");  // nor what is too large
        QVERIFY(edit->hasAcceptableInput());
    }

    void limitsOfARunAreTakenOver() {
        RunPanel panel;
        GenerationRequest asked;
        asked.maxTokens = -1;
        asked.seed = 7;
        asked.ignoreEos = true;
        asked.stopStrings = {"\n\n", "END"};
        panel.readFrom(asked);
        GenerationRequest written;
        panel.writeTo(written);
        QCOMPARE(written.maxTokens, -1);
        QCOMPARE(written.seed.value(), 7ULL);
        QVERIFY(written.ignoreEos);
        QCOMPARE(written.stopStrings, asked.stopStrings);
    }

    void loadSettingsCanBeAppliedOnceTheyDiffer() {
        LoadPanel panel;
        auto* apply = panel.findChild<QPushButton*>("applyLoad");
        QVERIFY(!apply->isEnabled());
        panel.setLoaded(nullptr, true);  // it failed, perhaps for these settings
        QVERIFY(apply->isEnabled());
        LoadRequest loaded;
        panel.setLoaded(&loaded);
        QVERIFY(!apply->isEnabled());
        panel.findChild<QSpinBox*>("contextLength")->setValue(128);
        QVERIFY(apply->isEnabled());
        LoadRequest wanted;
        panel.writeTo(wanted);
        QCOMPARE(wanted.contextLength.value(), 128);
        panel.setLoaded(&wanted);
        QVERIFY(!apply->isEnabled());
        auto* precision = panel.findChild<QComboBox*>("precision");
        QCOMPARE(precision->count(), static_cast<int>(precisions().size()));
        precision->setCurrentIndex(precision->count() - 1);
        QVERIFY(apply->isEnabled());
        panel.writeTo(wanted);
        QCOMPARE(wanted.precision, precisions().back().precision);
        panel.setLoaded(&wanted);
        panel.findChild<QSpinBox*>("threads")->setValue(3);
        QVERIFY(apply->isEnabled());
        panel.writeTo(wanted);
        QCOMPARE(wanted.threadCount, 3);
    }

    void settingsComeBack() {
        QTemporaryDir folder;
        GenerationRequest request;
        request.sampler.set("temperature", 1.25);
        request.sampler.set("top-k", 7);
        request.maxTokens = 33;
        request.seed = 18446744073709551615ULL;
        request.ignoreEos = true;
        request.stopStrings = {"\n"};
        LoadRequest load;
        load.location.model = "/models/a b";
        load.location.tokenizer = "/models/t.model";
        load.device = "opencl:1";
        load.precision = Precision::F32;
        load.threadCount = 3;
        load.contextLength = 99;
        {
            QSettings settings(folder.filePath("s.ini"), QSettings::IniFormat);
            saveGeneration(settings, request);
            saveLoad(settings, load);
        }
        const QSettings settings(folder.filePath("s.ini"), QSettings::IniFormat);
        const GenerationRequest back = restoreGeneration(settings);
        QCOMPARE(back.sampler, request.sampler);
        QCOMPARE(back.maxTokens, 33);
        QCOMPARE(back.seed, request.seed);
        QCOMPARE(back.ignoreEos, true);
        QCOMPARE(back.stopStrings, request.stopStrings);
        const LoadRequest loadBack = restoreLoad(settings);
        QCOMPARE(loadBack.location.model, load.location.model);
        QCOMPARE(loadBack.location.tokenizer, load.location.tokenizer);
        QVERIFY(!loadBack.location.params);
        QCOMPARE(loadBack.device, load.device);
        QCOMPARE(loadBack.precision, load.precision);
        QCOMPARE(loadBack.threadCount, 3);
        QCOMPARE(loadBack.contextLength, load.contextLength);
    }

    void nonsenseInTheSettingsFileIsNotTaken() {
        QTemporaryDir folder;
        QSettings settings(folder.filePath("s.ini"), QSettings::IniFormat);
        settings.setValue("sampler/temperature", "hot");
        settings.setValue("sampler/top-p", 17);
        settings.setValue("run/maxTokens", -20);
        settings.setValue("run/seed", "-1");
        settings.setValue("load/precision", "f7");
        settings.setValue("load/threads", -4);
        settings.setValue("load/context", "long");
        const GenerationRequest request = restoreGeneration(settings);
        QCOMPARE(request.sampler, SamplerSettings());
        QCOMPARE(request.maxTokens, GenerationRequest().maxTokens);
        QVERIFY(!request.seed);
        const LoadRequest load = restoreLoad(settings);
        QCOMPARE(load.precision, Precision::Source);
        QCOMPARE(load.threadCount, 0);
        QVERIFY(!load.contextLength);
        QCOMPARE(load.device, "cpu");
    }

    void recentModelsAreUniqueAndFew() {
        QTemporaryDir folder;
        QSettings settings(folder.filePath("s.ini"), QSettings::IniFormat);
        RecentModels recent;
        for (int model = 0; model < 12; ++model)
            recent.add(locationOf("/m/" + std::to_string(model)));
        recent.add(locationOf("/m/10"));
        QCOMPARE(recent.locations().size(), 8U);
        QCOMPARE(recent.locations()[0].model, "/m/10");
        QCOMPARE(recent.locations()[1].model, "/m/11");
        QCOMPARE(recent.locations()[2].model, "/m/9");
        recent.save(settings);
        RecentModels back;
        back.restore(settings);
        QCOMPARE(back.locations().size(), 8U);
        QCOMPARE(back.locations()[0].model, "/m/10");
        recent.clear();
        recent.save(settings);
        back.restore(settings);
        QVERIFY(back.locations().empty());
    }

    void modelsAreNamedByTheirFolder() {
        QCOMPARE(displayName(locationOf("/m/llama-7b")), "llama-7b");
        QCOMPARE(displayName(locationOf("/m/llama-7b/")), "llama-7b");
        QCOMPARE(displayName(locationOf("/m/Llama-3.2-1B")), "Llama-3.2-1B");
        QCOMPARE(displayName(locationOf("/m/7B/params.json")), "7B/params.json");
        QCOMPARE(displayName(locationOf("/m/7B/consolidated.00.pth")), "7B/consolidated.00.pth");
    }

    // Or the window would be laid out, all of it, some times a second.
    void numbersOfARunLeaveTheLayoutAlone() {
        StatusStrip strip;
        strip.resize(1000, 24);
        strip.show();
        GenerationStatistics statistics;
        statistics.contextLength = 2048;
        const auto show = [&](int tokens, double ms) {
            statistics.tokenCount = statistics.contextUsed = tokens;
            statistics.msPerToken = ms;
            statistics.tokensPerSecond = 1000 / ms;
            strip.showStatistics(statistics);
            QCoreApplication::sendPostedEvents();
        };
        const auto places = [&strip] {
            QList<QRect> all;
            for (const QLabel* label : strip.findChildren<QLabel*>())
                all.append(label->geometry());
            return all;
        };
        show(888, 88.88);
        const QList<QRect> before = places();
        LayoutRequests requests;
        strip.installEventFilter(&requests);
        for (const int tokens : {11, 888, 111})
            show(tokens, tokens == 11 ? 11.11 : 88.88);
        QCOMPARE(requests.count, 0);
        QCOMPARE(places(), before);
        show(1'888'888, 88.88);
        const auto* context = strip.findChild<QLabel*>(QStringLiteral("statusContext"));
        QVERIFY(context->width() >= context->fontMetrics().horizontalAdvance(context->text()));
        statistics = {};
        strip.showStatistics(statistics);
        QCOMPARE(strip.findChild<QLabel*>(QStringLiteral("statusTokens"))->minimumWidth(), 0);
    }

private:
    static CheckpointLocation locationOf(const std::string& model) {
        CheckpointLocation location;
        location.model = model;
        return location;
    }
};

QTEST_MAIN(TestPanels)
#include "test_panels.moc"
