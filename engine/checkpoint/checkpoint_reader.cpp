#include "engine/checkpoint/checkpoint_reader.h"
