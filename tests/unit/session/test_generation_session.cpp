// The session on the demo model: the same text however it is computed, and every way to end.
#include <QtTest>

#include "engine/session/generation_session.h"
#include "engine/session/model_maker.h"
#include "tests/support/broken_model.h"

using namespace qllama;

namespace {

constexpr const char* kDemoModel = QLLAMA_RESOURCE_DIR "/demo-model";

struct Recorder : public GenerationSink {
    void promptStarted(std::int64_t, std::uint64_t) override {}
    void promptProgress(std::int64_t done, std::int64_t total) override {
        if (!firstDone) firstDone = done;
        progress.push_back(done);
        lastTotal = total;
        if (stopAtProgress > 0 && done >= stopAtProgress) stop.request_stop();
    }
    void promptDone(const PromptStatistics& statistics) override { prompt = statistics; }
    void tokenReady(const TokenChunk& chunk) override {
        texts += chunk.text;
        chunks.push_back(chunk);
        if (stopAfter > 0 && static_cast<int>(chunks.size()) == stopAfter) stop.request_stop();
    }

    PromptStatistics prompt;
    std::vector<TokenChunk> chunks;
    std::string texts;
    std::optional<std::int64_t> firstDone;
    std::vector<std::int64_t> progress;
    std::int64_t lastTotal = 0;
    int stopAfter = 0;
    std::int64_t stopAtProgress = 0;
    std::stop_source stop;
};

struct Outcome {
    Result<GenerationResult> result;
    Recorder recorder;
};

GenerationRequest story(std::uint64_t seed) {
    GenerationRequest request;
    request.prompt = "Once upon a time";
    request.seed = seed;
    request.maxTokens = 60;
    return request;
}

GenerationRequest longStory() {
    GenerationRequest request = story(5);
    for (int sentence = 0; sentence < 30; ++sentence)
        request.prompt += " the fox sang.";
    request.maxTokens = 5;
    return request;
}

}  // namespace

class TestGenerationSession : public QObject {
    Q_OBJECT

private slots:
    void sameTextWithAnyNumberOfThreads_data();
    void sameTextWithAnyNumberOfThreads();
    void aReusedPrefixDoesNotChangeTheText();
    void aLongPromptIsTheSameWholeOrInPieces();
    void textsTogetherAreTheContinuation();
    void stopsWithinOneToken();
    void staysUsableAfterStop();
    void progressOfThePromptMovesWithEachLayer();
    void stopsWithinOneLayerOfThePrompt();
    void stopStringEndsTheText();
    void stopKeepsWhatMayBeginAStopString();
    void storiesEndByThemselves();
    void contextFillsUp();
    void aPromptThatDoesNotFitNamesBothNumbers();
    void aPromptThatCannotFitIsNotEncoded();
    void anEmptyPromptIsBosAlone();
    void noTokensOnlyEvaluatesThePrompt();
    void settingsOutOfRangeAreRefused();
    void cancelledWhileLoading();
    void valuesThatAreNoNumbersAreAFailure_data();
    void valuesThatAreNoNumbersAreAFailure();
    void valuesThatAreNoNumbersInTheMiddleOfAText();

private:
    std::unique_ptr<GenerationSession> open(Precision precision = Precision::Source,
                                            int threads = 2,
                                            std::optional<std::int64_t> context = std::nullopt,
                                            const QString& path = kDemoModel);
    static Outcome run(GenerationSession& session, const GenerationRequest& request,
                       int stopAfter = 0);
};

std::unique_ptr<GenerationSession> TestGenerationSession::open(Precision precision, int threads,
                                                               std::optional<std::int64_t> context,
                                                               const QString& path) {
    LoadRequest request;
    request.location.model = path.toStdString();
    request.precision = precision;
    request.threadCount = threads;
    request.contextLength = context;
    auto model = loadModel(request, {}, {});
    if (!model.ok()) qFatal("%s", model.error().text().c_str());
    return std::make_unique<GenerationSession>(std::move(model).value());
}

