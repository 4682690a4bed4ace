#include "engine/sampling/sampler_table.h"

#include <vector>

namespace qllama {
namespace {

constexpr const SamplerDescriptor* kTable[] = {
    &kRepetitionPenalty, &kRepeatPenalty, &kTopK, &kTopP, &kMinP, &kTemperature,
};

std::vector<SamplerParameter> allParameters() {
    std::vector<SamplerParameter> all;
    for (const SamplerDescriptor* sampler : kTable)
        all.insert(all.end(), sampler->parameters.begin(), sampler->parameters.end());
    return all;
}

}  // namespace

std::span<const SamplerDescriptor* const> samplerTable() {
    return kTable;
}

std::span<const SamplerParameter> samplerParameters() {
    static const std::vector<SamplerParameter> kAll = allParameters();
    return kAll;
}

const SamplerParameter* findSamplerParameter(std::string_view key) {
    for (const SamplerParameter& parameter : samplerParameters())
        if (parameter.key == key) return &parameter;
    return nullptr;
}

}  // namespace qllama
