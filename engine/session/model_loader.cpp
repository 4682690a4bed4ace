#include "engine/session/model_loader.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <set>
#include <utility>

#include "engine/common/host_memory.h"
#include "engine/common/thread_pool.h"
#include "engine/quant/weight_cache.h"
#include "engine/session/pipeline.h"
#include "engine/session/weight_cache_key.h"

namespace qllama {
namespace {

using Clock = std::chrono::steady_clock;

double millisecondsSince(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// The element types of the matrices, for people: "f16", or "bf16 and f32" when they differ.
std::string storedTypes(const Checkpoint& checkpoint) {
    std::set<std::string_view> names;
    for (const auto& [name, tensor] : checkpoint.tensors)
        if (tensor.shape.size() == 2) names.insert(nameOf(tensor.dtype));
    std::string text;
    for (const std::string_view name : names)
        text += (text.empty() ? "" : " and ") + std::string(name);
    return text;
}

// All but the devices.
Result<PlacementRequest> placementFor(const LoadRequest& request, const Checkpoint& checkpoint,
                                      const LlamaConfig& config) {
    PlacementRequest placement;
    placement.config = config;
    placement.precision = request.precision;
    QLLAMA_TRY(placement.contextLength,
               contextLengthFor(config, request.contextLength, checkpoint));
    placement.kvPrecision = request.kvPrecision.value_or(automaticKvPrecision(
        request.precision, checkpoint.tensors, config, placement.contextLength));
    return placement;
}

Result<PipelineRequest> pipelineFor(const LoadRequest& request, const Checkpoint& checkpoint,
                                    const LlamaConfig& config) {
    PipelineRequest pipeline;
    QLLAMA_TRY(pipeline.placement, placementFor(request, checkpoint, config));
    QLLAMA_TRY(DeviceChoice choice, chooseDevices({.device = request.device,
                                                   .split = request.split,
                                                   .deviceShare = request.deviceShare,
                                                   .mayUseCpu = request.mayUseCpu,
                                                   .mayLeaveDevice = request.mayLeaveDevice,
                                                   .layerCount = config.layerCount}));
    pipeline.placement.devices = std::move(choice.devices);
    if (request.ignoresFreeMemory)
        for (DeviceInfo& device : pipeline.placement.devices)
            device.freeMemoryBytes.reset();
    pipeline.placement.split = std::move(choice.split);
    pipeline.cpuIsSpare = choice.cpuIsSpare;
    pipeline.mayLeaveDevice = request.mayLeaveDevice;
    pipeline.planMade = request.planMade;
    pipeline.notes = std::move(choice.notes);
    pipeline.options = {.threadCount = request.threadCount, .profile = request.profile};
    return pipeline;
}

// What is to be done with the weights where none of them were kept, and whether they will be. Packed ones are on
// the processor alone, and kept where all layers are: a file is that of a whole model.
struct Making {
    LoadWork work = LoadWork::None;
    bool isKept = false;
};

Making makingOf(const PlacementRequest& placement, const Checkpoint& checkpoint) {
    if (!makesAny(placement.precision, checkpoint.tensors)) return {};
    if (quantFormat(placement.precision)) return {LoadWork::Quantising, true};
    const auto plan = planPlacement(placement, checkpoint);
    if (!plan.ok() || !plan.value().usesCpu()) return {};
    return {LoadWork::Packing, plan.value().stages.size() == 1};
}

// As the weights are in the end: as in the file, too, where nothing of them is packed.
std::string precisionText(Precision precision, const PlacementPlan& plan,
                          const Checkpoint& checkpoint) {
    const bool isAsInFile = !makesAny(precision, checkpoint.tensors) ||
                            (precision == Precision::Packed && !plan.usesCpu());
    const bool isStored = precision == Precision::Source || precision == Precision::Packed;
    return isStored && isAsInFile ? storedTypes(checkpoint) : std::string(keyOf(precision));
}

// Of weights that are made; empty when they are not to be kept.
Result<std::shared_ptr<WeightCache>> openWeightCache(const LoadRequest& request,
                                                     const Checkpoint& checkpoint,
                                                     std::stop_token stop) {
    if (request.weightCacheFolder.empty()) return std::shared_ptr<WeightCache>();
    std::int64_t payloadBytes = 0;
    for (const auto& [name, tensor] : checkpoint.tensors)
        if (isMade(request.precision, tensor))
            payloadBytes +=
                matrixBytes(request.precision, tensor.dtype, tensor.shape[0], tensor.shape[1]) +
                static_cast<std::int64_t>(kCachePage);
    return WeightCache::open({.folder = request.weightCacheFolder,
                              .key = weightCacheKey(checkpoint, request.precision),
                              .modelName = checkpoint.name,
                              .precision = std::string(keyOf(request.precision)),
                              .threadCount = request.threadCount,
                              .payloadBytes = payloadBytes},
                             std::move(stop));
}

// Later: in take(), where no thread can be had.
constexpr auto kBesideOrLater = std::launch::async | std::launch::deferred;

// Opens the tokenizer while the weights load, which both take a while. One that cannot be used stops
// the weights; the plan for them is made all the same, so that what is told does not depend on chance.
class TokenizerBesideWeights {
public:
    TokenizerBesideWeights(const Checkpoint& checkpoint, const std::stop_token& stop)
        : m_passOn(stop, [this] { m_weights.request_stop(); }),
          m_opened(std::async(kBesideOrLater, [this, &checkpoint] {
              auto opened = open(checkpoint);
              if (!opened) m_weights.request_stop();
              return opened;
          })) {}

    [[nodiscard]] std::stop_token weightsToken() const { return m_weights.get_token(); }
    Result<std::shared_ptr<const Tokenizer>> take() { return m_opened.get(); }

private:
    // Only one that fits the weights.
    static Result<std::shared_ptr<const Tokenizer>> open(const Checkpoint& checkpoint) {
        QLLAMA_TRY(auto tokenizer, openTokenizer(checkpoint));
        QLLAMA_TRY([[maybe_unused]] const LlamaConfig config,
                   resolveConfig(checkpoint, tokenizer->vocabularySize()));
        return tokenizer;
    }

    std::stop_source m_weights;
    std::stop_callback<std::function<void()>> m_passOn;
    std::future<Result<std::shared_ptr<const Tokenizer>>> m_opened;
};

// What is told of a loading: the bytes, and in between that a device compiles.
class ProgressTeller {
public:
    ProgressTeller(const LoadProgressSink& sink, LoadWork work) : m_sink(sink) {
        m_progress.work = work;
    }

    void count(const LoadProgress& done) {
        m_progress.doneBytes = done.doneBytes;
        m_progress.totalBytes = done.totalBytes;
        if (m_sink) m_sink(m_progress);
    }
    void compile(const std::string& deviceId) {
        m_progress.compilingDevice = deviceId;
        if (m_sink) m_sink(m_progress);
    }

private:
    const LoadProgressSink& m_sink;
    LoadProgress m_progress;
};

// Matrices that could not be packed take more than was planned for them.
void addUnpackedNote(const LoadRequest& request, ModelInfo& info) {
    if (request.precision != Precision::Packed) return;
    std::int64_t planned = -4 * info.config.dim * (2 * info.config.layerCount + 1);  // its vectors
    for (const StagePlacement& stage : info.placement.stages)
        planned += stage.weightBytes;
    if (info.weightBytes > planned)
        info.notes.push_back(
            "Matrices in which too many weights are zero or far from the others in size (bf16), or "
            "2 and more (f16), cannot be packed and stay as in the file: together " +
            std::to_string((info.weightBytes - planned + 1023) / 1024) + " KiB more than planned.");
}

void describeWeights(const LoadRequest& request, const Checkpoint& checkpoint, LoadedModel& model) {
    model.info.precision = precisionText(request.precision, model.info.placement, checkpoint);
    model.info.weightBytes = model.transformer->weightBytes();
    model.info.bytesPerToken = model.transformer->bytesPerToken();
}

void describe(const LoadRequest& request, const Checkpoint& checkpoint, LoadedModel& model) {
    ModelInfo& info = model.info;
    const Transformer& transformer = *model.transformer;
    info.name = checkpoint.name;
    info.path = request.location.model.string();
    info.parameterCount = parameterCount(checkpoint.tensors);
    info.config = transformer.config();
    describeWeights(request, checkpoint, model);
    info.device = model.backends.front()->device();
    info.threadCount = request.threadCount > 0 ? request.threadCount : physicalCoreCount();
    info.contextLength = transformer.contextLength();
    info.kvCacheBytes = transformer.kvCacheBytes();
    for (const auto& backend : model.backends)
        for (std::string& outcome : backend->tuning())
            info.tuning.push_back(std::move(outcome));
    info.notes = checkpoint.warnings;
    info.notes.insert(info.notes.end(), checkpoint.notes.begin(), checkpoint.notes.end());
    info.notes.insert(info.notes.end(), info.placement.notes.begin(), info.placement.notes.end());
    addUnpackedNote(request, info);
}

// Loads all layers again on the CPU, which may have kept them as it wants them.
Result<void> moveToCpu(LoadedModel& model, const Error& failure, std::stop_token stop) {
    LoadRequest request = model.request;
    request.device = "cpu";
    request.split.reset();
    request.deviceShare.reset();
    request.needsTokenizer = false;
    request.planMade = {};
    request.contextLength = model.info.contextLength;
    QLLAMA_TRY(auto loaded, loadModel(request, {}, std::move(stop)));
    model.transformer = std::move(loaded->transformer);  // before the backends that it borrows
    model.backends = std::move(loaded->backends);
    model.info = std::move(loaded->info);
    model.info.notes.push_back(failure.message + " All layers run on the processor from here on.");
    return {};
}

// Loads the layers of one stage again on the CPU; the other devices keep theirs.
Result<void> moveStageToCpu(LoadedModel& model, std::size_t index, const Error& failure,
                            std::stop_token stop) {
    const LoadRequest& request = model.request;
    QLLAMA_TRY(const Checkpoint checkpoint, openCheckpoint(request.location, stop));
    QLLAMA_TRY(PlacementRequest placement,
               placementFor(request, checkpoint, model.transformer->config()));
    placement.split.emplace();
    for (const StagePlacement& stage : model.info.placement.stages) {
        placement.devices.push_back(stage.device);
        placement.split->push_back(stage.layerCount);
    }
    QLLAMA_TRY(placement.devices[index], describeDevice("cpu"));
    QLLAMA_TRY(PlacementPlan plan, planPlacement(placement, checkpoint));
    std::shared_ptr<WeightCache> cache;
    if (makingOf(placement, checkpoint).isKept) {
        QLLAMA_TRY(cache, openWeightCache(request, checkpoint, stop));
    }
    if (cache && !cache->wasFound()) cache.reset();  // one stage alone is not worth keeping
    QLLAMA_TRY(auto backend,
               createBackend("cpu", {.threadCount = request.threadCount, .store = cache}));
    const StagePlacement& stage = plan.stages[index];
    QLLAMA_TRY(auto weights, loadStage(*backend, checkpoint, placement.config, placement.precision,
                                       stage.firstLayer, stage.layerCount, {}, std::move(stop)));
    QLLAMA_CHECK(model.transformer->replaceStage(index, std::move(weights)));
    model.backends[index] = std::move(backend);
    model.info.placement.stages = std::move(plan.stages);
    model.info.device = model.backends.front()->device();
    describeWeights(request, checkpoint, model);
    model.info.notes.push_back(failure.message + " Its layers run on the processor from here on.");
    return {};
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> openTokenizer(const Checkpoint& checkpoint) {
    if (!checkpoint.tokenizerPath)
        return Error{ErrorCode::NotFound,
                     "There is no tokenizer.model in " + checkpoint.folder.string() +
                         " or in the folder above it. Choose the tokenizer.model that came with "
                         "these weights.",
                     "tokenizer.model"};
    return Tokenizer::open(*checkpoint.tokenizerPath);
}

KvPrecision automaticKvPrecision(Precision precision, const TensorCatalog& tensors,
                                 const LlamaConfig& config, std::int64_t contextLength) {
    // f16 halves what attention reads at long contexts, but rounding keys and values moves logits
    // of order 10 by some thousandths. Where the f32 cache is small that price buys nothing.
    constexpr std::int64_t kSmallCacheBytes = std::int64_t{32} << 20;
    const std::int64_t wideBytes =
        2 * config.layerCount * config.kvHeadCount * config.headDim * contextLength * 4;
    if (wideBytes <= kSmallCacheBytes) return KvPrecision::F32;
    for (const auto& [name, tensor] : tensors)
        if (tensor.shape.size() == 2 && rowDType(precision, tensor.dtype) != DType::F32)
            return KvPrecision::F16;
    return KvPrecision::F32;
}

Result<PlacementPlan> planModel(const LoadRequest& request, std::stop_token stop) {
    QLLAMA_TRY(const Checkpoint checkpoint, openCheckpoint(request.location, stop));
    QLLAMA_TRY(const LlamaConfig config, resolveConfig(checkpoint, std::nullopt));
    return planModel(request, checkpoint, config);
}

Result<PlacementPlan> planModel(const LoadRequest& request, const Checkpoint& checkpoint,
                                const LlamaConfig& config) {
    QLLAMA_TRY(const PipelineRequest wanted, pipelineFor(request, checkpoint, config));
    QLLAMA_TRY(PlacementPlan plan, planPlacement(wanted.placement, checkpoint));
    addSpareNote(wanted, plan);
    plan.notes.insert(plan.notes.begin(), wanted.notes.begin(), wanted.notes.end());
    return plan;
}

Result<std::unique_ptr<LoadedModel>> loadModel(const LoadRequest& request,
                                               const LoadProgressSink& progress,
                                               std::stop_token stop) {
    const Clock::time_point start = Clock::now();
    auto model = std::make_unique<LoadedModel>();
    model->request = request;
    QLLAMA_TRY(const Checkpoint checkpoint, openCheckpoint(request.location, stop));
    if (request.needsTokenizer && !checkpoint.tokenizerPath)
        return openTokenizer(checkpoint).error();
    QLLAMA_TRY(const LlamaConfig config, resolveConfig(checkpoint, std::nullopt));
    std::optional<TokenizerBesideWeights> tokenizer;
    if (request.needsTokenizer) tokenizer.emplace(checkpoint, stop);
    QLLAMA_TRY(PipelineRequest wanted, pipelineFor(request, checkpoint, config));
    const Making making = makingOf(wanted.placement, checkpoint);
    std::shared_ptr<WeightCache> cache;
    if (making.isKept) {
        QLLAMA_TRY(cache, openWeightCache(request, checkpoint, stop));
    }
    wanted.options.store = cache;
    const auto teller = std::make_shared<ProgressTeller>(
        progress, cache && cache->wasFound() ? LoadWork::None : making.work);
    // The backends outlive the loading, and with it the teller.
    wanted.options.compiling = [weak = std::weak_ptr(teller)](const std::string& deviceId) {
        if (const auto loading = weak.lock()) loading->compile(deviceId);
    };
    const auto report = [&teller](const LoadProgress& done) { teller->count(done); };
    const std::stop_token weightsStop = tokenizer ? tokenizer->weightsToken() : stop;
    auto loaded = loadPipeline(wanted, checkpoint, report, weightsStop);
    if (loaded.ok() && cache && !cache->finish()) {
        loaded = cancelledError();  // first frees what it holds
        wanted.options.store.reset();
        loaded = loadPipeline(wanted, checkpoint, report, weightsStop);
    }
    if (tokenizer) {
        QLLAMA_TRY(model->tokenizer, tokenizer->take());
    }
    QLLAMA_TRY(Pipeline pipeline, std::move(loaded));
    model->backends = std::move(pipeline.backends);
    model->transformer = std::move(pipeline.transformer);
    model->info.placement = std::move(pipeline.plan);
    describe(request, checkpoint, *model);
    if (cache)
        model->info.notes.insert(model->info.notes.end(), cache->notes().begin(),
                                 cache->notes().end());
    model->info.loadMs = millisecondsSince(start);
    return model;
}

Result<void> leaveDevice(LoadedModel& model, const Error& failure, std::stop_token stop) {
    const auto& stages = model.info.placement.stages;
    const std::size_t failed = model.transformer->failedStage();
    const bool othersRemain = std::any_of(stages.begin(), stages.end(), [&](const auto& stage) {
        return stage.device.id != "cpu" && stage.device.id != stages[failed].device.id;
    });
    return othersRemain ? moveStageToCpu(model, failed, failure, std::move(stop))
                        : moveToCpu(model, failure, std::move(stop));
}

}  // namespace qllama
