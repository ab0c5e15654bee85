/* One head of dimension 64, one operator: what the smallest library is for. */
#include <muattn/muattn.h>

#include <math.h>
#include <stdio.h>

enum { n = 5, d = 64 };

int main(void) {
    /* All queries and keys are alike, so every output is the mean of the values. */
    static float q[n * d], v[n * d], out[n * d];
    for (int i = 0; i < n * d; i++) {
        v[i] = (float)(i / d);
    }
    const muattn_tensor tq = {q, MUATTN_FLOAT32, MUATTN_CPU, {1, 1, n, d}, {0}};
    const muattn_tensor tv = {v, MUATTN_FLOAT32, MUATTN_CPU, {1, 1, n, d}, {0}};
    const muattn_tensor tout = {out, MUATTN_FLOAT32, MUATTN_CPU, {1, 1, n, d}, {0}};
    if (muattn_spatial_attention_forward(&tq, &tq, &tv, NULL, &tout, NULL) != MUATTN_OK) {
        fprintf(stderr, "%s\n", muattn_last_error());
        return 1;
    }
    printf("mean %g on %s\n", (double)out[d], muattn_current_backend());
    return fabsf(out[d] - 2) < 1e-5f ? 0 : 1;
}
