// Small sentencepiece models, trained when a test starts by make_tokenizers.py.
#pragma once

#include <QByteArray>
#include <QFile>
#include <QProcess>
#include <QString>
#include <QTemporaryDir>
#include <filesystem>

namespace qllama::test {

class TrainedModels {
public:
    // "" or what went wrong. A file "texts" must be in the folder before, if texts are wanted.
    QString train() {
        if (!m_folder.isValid()) return m_folder.errorString();
        QProcess python;
        python.setProcessChannelMode(QProcess::MergedChannels);
        python.start(QLLAMA_PYTHON, {QLLAMA_TEST_SOURCE_DIR "/unit/tokenizer/make_tokenizers.py",
                                     m_folder.path()});
        if (!python.waitForFinished(120'000)) return python.errorString();
        return python.exitCode() == 0 ? QString() : QString::fromUtf8(python.readAll());
    }

    [[nodiscard]] QString file(const QString& name) const { return m_folder.filePath(name); }
    [[nodiscard]] std::filesystem::path path(const QString& name) const {
        return file(name).toStdString();
    }
    [[nodiscard]] QByteArray read(const QString& name) const {
        QFile file(m_folder.filePath(name));
        return file.open(QIODevice::ReadOnly) ? file.readAll() : QByteArray();
    }
    // The path of the written file. A new file each time: file systems hurry a file to the disk
    // that is emptied and written again.
    std::filesystem::path write(const QString& name, const QByteArray& bytes) const {
        QFile::remove(m_folder.filePath(name));
        QFile file(m_folder.filePath(name));
        const bool written = file.open(QIODevice::WriteOnly) && file.write(bytes) == bytes.size();
        return written ? path(name) : std::filesystem::path();
    }

private:
    QTemporaryDir m_folder;
};

}  // namespace qllama::test
