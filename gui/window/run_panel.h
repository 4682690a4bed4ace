// How long a run goes on and what ends it: maximum, end of text, stop strings, and its seed.
#pragma once

#include <QWidget>

#include "engine/session/generation_types.h"

class QCheckBox;
class QPlainTextEdit;
class QSpinBox;

namespace qllama {

class SeedField;

class RunPanel : public QWidget {
    Q_OBJECT

public:
    explicit RunPanel(QWidget* parent = nullptr);

    // Fills in, or takes over, the fields named above; the rest is left alone.
    void writeTo(GenerationRequest& request) const;
    void readFrom(const GenerationRequest& request);
    void showUsedSeed(std::uint64_t seed);

signals:
    void changed();

private:
    void setupFields();
    void setupLayout();

    QSpinBox* m_maxTokens;
    SeedField* m_seed;
    QPlainTextEdit* m_stopStrings;
    QCheckBox* m_ignoreEos;
};

}  // namespace qllama
