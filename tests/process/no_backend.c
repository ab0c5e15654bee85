/* On a processor that lacks what every backend of the build takes: no backend is available, and calls say so. */
#include <stdio.h>
#include <string.h>

#include "call.h"

int main(void) {
    float x[1] = {0}, out[1] = {0};
    const muattn_tensor in = {x, MUATTN_FLOAT32, MUATTN_CPU, {1, 1, 1, 1}, {0}, 0};
    const muattn_tensor to = {out, MUATTN_FLOAT32, MUATTN_CPU, {1, 1, 1, 1}, {0}, 0};
    for (int i = 0; i < muattn_backend_count(); i++) {
        const char *const name = muattn_backend_name(i);
        if (muattn_backend_available(i) || muattn_force_backend(name) != MUATTN_INVALID_BACKEND ||
            strstr(muattn_last_error(), "lacks instructions") == NULL) {
            fprintf(stderr, "%s: %s\n", name, muattn_last_error());
            return 1;
        }
        puts(muattn_last_error());
    }
    for (int device = MUATTN_CUDA; device <= MUATTN_OPENCL; device++) {
        muattn_queue queue;
        if (muattn_get_queue((muattn_device)device, &queue) == MUATTN_OK) {
            return 1;
        }
        puts(muattn_last_error());
    }
    if (muattn_spatial_attention_forward(&in, &in, &in, NULL, &to, NULL) != MUATTN_UNSUPPORTED ||
        muattn_current_backend()[0] != 0) {
        return 1;
    }
    puts(muattn_last_error());
    muattn_release_memory();
    return 0;
}
