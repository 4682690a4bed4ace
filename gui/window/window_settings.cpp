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
    request.threadCount = qMax(0, settings.value(QStringLiteral("load/threads")).toInt());
    const qint64 context = settings.value(QStringLiteral("load/context")).toLongLong();
    if (context > 0) request.contextLength = context;
    return request;
}

}  // namespace qllama
