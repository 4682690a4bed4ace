// The command line: every spelling arrives where it should, and whatever is wrong is refused with one
// sentence that says what would be right.
#include <QFile>
#include <QSet>
#include <QTest>
#include <cstdlib>

#include "gui/command_line.h"
#include "gui/command_line_options.h"

using namespace qllama;

namespace {

using Arguments = std::vector<std::string>;

// What a sensible run needs at least, and then `more`.
Arguments headless(const Arguments& more) {
    Arguments arguments = {"--headless", "--prompt", "Hello"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

CommandLine parsed(const Arguments& arguments) {
    const ParsedCommandLine result = parseCommandLine(arguments);
    if (!result.commandLine) qWarning("%s", qPrintable(result.usageError));
    return result.commandLine.value_or(CommandLine());
}

bool toTerminal(const Arguments& arguments) {
    std::vector<const char*> pointers = {"qllama"};
    for (const std::string& argument : arguments)
        pointers.push_back(argument.c_str());
    return wantsTerminal(static_cast<int>(pointers.size()), pointers.data());
}

Arguments fromQt(const QStringList& list) {
    Arguments arguments;
    for (const QString& argument : list)
        arguments.push_back(argument.toStdString());
    return arguments;
}

}  // namespace

class TestCommandLine : public QObject {
    Q_OBJECT

private slots:
    void everyOptionOfTheContract();
    void aliases_data();
    void aliases();
    void layersAreDivided();
    void samplerOptionsComeFromTheDescriptors();
    void samplerRangesAreKept();
    void defaults();
    void wrongUsage_data();
    void wrongUsage();
    void aValueMayLookLikeAnything();
    void bytesAreKept();
    void loneArgumentIsTheModel();
    void makesModels();
    void measuresPerplexity();
    void choosesTheTerminal_data();
    void choosesTheTerminal();
    void helpNamesEveryOption();
    void jsonIsKnownEvenWhenUsageIsWrong();
    void optionsOfAnotherActionAreRefused_data();
    void optionsOfAnotherActionAreRefused();
    void optionsOfATextAreRefusedElsewhere_data();
    void optionsOfATextAreRefusedElsewhere();
    void lengthOfTheSeedsBenchmark();
};

void TestCommandLine::everyOptionOfTheContract() {
    const CommandLine line = parsed({"--headless",
                                     "--model",
                                     "dir",
                                     "--tokenizer",
                                     "t.model",
                                     "--params",
                                     "p.json",
                                     "--prompt",
                                     "Hi",
                                     "--max-tokens",
                                     "7",
                                     "--ignore-eos",
                                     "--seed",
                                     "18446744073709551615",
                                     "--max-seq-len",
                                     "99",
                                     "--stop",
                                     "\n",
                                     "--stop",
                                     "END",
                                     "--precision",
                                     "f32",
                                     "--threads",
                                     "3",
                                     "--device",
                                     "opencl:1",
                                     "--json",
                                     "--logits",
                                     "l.npy",
                                     "--quiet",
                                     "--color",
                                     "never",
                                     "--temperature",
                                     "0.5",
                                     "--top-k=3"});
    QVERIFY(line.headless && line.hasModel && line.hasPrompt && line.json && line.quiet);
    QCOMPARE(line.load.location.model.string(), std::string("dir"));
    QCOMPARE(line.load.location.tokenizer->string(), std::string("t.model"));
    QCOMPARE(line.load.location.params->string(), std::string("p.json"));
    QCOMPARE(line.generation.prompt, std::string("Hi"));
    QCOMPARE(line.generation.maxTokens, std::int64_t{7});
    QVERIFY(line.generation.ignoreEos);
    QCOMPARE(*line.generation.seed, ~std::uint64_t{0});
    QCOMPARE(*line.load.contextLength, std::int64_t{99});
    QCOMPARE(line.generation.stopStrings, (Arguments{"\n", "END"}));
    QVERIFY(line.load.precision == Precision::F32);
    QCOMPARE(line.load.threadCount, 3);
    QCOMPARE(line.load.device, std::string("opencl:1"));
    QCOMPARE(line.logitsPath->string(), std::string("l.npy"));
    QVERIFY(line.color == ColorMode::Never);
    QCOMPARE(line.generation.sampler.value("temperature"), 0.5);
    QCOMPARE(line.generation.sampler.value("top-k"), 3.0);
}

void TestCommandLine::aliases_data() {
    QTest::addColumn<QStringList>("alias");
    QTest::addColumn<QStringList>("documented");
    QTest::newRow("model") << QStringList{"--model-path", "a"} << QStringList{"--model", "a"};
    QTest::newRow("tokenizer") << QStringList{"--tokenizer-path", "a"}
                               << QStringList{"--tokenizer", "a"};
    QTest::newRow("tokenizer model")
        << QStringList{"--tokenizer-model", "a"} << QStringList{"--tokenizer", "a"};
    QTest::newRow("params") << QStringList{"--param-path", "a"} << QStringList{"--params", "a"};
    QTest::newRow("f16") << QStringList{"--f16"} << QStringList{"--precision", "f16"};
    QTest::newRow("threads") << QStringList{"--max-threads", "2"} << QStringList{"--threads", "2"};
    QTest::newRow("device") << QStringList{"--opencl-device", "2"}
                            << QStringList{"--device", "opencl:2"};
    QTest::newRow("quiet") << QStringList{"-q"} << QStringList{"--quiet"};
    QTest::newRow("with an equals sign")
        << QStringList{"--model=a=b"} << QStringList{"--model", "a=b"};
}

void TestCommandLine::aliases() {
    QFETCH(QStringList, alias);
    QFETCH(QStringList, documented);
    const CommandLine left = parsed(headless(fromQt(alias)));
    const CommandLine right = parsed(headless(fromQt(documented)));
    QVERIFY(right.headless);  // was understood
    QCOMPARE(left.load.location.model, right.load.location.model);
    QCOMPARE(left.load.location.tokenizer.value_or(""), right.load.location.tokenizer.value_or(""));
    QCOMPARE(left.load.location.params.value_or(""), right.load.location.params.value_or(""));
    QVERIFY(left.load.precision == right.load.precision);
    QCOMPARE(left.load.threadCount, right.load.threadCount);
    QCOMPARE(left.load.device, right.load.device);
    QCOMPARE(left.quiet, right.quiet);
}

void TestCommandLine::layersAreDivided() {
    const CommandLine line = parsed(headless({"--device", "opencl:0,opencl:1,cpu", "--split",
                                              "20,0,12", "--strict-device", "--profile"}));
    QCOMPARE(line.load.device, std::string("opencl:0,opencl:1,cpu"));
    QCOMPARE(line.load.split.value(), (std::vector<std::int64_t>{20, 0, 12}));
    QVERIFY(!line.load.mayUseCpu);
    QVERIFY(line.load.profile);
    const CommandLine share = parsed(headless({"--split", "auto", "--percentage-to-gpu", "0.25"}));
    QVERIFY(!share.load.split);
    QCOMPARE(share.load.deviceShare.value(), 0.25);
    QVERIFY(share.load.mayUseCpu);
}

void TestCommandLine::samplerOptionsComeFromTheDescriptors() {
    QVERIFY(!samplerParameters().empty());
    for (const SamplerParameter& parameter : samplerParameters()) {
        const std::string name = "--" + std::string(parameter.key);
        for (const double value : {parameter.minimum, parameter.maximum}) {
            const std::string text = QString::number(value, 'f', parameter.decimals).toStdString();
            const CommandLine line = parsed(headless({name, text}));
            QCOMPARE(line.generation.sampler.value(parameter.key),
                     std::strtod(text.c_str(), nullptr));
        }
    }
}

void TestCommandLine::samplerRangesAreKept() {
    for (const SamplerParameter& parameter : samplerParameters()) {
        const std::string name = "--" + std::string(parameter.key);
        Arguments wrong = {"",
                           "x",
                           "1x",
                           " 1",
                           "nan",
                           "inf",
                           "0x1",
                           "1,5",
                           std::to_string(parameter.minimum - 1),
                           std::to_string(parameter.maximum + 1)};
        if (parameter.decimals == 0) wrong.push_back(std::to_string(parameter.minimum) + "5");
        for (const std::string& value : wrong) {
            const QString error = parseCommandLine(headless({name, value})).usageError;
            QVERIFY2(error.startsWith(QString::fromStdString(name + " needs a ")),
                     qPrintable(QString::fromStdString(name + "=" + value + ": ") + error));
            QVERIFY(error.contains(QString::fromStdString("'" + value + "'")));
        }
    }
}

void TestCommandLine::defaults() {
    const CommandLine line = parsed(headless({}));
    QVERIFY(!line.hasModel && !line.json && !line.quiet && !line.generation.ignoreEos);
    QVERIFY(!line.generation.seed && !line.load.contextLength && !line.logitsPath);
    QVERIFY(line.color == ColorMode::Auto);
    QCOMPARE(line.load.device, std::string("cpu"));
    QVERIFY(line.load.precision == Precision::Source);
    for (const SamplerParameter& parameter : samplerParameters())
        QCOMPARE(line.generation.sampler.value(parameter.key), parameter.defaultValue);
}

void TestCommandLine::wrongUsage_data() {
    QTest::addColumn<QStringList>("arguments");
    QTest::addColumn<QString>("sentence");  // a part of it
    const QStringList run = {"--headless", "--prompt", "x"};
    QTest::newRow("unknown") << run + QStringList{"--frobnicate"}
                             << "Unknown option '--frobnicate'";
    QTest::newRow("typo") << run + QStringList{"--max-token", "3"} << "did you mean --max-tokens?";
    QTest::newRow("unknown short") << run + QStringList{"-x"} << "Unknown option '-x'";
    QTest::newRow("value missing") << run + QStringList{"--model"} << "--model needs a value";
    QTest::newRow("value swallowed") << run + QStringList{"--model", "--json"} << "--model=--json";
    QTest::newRow("value for a switch") << run + QStringList{"--json=1"} << "--json takes no value";
    QTest::newRow("no prompt") << QStringList{"--headless"} << "--prompt-file";
    QTest::newRow("two prompts") << run + QStringList{"--prompt-file", "f"} << "exclude each other";
    QTest::newRow("two prompts, other order")
        << QStringList{"--headless", "--prompt-file", "f", "--prompt", "x"} << "exclude each other";
    QTest::newRow("two models") << run + QStringList{"--model", "a", "b"} << "Only one model";
    QTest::newRow("empty model") << run + QStringList{"--model", ""} << "--model needs a path";
    QTest::newRow("empty stop") << run + QStringList{"--stop", ""} << "--stop needs a text";
    QTest::newRow("tokens") << run + QStringList{"--max-tokens", "-2"} << "from -1 to 2147483647";
    QTest::newRow("tokens, fraction") << run + QStringList{"--max-tokens", "1.5"} << "'1.5'";
    QTest::newRow("context") << run + QStringList{"--max-seq-len", "0"} << "from 1 to 1048576";
    QTest::newRow("threads") << run + QStringList{"--threads", "0"} << "from 1 to 1024";
    QTest::newRow("seed, negative") << run + QStringList{"--seed", "-1"} << "18446744073709551615";
    QTest::newRow("seed, too large")
        << run + QStringList{"--seed", "18446744073709551616"} << "'18446744073709551616'";
    QTest::newRow("precision") << run + QStringList{"--precision", "f8"} << "source, f32, f16";
    QTest::newRow("device") << run + QStringList{"--device", "gpu"} << "cpu, auto or opencl:N";
    QTest::newRow("device number") << run + QStringList{"--device", "opencl:"} << "'opencl:'";
    QTest::newRow("device sign") << run + QStringList{"--device", "opencl:-1"} << "'opencl:-1'";
    QTest::newRow("device in a list")
        << run + QStringList{"--device", "opencl:0,"} << "'opencl:0,'";
    QTest::newRow("auto in a list") << run + QStringList{"--device", "auto,cpu"} << "'auto,cpu'";
    QTest::newRow("split") << run + QStringList{"--split", "4,-1"} << "'4,-1'";
    QTest::newRow("empty split") << run + QStringList{"--split", ""} << "takes auto or a number";
    QTest::newRow("share") << run + QStringList{"--percentage-to-gpu", "1.5"} << "from 0 to 1";
    QTest::newRow("share, no number") << run + QStringList{"--percentage-to-gpu", "nan"} << "'nan'";
    QTest::newRow("split and share")
        << run + QStringList{"--split", "4,2", "--percentage-to-gpu", "0.5"}
        << "--split and --percentage-to-gpu exclude each other.";
    QTest::newRow("split and share in the window")
        << QStringList{"--split", "4,2", "--percentage-to-gpu", "0.5"} << "exclude each other";
    QTest::newRow("profile in the window") << QStringList{"--profile"} << "only with --headless";
    QTest::newRow("shape") << QStringList{"--make-model", "huge", "dir"} << "'huge' is not known";
    QTest::newRow("precision of a made model")
        << QStringList{"--make-model", "7b", "dir", "--precision", "q4"} << "f16 or bf16";
    QTest::newRow("no folder") << QStringList{"--make-model", "7b"} << "--make-model SHAPE DIR";
    QTest::newRow("reference") << QStringList{"--perplexity", "f", "--reference", "f8"}
                               << "source, f32, f16";
    QTest::newRow("two requests") << QStringList{"--perplexity", "f", "--cache"}
                                  << "cannot be combined";
    QTest::newRow("shards") << QStringList{"--make-model", "7b", "dir", "--shards", "0"}
                            << "from 1 to 64";
    QTest::newRow("color") << run + QStringList{"--color", "red"} << "auto, always or never";
    QTest::newRow("json in the window") << QStringList{"--json"} << "only with --headless";
    QTest::newRow("logits in the window") << QStringList{"--logits", "f"} << "only with --headless";
    QTest::newRow("two questions")
        << QStringList{"--inspect", "a", "--list-devices"} << "cannot be combined";
}

void TestCommandLine::wrongUsage() {
    QFETCH(QStringList, arguments);
    QFETCH(QString, sentence);
    const ParsedCommandLine result = parseCommandLine(fromQt(arguments));
    QVERIFY(!result.commandLine);
    QVERIFY2(result.usageError.contains(sentence), qPrintable(result.usageError));
    QVERIFY(!result.usageError.contains('\n'));
    QVERIFY(toTerminal(fromQt(arguments)));  // no window for a usage error
}

void TestCommandLine::aValueMayLookLikeAnything() {
    const CommandLine line = parsed({"--headless", "--prompt", "- a list", "--stop", "--",
                                     "--stop=--json", "--max-tokens", "-1"});
    QCOMPARE(line.generation.prompt, std::string("- a list"));
    QCOMPARE(line.generation.stopStrings, (Arguments{"--", "--json"}));
    QCOMPARE(line.generation.maxTokens, std::int64_t{-1});
    QVERIFY(!line.json);
}

void TestCommandLine::bytesAreKept() {
    const std::string bytes = "\xFF\xC3 caf\xC3\xA9 \n";
    const CommandLine line = parsed({"--headless", "--prompt", bytes, "--model", bytes});
    QCOMPARE(line.generation.prompt, bytes);
    QCOMPARE(line.load.location.model.string(), bytes);
}

void TestCommandLine::loneArgumentIsTheModel() {
    QCOMPARE(parsed({"some/folder"}).load.location.model.string(), std::string("some/folder"));
    QCOMPARE(parsed({"--", "--odd"}).load.location.model.string(), std::string("--odd"));
    QVERIFY(!toTerminal({"some/folder"}));
}

void TestCommandLine::makesModels() {
    const CommandLine line = parsed({"--make-model", "1.1b", "dir", "--shards", "2"});
    QCOMPARE(line.action, TerminalAction::MakeModel);
    QCOMPARE(line.makeShape, std::string("1.1b"));
    QCOMPARE(line.load.location.model.string(), std::string("dir"));
    QCOMPARE(line.shardCount, 2);
}

void TestCommandLine::measuresPerplexity() {
    const CommandLine line = parsed(
        {"--perplexity", "text", "--model", "dir", "--precision", "q4", "--reference", "f16"});
    QCOMPARE(line.action, TerminalAction::Perplexity);
    QCOMPARE(line.perplexityPath->string(), std::string("text"));
    QCOMPARE(line.load.precision, Precision::Q4);
    QVERIFY(line.referencePrecision == Precision::F16);
}

void TestCommandLine::choosesTheTerminal_data() {
    QTest::addColumn<QStringList>("arguments");
    QTest::addColumn<bool>("terminal");
    QTest::newRow("nothing") << QStringList() << false;
    QTest::newRow("a model") << QStringList{"--model", "a"} << false;
    QTest::newRow("a prompt for the window") << QStringList{"--prompt", "a"} << false;
    QTest::newRow("Qt's own option") << QStringList{"-platform", "offscreen"} << false;
    QTest::newRow("headless") << QStringList{"--headless", "--prompt", "a"} << true;
    QTest::newRow("inspect") << QStringList{"--inspect", "a"} << true;
    QTest::newRow("perplexity") << QStringList{"--perplexity", "a"} << true;
    QTest::newRow("cache") << QStringList{"--cache"} << true;
    QTest::newRow("clear the cache") << QStringList{"--clear-cache"} << true;
    QTest::newRow("make a model") << QStringList{"--make-model", "7b", "a"} << true;
    QTest::newRow("devices") << QStringList{"--list-devices"} << true;
    QTest::newRow("help") << QStringList{"--help"} << true;
    QTest::newRow("short help") << QStringList{"-h"} << true;
    QTest::newRow("version") << QStringList{"--version"} << true;
    QTest::newRow("only a value") << QStringList{"--prompt=--headless"} << false;
    QTest::newRow("a mistake") << QStringList{"--modl", "a"} << true;
}

void TestCommandLine::choosesTheTerminal() {
    QFETCH(QStringList, arguments);
    QFETCH(bool, terminal);
    QCOMPARE(toTerminal(fromQt(arguments)), terminal);
}

void TestCommandLine::helpNamesEveryOption() {
    const QString help = helpText();
    for (const CommandLineOption& option : commandLineOptions())
        for (const std::string& name : option.names)
            QVERIFY2(help.contains(QString::fromStdString(name)), name.c_str());
    for (const QString& line : help.split('\n'))
        QVERIFY2(line.size() <= 80, qPrintable(line));
}

void TestCommandLine::jsonIsKnownEvenWhenUsageIsWrong() {
    QVERIFY(parseCommandLine(headless({"--json", "--nonsense"})).json);
    QVERIFY(!parseCommandLine(headless({"--nonsense"})).json);
}

// Instead of being ignored.
void TestCommandLine::optionsOfAnotherActionAreRefused_data() {
    QTest::addColumn<QStringList>("arguments");
    QTest::addColumn<QString>("problem");
    QTest::newRow("prompt of a benchmark")
        << QStringList{"--bench-prompt", "9"} << "--bench-prompt works only with --bench.";
    QTest::newRow("repetitions") << QStringList{"--repetitions", "9"}
                                 << "--repetitions works only with --bench.";
    QTest::newRow("reference") << QStringList{"--reference", "f16"}
                               << "--reference works only with --perplexity.";
    QTest::newRow("shards") << QStringList{"--shards", "2"}
                            << "--shards works only with --make-model.";
}

void TestCommandLine::optionsOfAnotherActionAreRefused() {
    QFETCH(QStringList, arguments);
    QFETCH(QString, problem);
    QCOMPARE(parseCommandLine(headless(fromQt(arguments))).usageError, problem);
    QVERIFY(parseCommandLine(Arguments{"--bench-seed", "--repetitions", "2"}).usageError.isEmpty());
}

void TestCommandLine::optionsOfATextAreRefusedElsewhere_data() {
    QTest::addColumn<QStringList>("arguments");
    QTest::addColumn<QString>("problem");
    const QStringList measurement = {"--perplexity", "f.txt"};
    for (const QStringList& option : {QStringList{"--prompt", "x"},
                                      {"--prompt-file", "p"},
                                      {"--stop", "x"},
                                      {"--max-tokens", "3"},
                                      {"--ignore-eos"},
                                      {"--logits", "l.npy"},
                                      {"--profile"}})
        QTest::newRow(qPrintable(option.first()))
            << measurement + option << option.first() + " works only when a text is generated.";
    QTest::newRow("prompt of the seed's") << QStringList{"--bench-seed", "--bench-prompt", "9"}
                                          << "--bench-prompt works only with --bench.";
    QTest::newRow("model beside an inspection")
        << QStringList{"--inspect", "a", "b"}
        << "--inspect has its own path; leave out the model that is given besides.";
}

void TestCommandLine::optionsOfATextAreRefusedElsewhere() {
    QFETCH(QStringList, arguments);
    QFETCH(QString, problem);
    QCOMPARE(parseCommandLine(fromQt(arguments)).usageError, problem);
}

void TestCommandLine::lengthOfTheSeedsBenchmark() {
    const auto tokens = [](const Arguments& arguments) {
        return parseCommandLine(arguments).commandLine.value().benchmark.generatedTokens;
    };
    QCOMPARE(tokens({"--bench-seed"}), 50);
    QCOMPARE(tokens({"--bench-seed", "--bench-tokens", "7"}), 7);
    QCOMPARE(tokens({"--bench-tokens", "7", "--bench-seed"}), 7);
}

QTEST_APPLESS_MAIN(TestCommandLine)
#include "test_command_line.moc"
