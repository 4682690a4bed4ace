#include "engine/backend/device.h"
