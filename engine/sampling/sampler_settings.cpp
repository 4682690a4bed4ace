#include <cassert>
#include <cmath>
#include <locale>
#include <sstream>

#include "engine/sampling/sampler.h"

namespace qllama {
namespace {

// "0.95", "40", "1000000": as a user would type it, in any locale.
std::string numberText(double value) {
    std::ostringstream text;
    text.imbue(std::locale::classic());
    text.precision(10);
    text << value;
    return text.str();
}

std::string rangeText(const SamplerParameter& parameter) {
    return std::string(parameter.decimals == 0 ? "a whole number from " : "a number from ") +
           numberText(parameter.minimum) + " to " + numberText(parameter.maximum);
}

bool isAllowed(const SamplerParameter& parameter, double value) {
    if (!(value >= parameter.minimum && value <= parameter.maximum)) return false;  // NaN too
    return parameter.decimals != 0 || value == std::floor(value);
}

}  // namespace

double SamplerSettings::value(std::string_view key) const {
    if (const auto found = m_values.find(key); found != m_values.end()) return found->second;
    const SamplerParameter* parameter = findSamplerParameter(key);
    assert(parameter != nullptr);
    return parameter != nullptr ? parameter->defaultValue : 0.0;
}

void SamplerSettings::set(std::string_view key, double value) {
    const SamplerParameter* parameter = findSamplerParameter(key);
    assert(parameter != nullptr);
    if (parameter == nullptr) return;
    if (value == parameter->defaultValue)
        m_values.erase(std::string(key));
    else
        m_values.insert_or_assign(std::string(key), value);
}

std::string SamplerSettings::problem() const {
    for (const SamplerParameter& parameter : samplerParameters()) {
        const double current = value(parameter.key);
        if (isAllowed(parameter, current)) continue;
        return std::string(parameter.label) + " (" + std::string(parameter.key) + ") is " +
               numberText(current) + "; it must be " + rangeText(parameter) + ".";
    }
    return {};
}

}  // namespace qllama
