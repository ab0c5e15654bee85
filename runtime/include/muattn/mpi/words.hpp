// Names of the interface's enumerators, for messages.
#pragma once

#include <string>

#include "muattn/muattn.h"

namespace muattn::mpi::detail {

inline std::string word_of(muattn_dtype dtype) {
    switch (dtype) {
    case MUATTN_FLOAT32: return "float32";
    case MUATTN_BOOL: return "bool";
    case MUATTN_FLOAT16: return "float16";
    case MUATTN_BFLOAT16: return "bfloat16";
    case MUATTN_INT8: return "int8";
    }
    return std::to_string(int(dtype));
}

inline std::string word_of(muattn_scaling scaling) {
    switch (scaling) {
    case MUATTN_SCALING_SP: return "sp";
    case MUATTN_SCALING_MUP: return "mup";
    case MUATTN_SCALING_MUP_HEADS: return "mup_heads";
    case MUATTN_SCALING_MUP_MEAN: return "mup_mean";
    case MUATTN_SCALING_UMUP: return "umup";
    }
    return std::to_string(int(scaling));
}

inline std::string word_of(muattn_causal causal) {
    switch (causal) {
    case MUATTN_CAUSAL_NONE: return "none";
    case MUATTN_CAUSAL_TOP_LEFT: return "top_left";
    case MUATTN_CAUSAL_BOTTOM_RIGHT: return "bottom_right";
    case MUATTN_CAUSAL_OFFSET: return "offset";
    }
    return std::to_string(int(causal));
}

inline std::string word_of(muattn_layout layout) {
    return layout == MUATTN_CHANNELS_LAST ? "channels_last" : "channels_first";
}

}  // namespace muattn::mpi::detail