Outcome TestGenerationSession::run(GenerationSession& session, const GenerationRequest& request,
                                   int stopAfter) {
    Outcome outcome{Error{}, {}};
    outcome.recorder.stopAfter = stopAfter;
    outcome.result = session.generate(request, outcome.recorder, outcome.recorder.stop.get_token());
    return outcome;
}

void TestGenerationSession::sameTextWithAnyNumberOfThreads_data() {
    QTest::addColumn<int>("precision");
    for (const PrecisionInfo& info : precisions())
        QTest::newRow(std::string(info.key).c_str()) << static_cast<int>(info.precision);
}

void TestGenerationSession::sameTextWithAnyNumberOfThreads() {
    QFETCH(int, precision);
    std::string first;
    for (const int threads : {1, 2, 3}) {
        const auto session = open(static_cast<Precision>(precision), threads);
        const Outcome outcome = run(*session, story(11));
        QVERIFY(outcome.result.ok());
        QVERIFY(!outcome.result.value().text.empty());
        if (threads == 1) first = outcome.result.value().text;
        QCOMPARE(outcome.result.value().text, first);
    }
}

void TestGenerationSession::aReusedPrefixDoesNotChangeTheText() {
    const auto session = open();
    const Outcome fresh = run(*session, story(3));
    const Outcome again = run(*session, story(3));
    QCOMPARE(fresh.recorder.prompt.reusedTokens, 0);
    QVERIFY(again.recorder.prompt.reusedTokens > 0);
    // Progress begins with what needs no work, so that its speed can be told.
    QCOMPARE(fresh.recorder.firstDone, 0);
    QCOMPARE(again.recorder.firstDone, again.recorder.prompt.reusedTokens);
    QCOMPARE(fresh.recorder.chunks.front().ms, fresh.result.value().statistics.firstTokenMs);
    QCOMPARE(again.result.value().text, fresh.result.value().text);
    GenerationRequest other = story(3);
    other.prompt = "One evening, far from the sea,";
    run(*session, other);
    QCOMPARE(run(*session, story(3)).result.value().text, fresh.result.value().text);
}

