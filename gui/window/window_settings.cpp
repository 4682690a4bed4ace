#include "gui/window/window_settings.h"

#include <QSettings>
#include <limits>

#include "gui/window/recent_models.h"
#include "gui/window/stop_string_lines.h"
#include "gui/window/text.h"

namespace qllama {
namespace {

QString samplerKey(const SamplerParameter& parameter) {
    return QStringLiteral("sampler/") + toQString(parameter.key);
}

const QString kLastModel = QStringLiteral("load");

// How the layers are divided where the device alone does not say it.
void saveDivision(QSettings& settings, const LoadRequest& request) {
    QStringList counts;
    for (const std::int64_t count : request.split.value_or(std::vector<std::int64_t>()))
        counts += QString::number(count);
    settings.setValue(QStringLiteral("load/split"), counts);
    settings.setValue(QStringLiteral("load/deviceShare"),
                      request.deviceShare ? QString::number(*request.deviceShare) : QString());
    settings.setValue(QStringLiteral("load/mayUseCpu"), request.mayUseCpu);
}

void restoreDivision(const QSettings& settings, LoadRequest& request) {
    std::vector<std::int64_t> split;
    for (const QString& text : settings.value(QStringLiteral("load/split")).toStringList()) {
        bool ok = false;
        split.push_back(text.toLongLong(&ok));
        if (!ok || split.back() < 0) return;
    }
    if (!split.empty()) request.split = std::move(split);
    bool ok = false;
    const double share = settings.value(QStringLiteral("load/deviceShare")).toDouble(&ok);
    if (ok && share >= 0 && share <= 1) request.deviceShare = share;
    request.mayUseCpu = settings.value(QStringLiteral("load/mayUseCpu"), true).toBool();
}

}  // namespace

void saveGeneration(QSettings& settings, const GenerationRequest& request) {
    for (const SamplerParameter& parameter : samplerParameters())
        settings.setValue(samplerKey(parameter), request.sampler.value(parameter.key));
    settings.setValue(QStringLiteral("run/maxTokens"), qint64(request.maxTokens));
    settings.setValue(QStringLiteral("run/ignoreEos"), request.ignoreEos);
    settings.setValue(QStringLiteral("run/stopStrings"), formatStopStrings(request.stopStrings));
    if (request.seed)
        settings.setValue(QStringLiteral("run/seed"), QString::number(*request.seed));
    else
        settings.remove(QStringLiteral("run/seed"));
}

GenerationRequest restoreGeneration(const QSettings& settings) {
    GenerationRequest request;
    for (const SamplerParameter& parameter : samplerParameters()) {
        bool ok = false;
        const double value = settings.value(samplerKey(parameter)).toDouble(&ok);
        if (ok && value >= parameter.minimum && value <= parameter.maximum)
            request.sampler.set(parameter.key, value);
    }
    const qint64 maxTokens =
        settings.value(QStringLiteral("run/maxTokens"), qint64(request.maxTokens)).toLongLong();
    if (maxTokens >= -1 && maxTokens <= std::numeric_limits<int>::max())
        request.maxTokens = maxTokens;
    request.ignoreEos = settings.value(QStringLiteral("run/ignoreEos")).toBool();
    request.stopStrings =
        parseStopStrings(settings.value(QStringLiteral("run/stopStrings")).toString());
    bool seeded = false;
    const quint64 seed = settings.value(QStringLiteral("run/seed")).toString().toULongLong(&seeded);
    if (seeded) request.seed = seed;
    return request;
}

void saveLoad(QSettings& settings, const LoadRequest& request) {
    writeLocation(settings, kLastModel, request.location);
    const std::string_view precision = keyOf(request.precision);
    settings.setValue(
        QStringLiteral("load/precision"),
        QString::fromUtf8(precision.data(), static_cast<qsizetype>(precision.size())));
    settings.setValue(QStringLiteral("load/device"), toQString(request.device));
    saveDivision(settings, request);
    settings.setValue(QStringLiteral("load/threads"), request.threadCount);
    settings.setValue(QStringLiteral("load/context"), qint64(request.contextLength.value_or(0)));
}

LoadRequest restoreLoad(const QSettings& settings) {
    LoadRequest request;
    request.location = readLocation(settings, kLastModel);
    const std::string precision =
        settings.value(QStringLiteral("load/precision")).toString().toStdString();
    request.precision = precisionFromKey(precision).value_or(Precision::Source);
    const QString device = settings.value(QStringLiteral("load/device")).toString();
    if (!device.isEmpty()) request.device = device.toStdString();
    restoreDivision(settings, request);
    request.threadCount = qMax(0, settings.value(QStringLiteral("load/threads")).toInt());
    const qint64 context = settings.value(QStringLiteral("load/context")).toLongLong();
    if (context > 0) request.contextLength = context;
    return request;
}

}  // namespace qllama
