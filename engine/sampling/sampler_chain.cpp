#include "engine/sampling/sampler.h"
