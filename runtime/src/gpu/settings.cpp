// What Halide's runtime reads from the environment: runtime/CMakeLists.txt sends its getenv here.
#include <cstdlib>
#include <cstring>

extern "C" const char *muattn_halide_getenv(const char *name) {
    // The user's own setting goes first.
    if (const char *value = getenv(name)) {
        return value;
    }
    // The cap that tools/muattn_tools/gpu_report assembles with; without it, 64, which spills.
    if (strcmp(name, "HL_CUDA_JIT_MAX_REGISTERS") == 0) {
        return MUATTN_CUDA_MAX_REGISTERS;
    }
    // Scalar arguments past 64 bytes do not reach a kernel from memory that is handed out in smaller multiples.
    if (strcmp(name, "HL_VK_ALLOC_CONFIG") == 0) {
        return "0:32:0:0:256";
    }
    return nullptr;
}
