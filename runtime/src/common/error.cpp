#include "error.h"

#include <cstdarg>
#include <cstdio>

namespace muattn {
namespace {
thread_local char last_error[512];
}

muattn_status fail(muattn_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
    return status;
}

}  // namespace muattn

extern "C" {

const char *muattn_last_error(void) { return muattn::last_error; }

const char *muattn_version(void) { return MUATTN_VERSION; }

const char *muattn_status_name(muattn_status status) {
    switch (status) {
    case MUATTN_OK: return "MUATTN_OK";
    case MUATTN_INVALID_Q: return "MUATTN_INVALID_Q";
    case MUATTN_INVALID_K: return "MUATTN_INVALID_K";
    case MUATTN_INVALID_V: return "MUATTN_INVALID_V";
    case MUATTN_INVALID_OUT: return "MUATTN_INVALID_OUT";
    case MUATTN_INVALID_LSE: return "MUATTN_INVALID_LSE";
    case MUATTN_INVALID_SCALE: return "MUATTN_INVALID_SCALE";
    case MUATTN_INVALID_SCALING: return "MUATTN_INVALID_SCALING";
    case MUATTN_INVALID_OUTPUT_MULTIPLIER: return "MUATTN_INVALID_OUTPUT_MULTIPLIER";
    case MUATTN_INVALID_CAUSAL: return "MUATTN_INVALID_CAUSAL";
    case MUATTN_INVALID_WINDOW: return "MUATTN_INVALID_WINDOW";
    case MUATTN_INVALID_KEY_LENGTHS: return "MUATTN_INVALID_KEY_LENGTHS";
    case MUATTN_INVALID_MASK: return "MUATTN_INVALID_MASK";
    case MUATTN_INVALID_SOFTCAP: return "MUATTN_INVALID_SOFTCAP";
    case MUATTN_INVALID_SINK: return "MUATTN_INVALID_SINK";
    case MUATTN_INVALID_LAYOUT: return "MUATTN_INVALID_LAYOUT";
    case MUATTN_INVALID_TOKENS: return "MUATTN_INVALID_TOKENS";
    case MUATTN_INVALID_MAP: return "MUATTN_INVALID_MAP";
    case MUATTN_INVALID_D_OUT: return "MUATTN_INVALID_D_OUT";
    case MUATTN_INVALID_D_LSE: return "MUATTN_INVALID_D_LSE";
    case MUATTN_INVALID_D_MAP: return "MUATTN_INVALID_D_MAP";
    case MUATTN_INVALID_D_Q: return "MUATTN_INVALID_D_Q";
    case MUATTN_INVALID_D_K: return "MUATTN_INVALID_D_K";
    case MUATTN_INVALID_D_V: return "MUATTN_INVALID_D_V";
    case MUATTN_INVALID_D_MASK: return "MUATTN_INVALID_D_MASK";
    case MUATTN_INVALID_D_SINK: return "MUATTN_INVALID_D_SINK";
    case MUATTN_INVALID_STATS: return "MUATTN_INVALID_STATS";
    case MUATTN_INVALID_GRADIENTS: return "MUATTN_INVALID_GRADIENTS";
    case MUATTN_INVALID_BACKEND: return "MUATTN_INVALID_BACKEND";
    case MUATTN_INVALID_ARGUMENT: return "MUATTN_INVALID_ARGUMENT";
    case MUATTN_UNSUPPORTED: return "MUATTN_UNSUPPORTED";
    case MUATTN_OUT_OF_MEMORY: return "MUATTN_OUT_OF_MEMORY";
    case MUATTN_INTERNAL_ERROR: return "MUATTN_INTERNAL_ERROR";
    }
    return "unknown status";
}
}
