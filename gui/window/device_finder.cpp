#include "gui/window/device_finder.h"

#include <exception>
#include <utility>

namespace qllama {

DeviceFinder::DeviceFinder(std::function<DeviceList()> list, QObject* parent)
    : QObject(parent), m_list(std::move(list)) {}

DeviceFinder::~DeviceFinder() {
    if (m_thread) m_thread->wait();
}

void DeviceFinder::start() {
    if (m_thread && !m_thread->isFinished()) return;
    m_thread.reset(QThread::create([this] {
        DeviceList devices;
        try {
            devices = m_list();
        } catch (const std::exception& exception) {
            devices.notes.push_back(std::string("Looking for devices failed: ") + exception.what() +
                                    ".");
        }
        emit devicesFound(devices);  // queued: the receivers live in the window's thread
    }));
    m_thread->setObjectName(QStringLiteral("devices"));
    m_thread->start();
}

}  // namespace qllama
