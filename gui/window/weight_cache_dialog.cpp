#include "gui/window/weight_cache_dialog.h"

#include <QDialogButtonBox>
#include <QHeaderView>
#include <QLabel>
#include <QLocale>
#include <QMessageBox>
#include <QPushButton>
#include <QTreeWidget>
#include <QVBoxLayout>
#include <optional>
#include <utility>

#include "gui/window/paths.h"
#include "gui/window/text.h"

namespace qllama {
namespace {

enum Column { kModel, kPrecision, kSize };

QString totalSize(const std::vector<WeightCacheEntry>& entries) {
    std::int64_t bytes = 0;
    for (const WeightCacheEntry& entry : entries)
        bytes += entry.sizeBytes;
    return QLocale().formattedDataSize(bytes);
}

}  // namespace

WeightCacheDialog::WeightCacheDialog(std::filesystem::path folder, QWidget* parent)
    : QDialog(parent),
      m_folder(std::move(folder)),
      m_list(new QTreeWidget(this)),
      m_total(new QLabel(this)),
      m_clear(new QPushButton(tr("&Delete All…"), this)) {
    setObjectName(QStringLiteral("weightCacheDialog"));
    setWindowTitle(tr("Kept Weights"));
    setupList();
    setupLayout();
    resize(520, 340);
    connect(m_clear, &QPushButton::clicked, this, &WeightCacheDialog::askToClear);
}

void WeightCacheDialog::setupList() {
    m_list->setObjectName(QStringLiteral("keptWeights"));
    m_list->setAccessibleName(tr("Kept weights"));
    m_list->setHeaderLabels({tr("Model"), tr("Precision"), tr("Size")});
    m_list->setRootIsDecorated(false);
    m_list->setUniformRowHeights(true);
    m_list->header()->setStretchLastSection(false);
    m_list->header()->setSectionResizeMode(kModel, QHeaderView::Stretch);
    m_list->header()->setSectionResizeMode(kPrecision, QHeaderView::ResizeToContents);
    m_list->header()->setSectionResizeMode(kSize, QHeaderView::ResizeToContents);
}

void WeightCacheDialog::setupLayout() {
    auto* about =
        new QLabel(tr("Weights in q8, q4 and packed form are made from the model's own when it is "
                      "loaded for the first time. They are kept here, so that it opens "
                      "at once the next time."),
                   this);
    about->setWordWrap(true);
    auto* folder = new QLabel(m_folder.empty() ? tr("No folder: neither XDG_CACHE_HOME nor HOME "
                                                    "names one, so nothing is kept.")
                                               : pathText(m_folder),
                              this);
    folder->setObjectName(QStringLiteral("keptWeightsFolder"));
    folder->setTextFormat(Qt::PlainText);
    folder->setWordWrap(true);
    folder->setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
    folder->setAccessibleName(tr("Folder"));
    m_total->setObjectName(QStringLiteral("keptWeightsTotal"));
    m_total->setTextFormat(Qt::PlainText);
    m_total->setWordWrap(true);
    m_clear->setObjectName(QStringLiteral("clearKeptWeights"));
    m_clear->setAutoDefault(false);
    auto* buttons = new QDialogButtonBox(QDialogButtonBox::Close, this);
    buttons->addButton(m_clear, QDialogButtonBox::DestructiveRole);
    connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
    auto* layout = new QVBoxLayout(this);
    layout->addWidget(about);
    layout->addWidget(folder);
    layout->addWidget(m_list, 1);
    layout->addWidget(m_total);
    layout->addWidget(buttons);
}

void WeightCacheDialog::showEvent(QShowEvent* event) {
    QDialog::showEvent(event);
    m_problem.clear();
    refresh();
}

void WeightCacheDialog::refresh() {
    m_lookAgain = m_task.isRunning();
    if (!isVisible() || m_lookAgain) return;
    m_clear->setEnabled(false);
    const auto found = std::make_shared<std::optional<Result<std::vector<WeightCacheEntry>>>>();
    m_task.start([found, folder = m_folder] { found->emplace(listWeightCache(folder)); },
                 [this, found] {
                     showEntries(**found);
                     if (m_lookAgain) refresh();
                 });
}

void WeightCacheDialog::showEntries(const Result<std::vector<WeightCacheEntry>>& entries) {
    m_entries = entries.ok() ? entries.value() : std::vector<WeightCacheEntry>();
    m_list->clear();
    for (const WeightCacheEntry& entry : m_entries) {
        auto* item = new QTreeWidgetItem(m_list);
        item->setText(kModel, entry.modelName.empty() ? tr("unfinished or damaged")
                                                      : toQString(entry.modelName));
        item->setText(kPrecision, toQString(entry.precision));
        item->setText(kSize, QLocale().formattedDataSize(entry.sizeBytes));
        item->setTextAlignment(kSize, Qt::AlignRight | Qt::AlignVCenter);
        item->setToolTip(kModel, pathText(entry.path));
    }
    m_clear->setEnabled(!m_entries.empty());
    QString total = m_entries.empty() ? tr("Nothing is kept at the moment.")
                                      : tr("%1 together").arg(totalSize(m_entries));
    if (!entries.ok()) total = toQString(entries.error().text());
    m_total->setText(m_problem.isEmpty() ? total : m_problem + u'\n' + total);
}

void WeightCacheDialog::askToClear() {
    auto* question = new QMessageBox(
        QMessageBox::Question, tr("Delete Kept Weights"),
        tr("Delete %n file(s) of kept weights, %1?", nullptr, static_cast<int>(m_entries.size()))
            .arg(totalSize(m_entries)),
        QMessageBox::Cancel, this);
    question->setObjectName(QStringLiteral("clearQuestion"));
    question->setAttribute(Qt::WA_DeleteOnClose);
    question->setInformativeText(
        tr("A model that is loaded stays usable. The next time that one "
           "of these models is loaded, its weights are made again."));
    QPushButton* remove = question->addButton(tr("&Delete"), QMessageBox::DestructiveRole);
    remove->setObjectName(QStringLiteral("clearConfirmed"));
    question->setDefaultButton(QMessageBox::Cancel);
    connect(remove, &QPushButton::clicked, this, &WeightCacheDialog::clear);
    question->open();
}

void WeightCacheDialog::clear() {
    if (m_task.isRunning()) return;
    m_clear->setEnabled(false);
    const auto freed = std::make_shared<std::optional<Result<std::int64_t>>>();
    m_task.start([freed, folder = m_folder] { freed->emplace(clearWeightCache(folder)); },
                 [this, freed] {
                     m_problem = (*freed)->ok() ? QString() : toQString((*freed)->error().text());
                     refresh();
                 });
}

}  // namespace qllama
