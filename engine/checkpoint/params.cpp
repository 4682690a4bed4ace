#include "engine/checkpoint/params.h"

#include <QByteArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QJsonParseError>
#include <cmath>

#include "engine/checkpoint/printable.h"
#include "engine/common/mapped_file.h"

namespace qllama {
namespace {

constexpr std::size_t kMaxBytes = 1U << 20;

// Far above any model, far below what could overflow a product of two of them.
constexpr std::int64_t kMaxWidth = 1 << 24;
constexpr std::int64_t kMaxCount = 1 << 20;

class ParamsReader {
public:
    ParamsReader(QJsonObject object, std::string path)
        : m_object(std::move(object)), m_path(std::move(path)) {}

    Result<Params> read() const;

private:
    [[nodiscard]] Error failure(const char* key, const std::string& what) const {
        return {ErrorCode::InvalidFile, std::string("\"") + key + "\" in params.json " + what + ".",
                m_path};
    }
    [[nodiscard]] static std::string shown(const QJsonValue& value);
    Result<std::int64_t> required(const char* key, std::int64_t maximum) const;
    Result<std::optional<std::int64_t>> integer(const char* key, std::int64_t maximum) const;
    Result<std::optional<double>> positive(const char* key, double maximum) const;
    Result<bool> flag(const char* key) const;
    Result<std::optional<std::int64_t>> vocabularySize() const;

    QJsonObject m_object;
    std::string m_path;
};

// As in the file, shortened: numbers without exponents as far as possible.
std::string ParamsReader::shown(const QJsonValue& value) {
    if (value.isString()) return "the text \"" + printable(value.toString().toStdString()) + "\"";
    if (value.isBool()) return value.toBool() ? "true" : "false";
    if (value.isArray()) return "a list";
    if (value.isObject()) return "an object";
    if (value.isNull()) return "null";
    return QByteArray::number(value.toDouble(), 'g', 15).toStdString();
}

// Python writes None as null; both mean that the program's default holds.
Result<std::optional<std::int64_t>> ParamsReader::integer(const char* key,
                                                          std::int64_t maximum) const {
    const QJsonValue value = m_object.value(QLatin1String(key));
    if (value.isUndefined() || value.isNull()) return std::optional<std::int64_t>();
    const std::int64_t number = value.toInteger(-1);
    if (!value.isDouble() || number < 1 || number > maximum)
        return failure(key, "must be a whole number from 1 to " + std::to_string(maximum) +
                                ", but is " + shown(value));
    return std::optional<std::int64_t>(number);
}

Result<std::int64_t> ParamsReader::required(const char* key, std::int64_t maximum) const {
    QLLAMA_TRY(const std::optional<std::int64_t> number, integer(key, maximum));
    if (!number) return failure(key, "is missing; a model cannot be built without it");
    return *number;
}

Result<std::optional<double>> ParamsReader::positive(const char* key, double maximum) const {
    const QJsonValue value = m_object.value(QLatin1String(key));
    if (value.isUndefined() || value.isNull()) return std::optional<double>();
    const double number = value.toDouble(-1);
    if (!value.isDouble() || !std::isfinite(number) || number <= 0 || number > maximum)
        return failure(key, "must be a number above 0 and at most " +
                                QByteArray::number(maximum, 'g', 15).toStdString() + ", but is " +
                                shown(value));
    return std::optional<double>(number);
}

Result<bool> ParamsReader::flag(const char* key) const {
    const QJsonValue value = m_object.value(QLatin1String(key));
    if (value.isUndefined() || value.isNull()) return false;
    if (!value.isBool()) return failure(key, "must be true or false, but is " + shown(value));
    return value.toBool();
}

Result<std::optional<std::int64_t>> ParamsReader::vocabularySize() const {
    constexpr const char* kKey = "vocab_size";
    const QJsonValue value = m_object.value(QLatin1String(kKey));
    if (value.isDouble() && value.toInteger(0) == -1) return std::optional<std::int64_t>();
    return integer(kKey, kMaxWidth);
}

Result<Params> ParamsReader::read() const {
    Params params;
    QLLAMA_TRY(params.dim, required("dim", kMaxWidth));
    QLLAMA_TRY(params.layerCount, required("n_layers", kMaxCount));
    QLLAMA_TRY(params.headCount, required("n_heads", kMaxCount));
    QLLAMA_TRY(params.kvHeadCount, integer("n_kv_heads", kMaxCount));
    QLLAMA_TRY(params.multipleOf, integer("multiple_of", kMaxWidth));
    QLLAMA_TRY(params.ffnDimMultiplier, positive("ffn_dim_multiplier", 1000));
    QLLAMA_TRY(params.normEps, positive("norm_eps", 1));
    QLLAMA_TRY(params.vocabularySize, vocabularySize());
    QLLAMA_TRY(params.ropeTheta, positive("rope_theta", 1e15));
    QLLAMA_TRY(params.maxSeqLen, integer("max_seq_len", std::int64_t{1} << 31));
    QLLAMA_TRY(params.scaledRope, flag("use_scaled_rope"));
    return params;
}

}  // namespace

Result<Params> readParams(const std::filesystem::path& path) {
    QLLAMA_TRY(const auto file, MappedFile::open(path));
    const auto bytes = file->bytes();
    if (bytes.size() > kMaxBytes)
        return Error{ErrorCode::InvalidFile,
                     "The file has " + std::to_string(bytes.size()) +
                         " bytes; a params.json has a few hundred.",
                     path.string()};
    QJsonParseError problem;
    const QJsonDocument document =
        QJsonDocument::fromJson(QByteArray(reinterpret_cast<const char*>(bytes.data()),
                                           static_cast<qsizetype>(bytes.size())),
                                &problem);
    if (problem.error != QJsonParseError::NoError)
        return Error{ErrorCode::InvalidFile,
                     "params.json is not valid JSON: " + problem.errorString().toStdString() +
                         " at byte " + std::to_string(problem.offset) + ".",
                     path.string()};
    if (!document.isObject())
        return Error{ErrorCode::InvalidFile,
                     "params.json must hold one JSON object, such as {\"dim\": 4096, ...}.",
                     path.string()};
    return ParamsReader(document.object(), path.string()).read();
}

}  // namespace qllama
