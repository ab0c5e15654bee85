/* A call with several tasks for each thread, whose result is known. */
#include <muattn/muattn.h>
#include <stdlib.h>

enum { call_H = 16, call_n = 96, call_d = 32 };

static inline muattn_tensor call_tensor(float *data) {
    const muattn_tensor tensor = {data, MUATTN_FLOAT32, MUATTN_CPU, {1, call_H, call_n, call_d}, {0}, 0};
    return tensor;
}

/* Equal values, whatever the weights: their mean. 0 if all is well. */
static inline int call(void) {
    const size_t count = (size_t)call_H * call_n * call_d;
    float *const memory = malloc(2 * count * sizeof(float));
    if (memory == NULL) {
        return 1;
    }
    for (size_t i = 0; i < 2 * count; i++) {
        memory[i] = 0.5f;
    }
    const muattn_tensor in = call_tensor(memory), out = call_tensor(memory + count);
    int wrong = muattn_spatial_attention_forward(&in, &in, &in, NULL, &out, NULL) != MUATTN_OK;
    for (size_t i = count; i < 2 * count; i++) {
        wrong |= !(memory[i] > 0.4999f && memory[i] < 0.5001f);
    }
    free(memory);
    return wrong;
}
