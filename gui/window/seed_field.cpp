#include "gui/window/seed_field.h"

#include <QApplication>
#include <QCheckBox>
#include <QClipboard>
#include <QHBoxLayout>
#include <QLineEdit>
#include <QToolButton>
#include <QValidator>

#include "gui/window/symbolic_icon.h"

namespace qllama {
namespace {

// Whole numbers from 0 to 2^64 - 1.
class SeedValidator final : public QValidator {
public:
    using QValidator::QValidator;

    State validate(QString& input, int&) const override {
        if (input.isEmpty()) return Intermediate;
        bool ok = false;
        input.toULongLong(&ok);
        const bool digits =
            std::all_of(input.begin(), input.end(), [](QChar c) { return c >= u'0' && c <= u'9'; });
        return ok && digits ? Acceptable : Invalid;
    }
};

}  // namespace

SeedField::SeedField(QWidget* parent)
    : QWidget(parent),
      m_edit(new QLineEdit(this)),
      m_random(new QCheckBox(tr("Random"), this)),
      m_copy(new QToolButton(this)) {
    m_edit->setObjectName(QStringLiteral("seedEdit"));
    m_edit->setAccessibleName(tr("Seed"));
    m_edit->setValidator(new SeedValidator(this));
    m_edit->setMinimumWidth(60);
    m_random->setObjectName(QStringLiteral("seedRandom"));
    m_random->setChecked(true);
    m_random->setToolTip(
        tr("A new seed for each run. Untick it to keep the seed of the last run and get the same "
           "text again."));
    m_copy->setIcon(symbolicIcon(QStringLiteral("copy")));
    m_copy->setObjectName(QStringLiteral("seedCopy"));
    m_copy->setToolTip(tr("Copy the seed"));
    m_copy->setAccessibleName(tr("Copy the seed"));
    m_copy->setAutoRaise(true);
    auto* layout = new QHBoxLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setSpacing(4);
    layout->addWidget(m_edit, 1);
    layout->addWidget(m_copy);
    layout->addWidget(m_random);
    setFocusProxy(m_edit);
    setTabOrder(m_edit, m_copy);
    setTabOrder(m_copy, m_random);
    connect(m_random, &QCheckBox::toggled, this, &SeedField::updateMode);
    connect(m_edit, &QLineEdit::textChanged, this, &SeedField::updateMode);
    connect(m_random, &QCheckBox::toggled, this, &SeedField::changed);
    connect(m_edit, &QLineEdit::textEdited, this, &SeedField::changed);
    connect(m_copy, &QToolButton::clicked, this, &SeedField::copySeed);
    updateMode();
}

std::optional<std::uint64_t> SeedField::seed() const {
    if (m_random->isChecked()) return std::nullopt;
    return m_edit->text().toULongLong();
}

void SeedField::setSeed(std::optional<std::uint64_t> seed) {
    m_random->setChecked(!seed);
    if (seed) m_edit->setText(QString::number(*seed));
}

void SeedField::showUsedSeed(std::uint64_t seed) {
    m_edit->setText(QString::number(seed));
    m_edit->setCursorPosition(0);
}

void SeedField::updateMode() {
    const bool random = m_random->isChecked();
    m_edit->setReadOnly(random);
    m_edit->setPlaceholderText(random ? tr("new each run") : QStringLiteral("0"));
    m_edit->setToolTip(random ? tr("The seed of the last run") : tr("The seed of every run"));
    m_copy->setEnabled(!m_edit->text().isEmpty());
}

void SeedField::copySeed() const {
    QApplication::clipboard()->setText(m_edit->text());
}

}  // namespace qllama
