#include "engine/session/model_loader.h"
