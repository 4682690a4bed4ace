// What the command line does when the window opens: every option that is not for the terminal alone
// has its effect, and what is not said is as it was last time.
#include <QSettings>
#include <QTemporaryDir>
#include <QTest>
#include <filesystem>
#include <map>

#include "gui/command_line.h"
#include "gui/command_line_options.h"
#include "gui/window/window_settings.h"
#include "gui/window/window_start.h"

using namespace qllama;

namespace {

using Arguments = std::vector<std::string>;

// All that a start says, as text that can be compared.
std::string described(const WindowStart& start) {
    std::string text;
    const auto add = [&text](const char* name, const std::string& value) {
        text += std::string(name) + "=" + value + "\n";
    };
    const LoadRequest& load = start.load.value();
    add("model", load.location.model);
    add("tokenizer", load.location.tokenizer.value_or(""));
    add("params", load.location.params.value_or(""));
    add("device", load.device);
    for (const std::int64_t count : load.split.value_or(std::vector<std::int64_t>()))
        add("split", std::to_string(count));
    add("share", std::to_string(load.deviceShare.value_or(-1)));
    add("may use cpu", std::to_string(load.mayUseCpu));
    add("precision", std::string(keyOf(load.precision)));
    add("threads", std::to_string(load.threadCount));
    add("context", std::to_string(load.contextLength.value_or(-1)));
    const GenerationRequest& generation = start.generation.value();
    for (const SamplerParameter& parameter : samplerParameters())
        add(parameter.key.data(), std::to_string(generation.sampler.value(parameter.key)));
    add("seed", std::to_string(generation.seed.value_or(0)));
    add("max tokens", std::to_string(generation.maxTokens));
    add("ignore eos", std::to_string(generation.ignoreEos));
    for (const std::string& stop : generation.stopStrings)
        add("stop", stop);
    add("prompt", start.prompt.value_or("(none)"));
    add("prompt file", start.promptFile.value_or(""));
    add("failure", start.whenDeviceFails ? std::to_string(static_cast<int>(*start.whenDeviceFails))
                                         : "(none)");
    return text;
}

// A value for each option that opens the window and is no sampler's; "" for a switch.
const std::map<std::string, std::string> kValues = {{"--model", "/m/told"},
                                                    {"--tokenizer", "/t/told"},
                                                    {"--params", "/p/told"},
                                                    {"--max-seq-len", "99"},
                                                    {"--precision", "q8"},
                                                    {"--f16", ""},
                                                    {"--threads", "7"},
                                                    {"--device", "opencl:1"},
                                                    {"--opencl-device", "2"},
                                                    {"--split", "4,2"},
                                                    {"--percentage-to-gpu", "0.25"},
                                                    {"--strict-device", ""},
                                                    {"--on-device-failure", "stop"},
                                                    {"--prompt", "Hello"},
                                                    {"--prompt-file", "/f"},
                                                    {"--max-tokens", "9"},
                                                    {"--ignore-eos", ""},
                                                    {"--stop", "END"},
                                                    {"--seed", "5"}};

Arguments argumentsFor(const CommandLineOption& option) {
    const std::string& name = option.names.front();
    if (const SamplerParameter* parameter = findSamplerParameter(name.substr(2)))
        return {name, QString::number(parameter->maximum, 'f', parameter->decimals).toStdString()};
    const std::string value = kValues.at(name);
    return value.empty() ? Arguments{name} : Arguments{name, value};
}

}  // namespace

class TestWindowStart : public QObject {
    Q_OBJECT

private slots:
    void init() {
        m_settings.reset();  // writes what it still has, which would make its folder anew
        m_folder = std::make_unique<QTemporaryDir>();
        m_settings = std::make_unique<QSettings>(m_folder->filePath("s.ini"), QSettings::IniFormat);
    }

