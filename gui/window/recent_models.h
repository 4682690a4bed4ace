// The models that were loaded lately, newest first, remembered between starts.
#pragma once

#include <QString>
#include <vector>

#include "engine/checkpoint/checkpoint_reader.h"

class QSettings;

namespace qllama {

// A location as text in the settings, and the list of them.
void writeLocation(QSettings& settings, const QString& group, const CheckpointLocation& location);
CheckpointLocation readLocation(const QSettings& settings, const QString& group);

class RecentModels {
public:
    // Puts the model first; the same model further down goes.
    void add(const CheckpointLocation& location);
    void clear() { m_locations.clear(); }
    [[nodiscard]] const std::vector<CheckpointLocation>& locations() const { return m_locations; }

    void save(QSettings& settings) const;
    void restore(const QSettings& settings);

private:
    std::vector<CheckpointLocation> m_locations;
};

// What to call a model in a menu: its folder, and the file where there is more than one kind.
QString displayName(const CheckpointLocation& location);

}  // namespace qllama
