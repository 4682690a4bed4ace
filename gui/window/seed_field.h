// The seed of the random numbers: chosen anew for each run, or the one written here.
#pragma once

#include <QWidget>
#include <cstdint>
#include <optional>

class QCheckBox;
class QLineEdit;
class QToolButton;

namespace qllama {

// Shows the seed of the last run even when it was chosen at random, so that it can be copied, or
// kept by unticking "Random".
class SeedField : public QWidget {
    Q_OBJECT

public:
    explicit SeedField(QWidget* parent = nullptr);

    // Empty: at random. An empty or unreadable box counts as 0.
    [[nodiscard]] std::optional<std::uint64_t> seed() const;
    void setSeed(std::optional<std::uint64_t> seed);
    void showUsedSeed(std::uint64_t seed);

signals:
    void changed();

private:
    void updateMode();
    void copySeed() const;

    QLineEdit* m_edit;
    QCheckBox* m_random;
    QToolButton* m_copy;
};

}  // namespace qllama
