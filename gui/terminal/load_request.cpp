#include "gui/terminal/load_request.h"

#include "engine/quant/weight_cache.h"
#include "gui/demo_model.h"

namespace qllama {

Result<LoadRequest> completeLoadRequest(const CommandLine& commandLine) {
    LoadRequest load = commandLine.load;
    load.weightCacheFolder = defaultWeightCacheFolder();
    if (commandLine.hasModel) return load;
    const auto demo = demoModelFolder();
    if (!demo)
        return Error{ErrorCode::NotFound,
                     "The demo model was not found: name a model with --model PATH.",
                     {}};
    load.location.model = *demo;
    return load;
}

}  // namespace qllama