void TestGenerationSession::aLongPromptIsTheSameWholeOrInPieces() {
    const auto session = open();
    Transformer& transformer = *session->model().transformer;
    std::vector<std::int32_t> tokens(300);
    for (std::size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = static_cast<std::int32_t>((i * 37 + 5) % 500);
    QVERIFY(transformer.forward(tokens, {}, {}).ok());
    const std::vector<float> whole(transformer.logits().begin(), transformer.logits().end());
    transformer.truncate(0);
    for (std::size_t start = 0, size = 1; start < tokens.size();
         start += size, size = size * 2 + 1) {
        const std::size_t count = std::min(size, tokens.size() - start);
        QVERIFY(transformer.forward(std::span(tokens).subspan(start, count), {}, {}).ok());
    }
    QCOMPARE(std::vector<float>(transformer.logits().begin(), transformer.logits().end()), whole);
}

void TestGenerationSession::textsTogetherAreTheContinuation() {
    const auto session = open();
    const Outcome outcome = run(*session, story(5));
    const GenerationResult& result = outcome.result.value();
    QCOMPARE(outcome.recorder.texts, result.text);
    QCOMPARE(static_cast<std::int64_t>(outcome.recorder.chunks.size()),
             result.statistics.tokenCount);
    for (const TokenChunk& chunk : outcome.recorder.chunks) {
        QVERIFY(chunk.probability > 0 && chunk.probability <= 1);
        QCOMPARE(chunk.candidates.size(), chunk.candidateTexts.size());
        QVERIFY(!chunk.candidates.empty());
    }
}

void TestGenerationSession::stopsWithinOneToken() {
    const auto session = open();
    const Outcome outcome = run(*session, story(5), 7);
    QCOMPARE(outcome.result.value().reason, StopReason::Cancelled);
    QCOMPARE(outcome.recorder.chunks.size(), std::size_t{7});
    QCOMPARE(outcome.recorder.texts, outcome.result.value().text);
}

void TestGenerationSession::staysUsableAfterStop() {
    const auto session = open();
    const std::string expected = run(*session, story(5)).result.value().text;
    for (const int tokens : {1, 2, 20}) {
        run(*session, story(5), tokens);
        QCOMPARE(run(*session, story(5)).result.value().text, expected);
    }
    Recorder early;
    early.stop.request_stop();
    const auto result = session->generate(story(5), early, early.stop.get_token());
    QVERIFY(result.ok());
    QCOMPARE(result.value().reason, StopReason::Cancelled);
    QVERIFY(early.chunks.empty());
    QCOMPARE(run(*session, story(5)).result.value().text, expected);
}

void TestGenerationSession::progressOfThePromptMovesWithEachLayer() {
    const auto session = open();
    const auto layers = session->model().info.config.layerCount;
    const Outcome outcome = run(*session, longStory());
    const std::vector<std::int64_t>& progress = outcome.recorder.progress;
    const std::int64_t total = outcome.recorder.lastTotal;
    QVERIFY(total > 100);
    QCOMPARE(progress.size(), static_cast<std::size_t>(layers + 1));  // it is one batch
    for (std::int64_t layer = 0; layer <= layers; ++layer)
        QCOMPARE(progress[static_cast<std::size_t>(layer)], total * layer / layers);
}

void TestGenerationSession::stopsWithinOneLayerOfThePrompt() {
    const auto session = open();
    Recorder recorder;
    recorder.stopAtProgress = 1;
    const auto result = session->generate(longStory(), recorder, recorder.stop.get_token());
    QCOMPARE(result.value().reason, StopReason::Cancelled);
    QCOMPARE(recorder.progress.size(), 2U);  // the start, and the layer in which it was stopped
    QVERIFY(recorder.chunks.empty());
    QCOMPARE(result.value().statistics.contextUsed, 0);
    QCOMPARE(run(*session, longStory()).result.value().text,
             run(*open(), longStory()).result.value().text);
}

void TestGenerationSession::stopStringEndsTheText() {
    const auto session = open();
    const std::string whole = run(*session, story(5)).result.value().text;
    const std::size_t cut = whole.find(' ', whole.size() / 2);
    QVERIFY(cut != std::string::npos);
    const std::string stop = whole.substr(cut, 6);
    GenerationRequest request = story(5);
    request.stopStrings = {"", stop};
    const Outcome outcome = run(*session, request);
    QCOMPARE(outcome.result.value().reason, StopReason::StopString);
    QCOMPARE(outcome.result.value().text, whole.substr(0, whole.find(stop)));
    QCOMPARE(outcome.recorder.texts, outcome.result.value().text);
}

// The stop string is the story from its third word on and one word more, which never comes: all of that
// is held back to see whether it does, and is part of the text when the user stops.
void TestGenerationSession::stopKeepsWhatMayBeginAStopString() {
    const auto session = open();
    const Outcome whole = run(*session, story(5));
    const std::string& text = whole.result.value().text;
    GenerationRequest request = story(5);
    request.stopStrings = {text.substr(text.find(' ', text.find(' ', 1) + 1)) + " nevermore"};
    const Outcome outcome = run(*session, request, 12);
    const GenerationResult& result = outcome.result.value();
    QCOMPARE(result.reason, StopReason::Cancelled);
    std::string expected;
    for (std::int64_t token = 0; token < result.statistics.tokenCount; ++token)
        expected += whole.recorder.chunks[static_cast<std::size_t>(token)].text;
    QCOMPARE(result.text, expected);
    QCOMPARE(outcome.recorder.texts, expected);
    QCOMPARE(static_cast<std::int64_t>(outcome.recorder.chunks.size()),
             result.statistics.tokenCount);
}

void TestGenerationSession::storiesEndByThemselves() {
    const auto session = open();
    GenerationRequest request = story(1);
    request.maxTokens = 400;
    const Outcome outcome = run(*session, request);
    QCOMPARE(outcome.result.value().reason, StopReason::EndOfText);
    QCOMPARE(outcome.recorder.chunks.back().token, session->model().tokenizer->eos());
    request.ignoreEos = true;
    const Outcome onward = run(*session, request);
    QCOMPARE(onward.result.value().reason, StopReason::Length);
    QVERIFY(onward.result.value().text.starts_with(outcome.result.value().text));
}

void TestGenerationSession::contextFillsUp() {
    const auto session = open(Precision::Source, 2, 32);
    GenerationRequest request = story(1);
    request.ignoreEos = true;
    request.maxTokens = -1;
    const Outcome outcome = run(*session, request);
    QCOMPARE(outcome.result.value().reason, StopReason::ContextFull);
    QCOMPARE(outcome.result.value().statistics.contextUsed, 32);
}

void TestGenerationSession::aPromptThatDoesNotFitNamesBothNumbers() {
    const auto session = open(Precision::Source, 2, 8);
    GenerationRequest request = story(1);
    request.prompt = "one two three four five six seven eight nine ten";
    const std::size_t tokens = session->model().tokenizer->encode(request.prompt).size();
    const Outcome outcome = run(*session, request);
    QVERIFY(!outcome.result.ok());
    const QString message = QString::fromStdString(outcome.result.error().message);
    QVERIFY2(message.contains(QString::number(tokens)) && message.contains(" 8"),
             qPrintable(message));
    QVERIFY(outcome.recorder.chunks.empty());
}

void TestGenerationSession::aPromptThatCannotFitIsNotEncoded() {
    const auto session = open(Precision::Source, 2, 8);
    GenerationRequest request = story(1);
    request.prompt.clear();
    while (request.prompt.size() < 10'000)
        request.prompt += "Once upon a time ";
    const auto fewest = session->model().tokenizer->fewestTokens(request.prompt.size());
    const Outcome outcome = run(*session, request);
    QVERIFY(!outcome.result.ok());
    const QString message = QString::fromStdString(outcome.result.error().message);
    const QString expected = QString("at least %1 tokens, but the context holds 8.").arg(fewest);
    QVERIFY2(message.contains(expected), qPrintable(message));
}

void TestGenerationSession::anEmptyPromptIsBosAlone() {
    const auto session = open();
    GenerationRequest request = story(2);
    request.prompt.clear();
    const Outcome outcome = run(*session, request);
    QCOMPARE(outcome.recorder.prompt.tokens,
             std::vector<TokenId>{session->model().tokenizer->bos()});
    QVERIFY(!outcome.result.value().text.starts_with(' '));
}

void TestGenerationSession::noTokensOnlyEvaluatesThePrompt() {
    const auto session = open();
    GenerationRequest request = story(2);
    request.maxTokens = 0;
    const Outcome outcome = run(*session, request);
    QVERIFY(outcome.result.ok());
    QVERIFY(outcome.recorder.chunks.empty());
    QCOMPARE(static_cast<std::int64_t>(session->promptLogits().size()),
             session->model().info.config.vocabularySize);
    QCOMPARE(outcome.recorder.progress.back(), outcome.recorder.lastTotal);
}

void TestGenerationSession::settingsOutOfRangeAreRefused() {
    const auto session = open();
    GenerationRequest request = story(2);
    request.sampler.set("top-p", 7);
    const Outcome outcome = run(*session, request);
    QVERIFY(!outcome.result.ok());
    QVERIFY(!outcome.result.error().message.empty());
}

void TestGenerationSession::cancelledWhileLoading() {
    LoadRequest request;
    request.location.model = kDemoModel;
    std::stop_source stop;
    int reports = 0;
    const auto model = loadModel(
        request,
        [&](const LoadProgress& progress) {
            QVERIFY(progress.doneBytes <= progress.totalBytes);
            if (++reports == 3) stop.request_stop();
        },
        stop.get_token());
    QVERIFY(!model.ok());
    QCOMPARE(model.error().code, ErrorCode::Cancelled);
}

void TestGenerationSession::valuesThatAreNoNumbersAreAFailure_data() {
    QTest::addColumn<int>("precision");
    QTest::addColumn<QString>("tensor");
    QTest::addColumn<int>("bits");
    QTest::addColumn<int>("maxTokens");
    constexpr struct {
        const char* tensor;
        int bits;
    } kWeights[] = {{"layers.0.attention_norm.weight", test::kHalfNaN},
                    {"layers.0.attention_norm.weight", test::kHalfInfinity},
                    {"layers.1.feed_forward.w2.weight", test::kHalfInfinity},
                    {"output.weight", test::kHalfNaN},
                    {"output.weight", test::kHalfInfinity}};
    for (const Precision precision :
         {Precision::Source, Precision::F32, Precision::Q8, Precision::Q4})
        for (const auto& weight : kWeights)
            for (const int maxTokens : {0, 5})
                QTest::addRow("%s, %s %x, %d tokens", std::string(keyOf(precision)).c_str(),
                              weight.tensor, weight.bits, maxTokens)
                    << static_cast<int>(precision) << weight.tensor << weight.bits << maxTokens;
}

void TestGenerationSession::valuesThatAreNoNumbersAreAFailure() {
    QFETCH(int, precision);
    QFETCH(QString, tensor);
    QFETCH(int, bits);
    QFETCH(int, maxTokens);
    const QTemporaryDir folder;
    QVERIFY(test::copyDemoModel(folder.path()));
    QVERIFY(test::replaceWeight(folder.path(), tensor.toStdString(), 7,
                                static_cast<std::uint16_t>(bits)));
    const auto session = open(static_cast<Precision>(precision), 2, std::nullopt, folder.path());
    GenerationRequest request = story(3);
    request.maxTokens = maxTokens;
    const Outcome outcome = run(*session, request);
    QVERIFY(!outcome.result.ok());
    const Error& error = outcome.result.error();
    QVERIFY2(error.message.find("not numbers") != std::string::npos, error.message.c_str());
    QVERIFY2(error.message.find("at the end of the prompt") != std::string::npos,
             error.message.c_str());
    QCOMPARE(error.where, folder.path().toStdString());
    QVERIFY(outcome.recorder.chunks.empty());
}

// Only the embedding of one token is damaged, one that the text comes to. (Not of the demo model: its
// embeddings are the rows of its output too.)
void TestGenerationSession::valuesThatAreNoNumbersInTheMiddleOfAText() {
    const QTemporaryDir temporary;
    const QString folder = temporary.filePath("model");
    const auto made =
        makeModel({.shape = parseModelShape("tiny").value(),
                   .folder = folder.toStdString(),
                   .tokenizer = std::filesystem::path(kDemoModel) / "tokenizer.model"},
                  {}, {});
    QVERIFY2(made.ok(), made.ok() ? "" : made.error().text().c_str());
    const auto load = [&] { return open(Precision::Source, 2, 64, folder); };
    const auto intact = load();
    const Outcome sound = run(*intact, story(3));
    std::vector<TokenId> seen = sound.recorder.prompt.tokens;
    std::size_t before = 0;
    const auto tokenAt = [&](std::size_t index) { return sound.recorder.chunks[index].token; };
    for (; std::ranges::count(seen, tokenAt(before)) > 0 || before < 2; ++before)
        seen.push_back(tokenAt(before));
    QVERIFY(test::replaceWeight(folder, "tok_embeddings.weight",
                                tokenAt(before) * intact->model().info.config.dim, test::kHalfNaN));
    const auto session = load();
    const Outcome outcome = run(*session, story(3));
    QVERIFY(!outcome.result.ok());
    const std::string& message = outcome.result.error().message;
    const std::string place = "after " + std::to_string(before + 1) + " tokens";
    QVERIFY2(message.find(place) != std::string::npos, message.c_str());
    QCOMPARE(outcome.recorder.chunks.size(), before + 1);
    // Nothing of it is left for the next request.
    GenerationRequest few = story(3);
    few.maxTokens = static_cast<std::int64_t>(before) + 1;
    const Outcome again = run(*session, few);
    QVERIFY(again.result.ok());
    QCOMPARE(again.recorder.prompt.reusedTokens, 0);
    QCOMPARE(again.result.value().text, outcome.recorder.texts);
}

QTEST_GUILESS_MAIN(TestGenerationSession)
#include "test_generation_session.moc"
