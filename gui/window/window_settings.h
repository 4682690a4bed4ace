// Requests as they are kept in the settings file between starts.
#pragma once

#include "engine/session/generation_types.h"
#include "engine/session/model_loader.h"

class QSettings;

namespace qllama {

// Values that are missing or out of range in the file become the defaults. Prompt and id are not
// kept here.
void saveGeneration(QSettings& settings, const GenerationRequest& request);
GenerationRequest restoreGeneration(const QSettings& settings);

void saveLoad(QSettings& settings, const LoadRequest& request);
LoadRequest restoreLoad(const QSettings& settings);  // an empty model path: none was kept

}  // namespace qllama
