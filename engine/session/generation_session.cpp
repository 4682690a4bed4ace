#include "engine/session/generation_session.h"
