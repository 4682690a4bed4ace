#include "gui/window/recent_models.h"

#include <QSettings>
#include <algorithm>

#include "gui/window/paths.h"

namespace qllama {
namespace {

constexpr std::size_t kMostRecent = 8;

QString groupOf(std::size_t place) {
    return QStringLiteral("recent/%1").arg(place);
}

void writePath(QSettings& settings, const QString& key,
               const std::optional<std::filesystem::path>& path) {
    if (path)
        settings.setValue(key, pathText(*path));
    else
        settings.remove(key);
}

std::optional<std::filesystem::path> readPath(const QSettings& settings, const QString& key) {
    const QString text = settings.value(key).toString();
    if (text.isEmpty()) return std::nullopt;
    return toPath(text);
}

}  // namespace

void writeLocation(QSettings& settings, const QString& group, const CheckpointLocation& location) {
    writePath(settings, group + QStringLiteral("/model"), location.model);
    writePath(settings, group + QStringLiteral("/tokenizer"), location.tokenizer);
    writePath(settings, group + QStringLiteral("/params"), location.params);
}

CheckpointLocation readLocation(const QSettings& settings, const QString& group) {
    CheckpointLocation location;
    location.model =
        readPath(settings, group + QStringLiteral("/model")).value_or(std::filesystem::path());
    location.tokenizer = readPath(settings, group + QStringLiteral("/tokenizer"));
    location.params = readPath(settings, group + QStringLiteral("/params"));
    return location;
}

void RecentModels::add(const CheckpointLocation& location) {
    std::erase_if(m_locations,
                  [&](const CheckpointLocation& old) { return old.model == location.model; });
    m_locations.insert(m_locations.begin(), location);
    if (m_locations.size() > kMostRecent) m_locations.resize(kMostRecent);
}

void RecentModels::save(QSettings& settings) const {
    settings.remove(QStringLiteral("recent"));
    for (std::size_t place = 0; place < m_locations.size(); ++place)
        writeLocation(settings, groupOf(place), m_locations[place]);
}

void RecentModels::restore(const QSettings& settings) {
    m_locations.clear();
    for (std::size_t place = 0; place < kMostRecent; ++place) {
        CheckpointLocation location = readLocation(settings, groupOf(place));
        if (!location.model.empty()) m_locations.push_back(std::move(location));
    }
}

QString displayName(const CheckpointLocation& location) {
    const std::filesystem::path path = location.model.lexically_normal();
    const std::filesystem::path last = path.has_filename() ? path : path.parent_path();
    // A folder may be called Llama-3.2-1B.
    if (last.extension() != ".pth" && last.extension() != ".json") return pathText(last.filename());
    const std::filesystem::path folder = last.parent_path().filename();
    return pathText(folder.empty() ? last.filename() : folder / last.filename());
}

}  // namespace qllama
