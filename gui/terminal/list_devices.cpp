#include "engine/backend/device.h"
#include "gui/terminal/answer.h"
#include "gui/terminal/describe.h"
#include "gui/terminal/json_object.h"
#include "gui/terminal/output.h"
#include "gui/terminal/text_table.h"

namespace qllama {
namespace {

const char* keyOf(DeviceKind kind) {
    switch (kind) {
        case DeviceKind::Cpu:
            return "cpu";
        case DeviceKind::Gpu:
            return "gpu";
        case DeviceKind::Accelerator:
            return "accelerator";
        case DeviceKind::Other:
            break;
    }
    return "other";
}

void addBytes(JsonObject& object, const char* key, const std::optional<std::int64_t>& bytes) {
    if (bytes) {
        object.add(key, *bytes);
    } else {
        object.addNull(key);
    }
}

JsonObject deviceObject(const DeviceInfo& device) {
    JsonObject object;
    object.add("id", device.id)
        .add("name", device.name)
        .add("vendor", device.vendor)
        .add("platform", device.platform)
        .add("driver", device.driver)
        .add("kind", keyOf(device.kind))
        .add("compute_units", device.computeUnits);
    addBytes(object, "memory_bytes", device.globalMemoryBytes);
    addBytes(object, "free_memory_bytes", device.freeMemoryBytes);
    addBytes(object, "max_allocation_bytes", device.maxAllocationBytes);
    object.add("half_precision", device.hasHalfPrecision)
        .add("is_host_processor", device.isHostProcessor)
        .add("simd_target", device.simdTarget)
        .add("simd_targets_found", device.simdTargetsFound);
    return object;
}

std::string devicesJson(const DeviceList& list) {
    std::vector<JsonObject> devices;
    for (const DeviceInfo& device : list.devices)
        devices.push_back(deviceObject(device));
    return JsonObject()
               .add("event", "devices")
               .add("devices", devices)
               .add("notes", list.notes)
               .text() +
           "\n";
}

// Devices without arithmetic in f16 read and write it all the same.
std::string halfText(const DeviceInfo& device) {
    if (device.id == "cpu") return "";
    return device.hasHalfPrecision ? "f16 arithmetic" : "f16 storage only";
}

TextRow deviceRow(const DeviceInfo& device) {
    std::string details = device.platform;
    for (std::size_t i = 0; i < device.simdTargetsFound.size(); ++i)
        details += (i == 0 ? ", " : i == 1 ? " (also " : ", ") + device.simdTargetsFound[i];
    if (device.simdTargetsFound.size() > 1) details += ")";
    if (!device.driver.empty()) details += ", driver " + device.driver;
    if (device.isHostProcessor && device.id != "cpu") details += ", the processor itself";
    return {
        device.id,
        device.name,
        std::to_string(device.computeUnits) + " compute units",
        device.globalMemoryBytes ? byteText(*device.globalMemoryBytes) : "memory unknown",
        device.freeMemoryBytes ? byteText(*device.freeMemoryBytes) + " free" : "",
        device.maxAllocationBytes ? "largest buffer " + byteText(*device.maxAllocationBytes) : "",
        halfText(device),
        details};
}

std::string devicesText(const DeviceList& list) {
    std::vector<TextRow> rows;
    for (const DeviceInfo& device : list.devices)
        rows.push_back(deviceRow(device));
    std::string text = textTable(rows);
    for (const std::string& note : list.notes)
        text += withoutControls(note) + "\n";
    return text;
}

}  // namespace

int runListDevices(const CommandLine& commandLine) {
    const DeviceList list = listDevices();
    return printAnswer(commandLine.json, commandLine.json ? devicesJson(list) : devicesText(list));
}

}  // namespace qllama
