// Runs the real executable as a user would in a terminal without a display.
#pragma once

#include <QByteArray>
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QList>
#include <QProcess>
#include <QProcessEnvironment>
#include <QStringList>
#include <QTest>

namespace qllama {

struct ProgramRun {
    int exitCode = -1;
    bool crashed = true;
    QByteArray out;
    QByteArray err;
};

inline QString demoModel() {
    return QStringLiteral(QLLAMA_RESOURCE_DIR "/demo-model");
}

inline QProcessEnvironment terminalEnvironment() {
    QProcessEnvironment environment = QProcessEnvironment::systemEnvironment();
    for (const char* name : {"DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM", "NO_COLOR"})
        environment.remove(name);
    return environment;
}

inline ProgramRun runCommand(const QString& program, const QStringList& arguments,
                             const QByteArray& input = {},
                             const QProcessEnvironment& environment = terminalEnvironment()) {
    QProcess process;
    process.setProcessEnvironment(environment);
    process.start(program, arguments);
    process.write(input);
    process.closeWriteChannel();
    if (!process.waitForFinished(-1)) return {};
    return {process.exitCode(), process.exitStatus() == QProcess::CrashExit,
            process.readAllStandardOutput(), process.readAllStandardError()};
}

inline ProgramRun runProgram(const QStringList& arguments, const QByteArray& input = {}) {
    return runCommand(QStringLiteral(QLLAMA_PROGRAM), arguments, input);
}

// Generates with the demo model; `more` follows the usual arguments.
inline ProgramRun runDemo(const QStringList& more) {
    return runProgram(QStringList{"--headless", "--model", demoModel()} + more);
}

// JSON Lines: every line an object, the last one ended. An invalid line becomes an empty object and
// a warning with the line in it.
inline QList<QJsonObject> jsonLines(const QByteArray& out) {
    QList<QJsonObject> objects;
    QList<QByteArray> lines = out.split('\n');
    if (!lines.takeLast().isEmpty()) qWarning("The last line is not ended: %s", out.constData());
    for (const QByteArray& line : lines) {
        QJsonParseError error;
        const QJsonDocument document = QJsonDocument::fromJson(line, &error);
        if (error.error != QJsonParseError::NoError || !document.isObject())
            qWarning("Not a JSON object: %s", line.constData());
        objects.push_back(document.object());
    }
    return objects;
}

inline QList<QJsonObject> eventsNamed(const QList<QJsonObject>& events, const QString& name) {
    QList<QJsonObject> found;
    for (const QJsonObject& event : events)
        if (event["event"].toString() == name) found.push_back(event);
    return found;
}

}  // namespace qllama
