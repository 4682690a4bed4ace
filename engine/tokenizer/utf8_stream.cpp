#include "engine/tokenizer/utf8_stream.h"
