#include "gui/window/load_panel.h"

#include <QComboBox>
#include <QCoreApplication>
#include <QGridLayout>
#include <QLabel>
#include <QPushButton>

#include "engine/backend/precision.h"
#include "engine/common/thread_pool.h"
#include "gui/window/calm_boxes.h"
#include "gui/window/text.h"

namespace qllama {
namespace {

constexpr int kMaximumThreads = 1024;              // more than any machine this runs on has cores
constexpr int kMaximumContext = 16 * 1024 * 1024;  // far more than memory for keys and values

QString translated(std::string_view text) {
    return QCoreApplication::translate("Precision", std::string(text).c_str());
}

}  // namespace

QString precisionLabel(Precision precision) {
    for (const PrecisionInfo& info : precisions())
        if (info.precision == precision) return translated(info.label);
    return toQString(keyOf(precision));
}

LoadPanel::LoadPanel(QWidget* parent)
    : QWidget(parent),
      m_precision(new CalmComboBox(this)),
      m_threads(new CalmSpinBox(this)),
      m_context(new CalmSpinBox(this)),
      m_apply(new QPushButton(tr("Apply and Reload"), this)) {
    setupFields();
    setupLayout();
    readFrom(LoadRequest());
    connect(m_precision, &QComboBox::currentIndexChanged, this, &LoadPanel::changed);
    connect(m_threads, &QSpinBox::valueChanged, this, &LoadPanel::changed);
    connect(m_context, &QSpinBox::valueChanged, this, &LoadPanel::changed);
    connect(this, &LoadPanel::changed, this, &LoadPanel::updateApply);
    connect(m_apply, &QPushButton::clicked, this, &LoadPanel::applyRequested);
    updateApply();
}

void LoadPanel::setupFields() {
    m_precision->setObjectName(QStringLiteral("precision"));
    m_precision->setAccessibleName(tr("Precision"));
    m_precision->setToolTip(tr("The form in which the weights are kept in memory"));
    for (const PrecisionInfo& info : precisions()) {
        m_precision->addItem(tr("%1 (%2)").arg(translated(info.label), toQString(info.key)),
                             static_cast<int>(info.precision));
        m_precision->setItemData(m_precision->count() - 1, translated(info.help), Qt::ToolTipRole);
    }
    m_precision->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
    m_threads->setObjectName(QStringLiteral("threads"));
    m_threads->setAccessibleName(tr("Threads"));
    m_threads->setRange(0, kMaximumThreads);
    m_threads->setSpecialValueText(tr("all %n core(s)", nullptr, physicalCoreCount()));
    m_threads->setToolTip(
        tr("How many processor threads compute. One for each physical core is usually fastest."));
    m_context->setObjectName(QStringLiteral("contextLength"));
    m_context->setAccessibleName(tr("Context length in tokens"));
    m_context->setRange(0, kMaximumContext);
    m_context->setSingleStep(256);
    m_context->setSpecialValueText(tr("as the model says"));
    m_context->setToolTip(
        tr("How many tokens of prompt and text the model keeps in mind. A longer context needs "
           "more memory."));
}

void LoadPanel::setupLayout() {
    auto* layout = new QGridLayout(this);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setColumnStretch(1, 1);
    int row = 0;
    const auto add = [&](const QString& label, QWidget* field) {
        auto* title = new QLabel(label, this);
        title->setBuddy(field);
        layout->addWidget(title, row, 0);
        layout->addWidget(field, row++, 1);
    };
    add(tr("Precision"), m_precision);
    add(tr("Threads"), m_threads);
    add(tr("Context"), m_context);
    m_apply->setObjectName(QStringLiteral("applyLoad"));
    m_apply->setFocusPolicy(Qt::TabFocus);
    m_apply->setToolTip(tr("Loads the model again with these settings"));
    layout->addWidget(m_apply, row, 0, 1, 2);
}

void LoadPanel::writeTo(LoadRequest& request) const {
    request.precision = static_cast<Precision>(m_precision->currentData().toInt());
    request.threadCount = m_threads->value();
    request.contextLength.reset();
    if (m_context->value() > 0) request.contextLength = m_context->value();
}

void LoadPanel::readFrom(const LoadRequest& request) {
    m_precision->setCurrentIndex(m_precision->findData(static_cast<int>(request.precision)));
    m_threads->setValue(request.threadCount);
    const auto context = qMin<std::int64_t>(request.contextLength.value_or(0), kMaximumContext);
    m_context->setValue(static_cast<int>(context));
}

bool LoadPanel::haveSameSettings(const LoadRequest& left, const LoadRequest& right) {
    return left.precision == right.precision && left.threadCount == right.threadCount &&
           left.contextLength == right.contextLength;
}

void LoadPanel::copySettings(const LoadRequest& from, LoadRequest& to) {
    to.precision = from.precision;
    to.threadCount = from.threadCount;
    to.contextLength = from.contextLength;
}

void LoadPanel::setLoaded(const LoadRequest* request, bool mayLoad) {
    m_loaded.reset();
    m_mayLoad = mayLoad;
    if (request) m_loaded = *request;
    updateApply();
}

void LoadPanel::updateApply() {
    LoadRequest wanted;
    writeTo(wanted);
    const bool mayApply = m_loaded ? !haveSameSettings(wanted, *m_loaded) : m_mayLoad;
    if (!mayApply && m_apply->hasFocus()) m_precision->setFocus();  // and not wherever Qt finds
    m_apply->setEnabled(mayApply);
}

}  // namespace qllama
