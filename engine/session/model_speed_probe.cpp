#include "engine/session/model_speed_probe.h"

namespace qllama {

Result<ModelSpeedProbe> ModelSpeedProbe::create(LoadedModel& model, const std::stop_token& stop) {
    ModelSpeedProbe result;
    result.m_precision = model.request.precision;
    const Transformer& transformer = *model.transformer;
    const std::vector<std::int64_t> bytes = transformer.stageBytesPerToken();
    for (std::size_t stage = 0; stage < bytes.size(); ++stage) {
        QLLAMA_TRY(auto probe, transformer.stageBackend(stage).createSpeedProbe(stop));
        result.m_parts.push_back({std::move(probe), static_cast<double>(bytes[stage])});
    }
    return result;
}

Result<double> ModelSpeedProbe::measureGbPerSecond(const std::stop_token& stop) {
    double bytes = 0;
    double seconds = 0;
    for (const Part& part : m_parts) {
        QLLAMA_TRY(const double gbPerSecond, part.probe->measureGbPerSecond(stop));
        bytes += part.bytesPerToken;
        seconds += part.bytesPerToken / gbPerSecond / 1e9;
    }
    return bytes / seconds / 1e9;
}

Result<std::optional<double>> ModelSpeedProbe::measureMultiplyAdds(const std::stop_token& stop) {
    if (m_parts.size() != 1) return std::optional<double>();
    return m_parts.front().probe->measureMultiplyAdds(m_precision, stop);
}

}  // namespace qllama