    void everyOptionForTheWindowHasAnEffect_data() {
        QTest::addColumn<int>("index");
        for (std::size_t index = 0; index < commandLineOptions().size(); ++index)
            QTest::newRow(commandLineOptions()[index].names.front().c_str())
                << static_cast<int>(index);
    }
    void everyOptionForTheWindowHasAnEffect() {
        QFETCH(int, index);
        const CommandLineOption& option = commandLineOptions()[static_cast<std::size_t>(index)];
        if (option.needsNoWindow || option.terminalOnly) {
            // Refused where it would open the window, or never opens it.
            Arguments alone = {option.names.front()};
            if (!option.valueName.empty()) alone.push_back("1");
            QVERIFY(option.needsNoWindow || !parseCommandLine(alone).usageError.isEmpty());
            return;
        }
        const Arguments arguments = argumentsFor(option);
        QVERIFY(parseCommandLine(arguments).commandLine);
        QVERIFY(described(windowStart(arguments, *m_settings)) !=
                described(windowStart({}, *m_settings)));
    }

    void pathsDoNotDependOnTheFolder() {
        const auto locationOf = [this](const Arguments& arguments) {
            return windowStart(arguments, *m_settings).load.value().location;
        };
        const std::filesystem::path here = std::filesystem::current_path();
        const CheckpointLocation named = locationOf({"--model", "a", "--tokenizer", "b/t.model"});
        QCOMPARE(named.model, here / "a");
        QCOMPARE(named.tokenizer.value(), here / "b/t.model");
        QVERIFY(!named.params);
        QCOMPARE(locationOf({"--model", "."}).model, std::filesystem::canonical(here));
        QVERIFY(locationOf({}).model.empty());
    }

    void whatIsNotSaidIsAsItWas() {
        keepSomething();
        const WindowStart start = windowStart({}, *m_settings);
        QCOMPARE(start.load->location.model, "/m/kept");
        QCOMPARE(start.load->device, "opencl:0,cpu");
        QCOMPARE(start.load->split.value(), (std::vector<std::int64_t>{4, 2}));
        QCOMPARE(start.load->precision, Precision::Q8);
        QCOMPARE(start.generation->sampler.value("temperature"), 1.5);
        QCOMPARE(start.generation->stopStrings, (Arguments{"KEPT"}));
        QVERIFY(!start.prompt && !start.promptFile && !start.whenDeviceFails);
    }

    // Also a default, when it is said.
    void whatIsSaidCounts() {
        keepSomething();
        const Arguments arguments = {"--device", "cpu", "--temperature", "0.8", "--stop", "END"};
        const WindowStart start = windowStart(arguments, *m_settings);
        QCOMPARE(start.load->location.model, "/m/kept");
        QCOMPARE(start.load->device, "cpu");
        QVERIFY(!start.load->split);  // it was one of other devices
        QCOMPARE(start.load->precision, Precision::Q8);
        QCOMPARE(start.generation->sampler.value("temperature"), 0.8);
        QCOMPARE(start.generation->sampler.value("top-k"), 7.0);
        QCOMPARE(start.generation->stopStrings, (Arguments{"END"}));
        QVERIFY(!windowStart(Arguments{"--split", "auto"}, *m_settings).load->split);
    }

    void aNamedModelIsLoadedAsTheCommandLineSays() {
        keepSomething();
        const Arguments arguments = {"/m/told", "--threads", "2"};
        const WindowStart start = windowStart(arguments, *m_settings);
        QCOMPARE(start.load->location.model, "/m/told");
        QCOMPARE(start.load->device, "cpu");
        QCOMPARE(start.load->precision, Precision::Source);
        QCOMPARE(start.load->threadCount, 2);
        QCOMPARE(start.generation->sampler.value("temperature"), 1.5);
    }

private:
    void keepSomething() {
        LoadRequest load;
        load.location.model = "/m/kept";
        load.device = "opencl:0,cpu";
        load.split = std::vector<std::int64_t>{4, 2};
        load.precision = Precision::Q8;
        saveLoad(*m_settings, load);
        GenerationRequest generation;
        generation.sampler.set("temperature", 1.5);
        generation.sampler.set("top-k", 7);
        generation.stopStrings = {"KEPT"};
        saveGeneration(*m_settings, generation);
    }

    std::unique_ptr<QTemporaryDir> m_folder;
    std::unique_ptr<QSettings> m_settings;
};

QTEST_GUILESS_MAIN(TestWindowStart)
#include "test_window_start.moc"
