// Values, errors, and the two macros that hand errors on.
#include <QtTest>
#include <memory>

#include "engine/common/result.h"

using namespace qllama;

namespace {

Result<int> half(int number) {
    if (number % 2 != 0) return Error{ErrorCode::InvalidRequest, "The number is odd.", "half"};
    return number / 2;
}

Result<void> mustBeSmall(int number) {
    if (number > 10) return Error{ErrorCode::Unsupported, "The number is large.", {}};
    return {};
}

Result<std::string> quarter(int number, bool& reachedEnd) {
    QLLAMA_TRY(const int first, half(number));
    QLLAMA_TRY(int second, half(first));
    QLLAMA_CHECK(mustBeSmall(second));
    reachedEnd = true;
    return std::to_string(second);
}

}  // namespace

class TestResult : public QObject {
    Q_OBJECT

private slots:
    void holdsAValue();
    void holdsAnError();
    void movesWhatCannotBeCopied();
    void voidIsOkOrAnError();
    void macrosHandTheValueOn();
    void macrosReturnTheFirstError();
    void errorTextNamesThePlace();
    void aResultOfErrorsOwnTypeIsNotConfused();
};

void TestResult::holdsAValue() {
    Result<int> result = half(8);
    QVERIFY(result.ok());
    QVERIFY(static_cast<bool>(result));
    QCOMPARE(result.value(), 4);
    result.value() = 5;
    QCOMPARE(std::as_const(result).value(), 5);
}

void TestResult::holdsAnError() {
    const Result<int> result = half(7);
    QVERIFY(!result.ok());
    QVERIFY(!result);
    QCOMPARE(result.error().code, ErrorCode::InvalidRequest);
    QCOMPARE(result.error().message, std::string("The number is odd."));
    QCOMPARE(result.error().where, std::string("half"));
}

void TestResult::movesWhatCannotBeCopied() {
    Result<std::unique_ptr<int>> result = std::make_unique<int>(3);
    const std::unique_ptr<int> taken = std::move(result).value();
    QCOMPARE(*taken, 3);
}

void TestResult::voidIsOkOrAnError() {
    QVERIFY(mustBeSmall(1).ok());
    const Result<void> failed = mustBeSmall(11);
    QVERIFY(!failed);
    QCOMPARE(failed.error().code, ErrorCode::Unsupported);
}

void TestResult::macrosHandTheValueOn() {
    bool reachedEnd = false;
    QCOMPARE(quarter(12, reachedEnd).value(), std::string("3"));
    QVERIFY(reachedEnd);
}

void TestResult::macrosReturnTheFirstError() {
    bool reachedEnd = false;
    QCOMPARE(quarter(7, reachedEnd).error().message, std::string("The number is odd."));
    QCOMPARE(quarter(6, reachedEnd).error().where, std::string("half"));
    QCOMPARE(quarter(400, reachedEnd).error().message, std::string("The number is large."));
    QVERIFY(!reachedEnd);
}

void TestResult::errorTextNamesThePlace() {
    QCOMPARE((Error{ErrorCode::Io, "It failed.", "file.pth"}.text()),
             std::string("It failed. (file.pth)"));
    QCOMPARE((Error{ErrorCode::Io, "It failed.", {}}.text()), std::string("It failed."));
    QCOMPARE(cancelledError().code, ErrorCode::Cancelled);
}

void TestResult::aResultOfErrorsOwnTypeIsNotConfused() {
    // A value that is itself a string like the error's parts stays a value.
    const Result<std::string> result = std::string("It failed.");
    QVERIFY(result.ok());
    QCOMPARE(result.value(), std::string("It failed."));
}

QTEST_GUILESS_MAIN(TestResult)
#include "test_result.moc"
