#include "gui/window/device_plan_dialog.h"

#include <QDialogButtonBox>
#include <QHeaderView>
#include <QLabel>
#include <QLocale>
#include <QPushButton>
#include <QScreen>
#include <QSignalBlocker>
#include <QTreeWidget>
#include <QVBoxLayout>
#include <algorithm>
#include <exception>
#include <memory>
#include <utility>

#include "gui/window/device_text.h"
#include "gui/window/load_panel.h"
#include "gui/window/placement_text.h"
#include "gui/window/recent_models.h"
#include "gui/window/text.h"

namespace qllama {
namespace {

QString bytes(std::int64_t count) {
    return QLocale().formattedDataSize(count);
}

// What decides how many bytes are needed, apart from the devices.
QString modelText(const LoadRequest& request) {
    const QString name = displayName(request.location);
    const QString precision = precisionLabel(request.precision);
    return request.contextLength
               ? DevicePlanDialog::tr("Memory for %1, precision “%2”, %3 tokens of context:")
                     .arg(name, precision, QLocale().toString(qint64(*request.contextLength)))
               : DevicePlanDialog::tr("Memory for %1, precision “%2”, the model's own context:")
                     .arg(name, precision);
}

// First those that are chosen, in their order, the processor last of the others: there it takes what
// fits nowhere else.
std::vector<DeviceInfo> inOrder(const DeviceList& devices, const QStringList& chosen) {
    std::vector<DeviceInfo> ordered = devices.devices;
    const auto rank = [&chosen](const DeviceInfo& device) {
        const qsizetype place = chosen.indexOf(toQString(device.id));
        if (place >= 0 && (chosen.size() > 1 || device.id != "cpu")) return place;
        return chosen.size() + (device.id == "cpu" ? 1 : 0);
    };
    std::stable_sort(ordered.begin(), ordered.end(),
                     [&rank](const DeviceInfo& left, const DeviceInfo& right) {
                         return rank(left) < rank(right);
                     });
    return ordered;
}

}  // namespace

DevicePlanDialog::DevicePlanDialog(Planner planner, QWidget* parent)
    : QDialog(parent),
      m_planner(std::move(planner)),
      m_devices(new QTreeWidget(this)),
      m_plan(new QTreeWidget(this)),
      m_model(new QLabel(this)),
      m_notes(new QLabel(this)),
      m_load(new QPushButton(tr("&Load There"), this)) {
    setObjectName(QStringLiteral("devicePlanDialog"));
    setWindowTitle(tr("Several Devices and Memory"));
    setupLists();
    setupLayout();
    resize(QSize(720, 400).boundedTo(screen()->availableSize() * 0.95));
    connect(m_devices, &QTreeWidget::itemChanged, this, &DevicePlanDialog::plan);
    connect(m_load, &QPushButton::clicked, this, [this] {
        accept();
        emit loadRequested(request());
    });
}

void DevicePlanDialog::setupLists() {
    m_devices->setObjectName(QStringLiteral("planDevices"));
    m_devices->setAccessibleName(tr("Devices that share the layers"));
    m_devices->setHeaderHidden(true);
    m_devices->setRootIsDecorated(false);
    m_plan->setObjectName(QStringLiteral("planStages"));
    m_plan->setAccessibleName(tr("Memory on each device"));
    m_plan->setHeaderLabels({tr("Device"), tr("Layers"), tr("Weights"), tr("Keys and values"),
                             tr("Buffers"), tr("Total"), tr("Device has")});
    m_plan->setRootIsDecorated(false);
    m_plan->header()->setStretchLastSection(false);
    m_plan->header()->setSectionResizeMode(QHeaderView::ResizeToContents);
    m_plan->header()->setSectionResizeMode(0, QHeaderView::Stretch);
}

void DevicePlanDialog::setupLayout() {
    auto* about =
        new QLabel(tr("Each chosen device computes a range of the layers, in this order, "
                      "as many as its memory holds; the processor, where it is checked, takes "
                      "what is left."),
                   this);
    about->setWordWrap(true);
    m_notes->setObjectName(QStringLiteral("planNotes"));
    m_notes->setTextFormat(Qt::PlainText);
    m_notes->setWordWrap(true);
    m_model->setObjectName(QStringLiteral("planModel"));
    m_model->setTextFormat(Qt::PlainText);
    m_model->setWordWrap(true);
    m_load->setObjectName(QStringLiteral("planLoad"));
    auto* buttons = new QDialogButtonBox(QDialogButtonBox::Close, this);
    buttons->addButton(m_load, QDialogButtonBox::ActionRole);
    connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
    auto* layout = new QVBoxLayout(this);
    layout->addWidget(about);
    layout->addWidget(m_devices, 1);
    layout->addSpacing(6);
    layout->addWidget(m_model);
    layout->addWidget(m_plan, 1);
    layout->addWidget(m_notes);
    layout->addWidget(buttons);
}

void DevicePlanDialog::present(const DeviceList& devices, const LoadRequest& request) {
    m_known = devices.devices;
    m_request = request;
    m_model->setVisible(!request.location.model.empty());
    m_model->setText(modelText(request));
    const QStringList chosen = toQString(request.device).split(u',');
    const QSignalBlocker blocker(m_devices);
    m_devices->clear();
    for (const DeviceInfo& device : inOrder(devices, chosen)) {
        const QString id = toQString(device.id);
        auto* item = new QTreeWidgetItem(m_devices, {deviceLabelAmong(devices.devices, device)});
        item->setData(0, Qt::UserRole, id);
        item->setToolTip(0, deviceFacts(device));
        item->setCheckState(0, chosen.contains(id) ? Qt::Checked : Qt::Unchecked);
    }
    m_presentedIsListed = !this->chosen().isEmpty();
    plan();
}

// A list that something was chosen from already stays as it is.
void DevicePlanDialog::setDevices(const DeviceList& devices) {
    if (m_known.empty()) present(devices, m_request);
}

QString DevicePlanDialog::chosen() const {
    QStringList ids;
    for (int row = 0; row < m_devices->topLevelItemCount(); ++row)
        if (const auto* item = m_devices->topLevelItem(row); item->checkState(0) == Qt::Checked)
            ids += item->data(0, Qt::UserRole).toString();
    return ids.join(u',');
}

// What would be loaded. Nothing checked is what was presented where that is none of the list, such as
// "auto"; another choice than that one is divided by the memory of the devices, and only over those that are checked.
LoadRequest DevicePlanDialog::request() const {
    LoadRequest request = m_request;
    const std::string ids = chosen().toStdString();
    if (ids.empty() || ids == request.device) return request;
    request.device = ids;
    request.split.reset();
    request.deviceShare.reset();
    request.mayUseCpu = false;
    return request;
}

void DevicePlanDialog::plan() {
    m_planAgain = m_task.isRunning();
    if (m_planAgain) return;
    m_load->setEnabled(false);
    const LoadRequest request = this->request();
    if (request.location.model.empty()) {
        m_plan->clear();
        m_notes->show();
        m_notes->setText(tr("Open a model first: the plan is for the one that was opened last."));
        return;
    }
    if (chosen().isEmpty() && m_presentedIsListed) {
        m_plan->clear();
        m_notes->show();
        m_notes->setText(tr("Check at least one device."));
        return;
    }
    const auto result = std::make_shared<std::optional<Result<PlacementPlan>>>();
    m_task.start(
        [result, request, planner = m_planner] {
            try {
                result->emplace(planner(request));
            } catch (const std::exception& problem) {
                result->emplace(Error{ErrorCode::Io, problem.what(), {}});
            }
        },
        [this, result] {
            if (m_planAgain)
                plan();
            else
                showPlan(**result);
        });
}

void DevicePlanDialog::addRow(const DeviceInfo& device, const QStringList& figures) {
    QStringList columns{deviceNameAmong(m_known, device)};
    columns += figures;
    columns += device.globalMemoryBytes ? bytes(*device.globalMemoryBytes) : tr("unknown");
    auto* item = new QTreeWidgetItem(m_plan, columns);
    for (int column = 1; column < item->columnCount(); ++column)
        item->setTextAlignment(column, Qt::AlignRight | Qt::AlignVCenter);
}

void DevicePlanDialog::showPlan(const Result<PlacementPlan>& plan) {
    m_plan->clear();
    m_load->setEnabled(plan.ok() && !chosen().isEmpty());
    if (!plan.ok()) {
        m_notes->setText(withDeviceNames(toQString(plan.error().text()), m_known));
        m_notes->show();
        return;
    }
    QStringList unused = chosen().split(u',', Qt::SkipEmptyParts);
    for (const StagePlacement& stage : plan.value().stages) {
        addRow(stage.device,
               {layerRange(stage), bytes(stage.weightBytes), bytes(stage.kvCacheBytes),
                bytes(stage.scratchBytes), bytes(stage.totalBytes())});
        unused.removeAll(toQString(stage.device.id));
    }
    for (const DeviceInfo& device : m_known)
        if (unused.contains(toQString(device.id)))
            addRow(device, {QLocale().toString(0), bytes(0), bytes(0), bytes(0), bytes(0)});
    QStringList notes;
    if (chosen().isEmpty() && m_request.device == "auto")
        notes +=
            tr("This is the choice of “Automatic”. To make another one, check at least one "
               "device.");
    for (const std::string& note : plan.value().notes)
        notes += withDeviceNames(toQString(note), m_known);
    m_notes->setText(notes.join(u'\n'));
    m_notes->setVisible(!notes.isEmpty());
}

}  // namespace qllama
