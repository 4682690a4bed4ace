// Runs one of the Python writers of this folder, once for all files of a test: importing torch
// takes a second.
#pragma once

#include <QProcess>
#include <QString>

// True when `script` wrote its files into `folder`; what it prints goes to the test's own output.
inline bool writeTorchFiles(const QString& script, const QString& folder) {
    QProcess python;
    python.setProcessChannelMode(QProcess::ForwardedChannels);
    python.start(QLLAMA_PYTHON,
                 {QStringLiteral(QLLAMA_TEST_SOURCE_DIR "/support/") + script, folder});
    return python.waitForFinished(120'000) && python.exitStatus() == QProcess::NormalExit &&
           python.exitCode() == 0;
}
