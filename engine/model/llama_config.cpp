#include "engine/model/llama_config.h"
