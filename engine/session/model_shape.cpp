#include "engine/session/model_shape.h"

#include <charconv>
#include <cmath>
#include <cstdio>

#include "engine/model/llama_config.h"

namespace qllama {
namespace {

constexpr NamedShape kNamed[] = {
    {"tiny", {64, 2, 4, 2, 192, std::nullopt}},
    {"1.1b", {2048, 22, 32, 4, 5632, 32000}},
    {"7b", {4096, 32, 32, 32, 11008, 32000}},
    {"13b", {5120, 40, 40, 40, 13824, 32000}},
};

struct Extent {
    std::string_view key;
    std::int64_t maximum;
};

// Far above any model; products of three of them stay within 63 bits.
constexpr Extent kDim{"dim", 1 << 20};
constexpr Extent kLayers{"layers", 1 << 12};
constexpr Extent kHeads{"heads", 1 << 12};
constexpr Extent kKvHeads{"kv-heads", 1 << 12};
constexpr Extent kFfn{"ffn", 1 << 22};
constexpr Extent kVocabulary{"vocab", 1 << 22};

Error refused(const std::string& message) {
    return {ErrorCode::InvalidRequest, message, {}};
}

std::string quoted(std::string_view text) {
    return "'" + std::string(text) + "'";
}

std::string knownNames() {
    std::string names;
    for (const NamedShape& named : kNamed)
        names += std::string(named.name) + ", ";
    return names + "or dim=N,layers=N,heads=N,kv-heads=N,ffn=N,vocab=N";
}

Result<void> setExtent(std::string_view key, std::string_view value, ModelShape& shape) {
    const struct {
        Extent extent;
        std::int64_t* target;
    } targets[] = {{kDim, &shape.dim},
                   {kLayers, &shape.layerCount},
                   {kHeads, &shape.headCount},
                   {kKvHeads, &shape.kvHeadCount},
                   {kFfn, &shape.ffnDim}};
    const auto parse = [&](const Extent& extent, std::int64_t& number) -> Result<void> {
        const char* end = value.data() + value.size();
        const auto [stop, problem] = std::from_chars(value.data(), end, number);
        if (problem == std::errc() && stop == end && number >= 1 && number <= extent.maximum)
            return {};
        return refused("In the shape, " + std::string(key) + " needs a whole number from 1 to " +
                       std::to_string(extent.maximum) + ", not " + quoted(value) + ".");
    };
    if (key == kVocabulary.key) return parse(kVocabulary, shape.vocabularySize.emplace());
    for (const auto& [extent, target] : targets)
        if (key == extent.key) return parse(extent, *target);
    return refused("The shape " + quoted(key) + " is not known: it can be " + knownNames() + ".");
}

Result<void> checkExtents(const ModelShape& shape) {
    for (const auto& [key, value] : {std::pair{"dim", shape.dim},
                                     {"layers", shape.layerCount},
                                     {"heads", shape.headCount},
                                     {"ffn", shape.ffnDim}})
        if (value == 0) return refused("The shape does not say " + std::string(key) + ".");
    if (shape.dim % shape.headCount != 0 || shape.dim / shape.headCount % 2 != 0)
        return refused("A width of " + std::to_string(shape.dim) + " does not divide into " +
                       std::to_string(shape.headCount) + " heads of an even size.");
    if (shape.dim / shape.headCount > kLargestHeadDim)
        return refused("A width of " + std::to_string(shape.dim) + " makes " +
                       std::to_string(shape.headCount) + " heads of " +
                       std::to_string(shape.dim / shape.headCount) + "; at most " +
                       std::to_string(kLargestHeadDim) + " are supported.");
    if (shape.headCount % shape.kvHeadCount != 0)
        return refused(std::to_string(shape.kvHeadCount) + " key and value heads do not divide " +
                       std::to_string(shape.headCount) + " heads.");
    return {};
}

// Meta's formula, in its own arithmetic.
std::int64_t ffnDimBy(std::int64_t dim, std::int64_t multipleOf, std::optional<double> multiplier) {
    std::int64_t width = 2 * (4 * dim) / 3;
    if (multiplier) width = static_cast<std::int64_t>(*multiplier * static_cast<double>(width));
    return (width + multipleOf - 1) / multipleOf * multipleOf;
}

// 256 as the published models have, or the largest smaller power of two that gives the width, or
// the width itself where that is the formula's first multiple. A smaller width needs a multiplier.
std::optional<std::int64_t> multipleOfFor(const ModelShape& shape) {
    for (std::int64_t multiple = 256; multiple >= 1; multiple /= 2)
        if (ffnDimBy(shape.dim, multiple, std::nullopt) == shape.ffnDim) return multiple;
    if (ffnDimBy(shape.dim, shape.ffnDim, std::nullopt) == shape.ffnDim) return shape.ffnDim;
    return std::nullopt;
}

}  // namespace

std::span<const NamedShape> namedShapes() {
    return kNamed;
}

Result<ModelShape> parseModelShape(std::string_view text) {
    for (const NamedShape& named : kNamed)
        if (text == named.name) return named.shape;
    ModelShape shape;
    while (true) {
        const std::string_view part = text.substr(0, text.find(','));
        const std::size_t equals = std::min(part.find('='), part.size());
        QLLAMA_CHECK(setExtent(part.substr(0, equals),
                               part.substr(std::min(equals + 1, part.size())), shape));
        if (part.size() == text.size()) break;
        text.remove_prefix(part.size() + 1);
    }
    if (shape.kvHeadCount == 0) shape.kvHeadCount = shape.headCount;
    QLLAMA_CHECK(checkExtents(shape));
    return shape;
}

Result<void> checkShards(const ModelShape& shape, std::int64_t vocabularySize, int shardCount) {
    for (const auto& [what, value] : {std::pair{"heads", shape.headCount},
                                      {"key and value heads", shape.kvHeadCount},
                                      {"feed-forward values", shape.ffnDim},
                                      {"vocabulary entries", vocabularySize}})
        if (value % shardCount != 0)
            return refused("The model's " + std::to_string(value) + " " + what +
                           " cannot be divided over " + std::to_string(shardCount) + " files.");
    return {};
}

std::string paramsJson(const ModelShape& shape) {
    const auto number = [](std::int64_t value) { return std::to_string(value); };
    const std::optional<std::int64_t> multipleOf = multipleOfFor(shape);
    std::string text = "{\"dim\": " + number(shape.dim);
    if (!multipleOf) {
        // Half a value above, so that rounding down gives the width itself.
        const double multiplier = (static_cast<double>(shape.ffnDim) + 0.5) /
                                  static_cast<double>(ffnDimBy(shape.dim, 1, std::nullopt));
        char digits[32];
        std::snprintf(digits, sizeof digits, "%.17g", multiplier);
        text += ", \"ffn_dim_multiplier\": " + std::string(digits);
    }
    text += ", \"multiple_of\": " + number(multipleOf.value_or(1)) +
            ", \"n_heads\": " + number(shape.headCount);
    if (shape.kvHeadCount != shape.headCount)
        text += ", \"n_kv_heads\": " + number(shape.kvHeadCount);
    return text + ", \"n_layers\": " + number(shape.layerCount) +
           ", \"norm_eps\": 1e-05, \"vocab_size\": -1}\n";
}

}  // namespace qllama
