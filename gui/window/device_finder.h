// Lists the devices in a thread of its own: drivers may take seconds to load, the window does not
// wait for them.
#pragma once

#include <QObject>
#include <QThread>
#include <functional>
#include <memory>

#include "engine/backend/device.h"

namespace qllama {

class DeviceFinder : public QObject {
    Q_OBJECT

public:
    explicit DeviceFinder(std::function<DeviceList()> list, QObject* parent = nullptr);
    ~DeviceFinder() override;  // waits for a search that runs

    void start();  // again, too; no effect while a search runs

signals:
    void devicesFound(const qllama::DeviceList& devices);

private:
    std::function<DeviceList()> m_list;
    std::unique_ptr<QThread> m_thread;
};

}  // namespace qllama
