#include "gui/window/run_panel.h"

#include <QCheckBox>
#include <QGridLayout>
#include <QLabel>
#include <QPlainTextEdit>
#include <QTextDocument>
#include <limits>

#include "gui/window/calm_boxes.h"
#include "gui/window/seed_field.h"
#include "gui/window/stop_string_lines.h"

namespace qllama {
namespace {

constexpr int kStopStringLines = 2;
constexpr int kTokenStep = 16;

// Steps go from one multiple of kTokenStep to the next, and to no limit only by one from 0.
class TokenLimitBox final : public CalmSpinBox {
public:
    using CalmSpinBox::CalmSpinBox;

    void stepBy(int steps) override {
        const std::int64_t from = value();
        std::int64_t to = 0;
        if (from < 0)
            to = std::int64_t{kTokenStep} * steps;
        else if (steps > 0)
            to = (from / kTokenStep + steps) * kTokenStep;
        else
            to = ((from + kTokenStep - 1) / kTokenStep + steps) * kTokenStep;
        if (to < 0) to = from > 0 ? 0 : -1;
        setValue(static_cast<int>(qMin<std::int64_t>(to, maximum())));
    }
};

}  // namespace

RunPanel::RunPanel(QWidget* parent)
    : QWidget(parent),
      m_maxTokens(new TokenLimitBox(this)),
      m_seed(new SeedField(this)),
      m_stopStrings(new QPlainTextEdit(this)),
      m_ignoreEos(new QCheckBox(tr("Ignore end of text"), this)) {
    setupFields();
    setupLayout();
    readFrom(GenerationRequest());
    connect(m_maxTokens, &QSpinBox::valueChanged, this, &RunPanel::changed);
    connect(m_seed, &SeedField::changed, this, &RunPanel::changed);
    connect(m_stopStrings, &QPlainTextEdit::textChanged, this, &RunPanel::changed);
    connect(m_ignoreEos, &QCheckBox::toggled, this, &RunPanel::changed);
}

void RunPanel::setupFields() {
    m_maxTokens->setObjectName(QStringLiteral("maxTokens"));
    m_maxTokens->setAccessibleName(tr("Maximum tokens"));
    m_maxTokens->setRange(-1, std::numeric_limits<int>::max());
    m_maxTokens->setSpecialValueText(tr("no limit"));
    m_maxTokens->setToolTip(
        tr("How many tokens a run may generate. Below 0: until the context is full."));
    m_maxTokens->setSingleStep(kTokenStep);
    m_maxTokens->setFixedWidth(
        m_maxTokens->fontMetrics().horizontalAdvance(QStringLiteral("1000000")) + 44);
    m_stopStrings->setObjectName(QStringLiteral("stopStrings"));
    m_stopStrings->setAccessibleName(tr("Stop strings"));
    m_stopStrings->setTabChangesFocus(true);
    m_stopStrings->setPlaceholderText(tr("one a line, \\n for a line break"));
    m_stopStrings->setToolTip(
        tr("The run ends as soon as the text contains one of these; it is not shown."));
    const int line = m_stopStrings->fontMetrics().lineSpacing();
    m_stopStrings->setFixedHeight(kStopStringLines * line + 14);
    m_ignoreEos->setObjectName(QStringLiteral("ignoreEos"));
    m_ignoreEos->setToolTip(tr("Goes on where the model says that the text has ended"));
}

void RunPanel::setupLayout() {
    auto* layout = new QGridLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setColumnStretch(0, 1);
    auto* maximum = new QLabel(tr("Maximum tokens"), this);
    maximum->setBuddy(m_maxTokens);
    layout->addWidget(maximum, 0, 0);
    layout->addWidget(m_maxTokens, 0, 1);
    auto* seed = new QLabel(tr("Seed"), this);
    seed->setBuddy(m_seed);
    layout->addWidget(seed, 1, 0, 1, 2);
    layout->addWidget(m_seed, 2, 0, 1, 2);
    auto* stops = new QLabel(tr("Stop strings"), this);
    stops->setBuddy(m_stopStrings);
    layout->addWidget(stops, 3, 0, 1, 2);
    layout->addWidget(m_stopStrings, 4, 0, 1, 2);
    layout->addWidget(m_ignoreEos, 5, 0, 1, 2, Qt::AlignLeft);
}

void RunPanel::writeTo(GenerationRequest& request) const {
    request.maxTokens = m_maxTokens->value();
    request.seed = m_seed->seed();
    request.stopStrings = parseStopStrings(m_stopStrings->toPlainText());
    request.ignoreEos = m_ignoreEos->isChecked();
}

void RunPanel::readFrom(const GenerationRequest& request) {
    const auto most = qMin<std::int64_t>(request.maxTokens, std::numeric_limits<int>::max());
    m_maxTokens->setValue(static_cast<int>(most));
    m_seed->setSeed(request.seed);
    m_stopStrings->setPlainText(formatStopStrings(request.stopStrings));
    m_ignoreEos->setChecked(request.ignoreEos);
}

void RunPanel::showUsedSeed(std::uint64_t seed) {
    m_seed->showUsedSeed(seed);
}

}  // namespace qllama
