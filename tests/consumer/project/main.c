/* muattn.h is C: this file is compiled as C11, with every warning an error. */
#include <muattn/muattn.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    /* One query of zeros sees two keys alike: the output is the mean of the values. */
    float q[2] = {0, 0}, k[4] = {1, 2, 3, 4}, v[4] = {1, 10, 3, 30}, out[2] = {0, 0}, lse[1] = {0};
    const muattn_tensor tq = {q, MUATTN_FLOAT32, MUATTN_CPU, {1, 1, 1, 2}, {0}, 0};
    const muattn_tensor tk = {k, MUATTN_FLOAT32, MUATTN_CPU, {1, 1, 2, 2}, {0}, 0};
    const muattn_tensor tv = {v, MUATTN_FLOAT32, MUATTN_CPU, {1, 1, 2, 2}, {0}, 0};
    const muattn_tensor tout = {out, MUATTN_FLOAT32, MUATTN_CPU, {1, 1, 1, 2}, {0}, 0};
    const muattn_tensor tlse = {lse, MUATTN_FLOAT32, MUATTN_CPU, {1, 1, 1, 1}, {0}, 0};

    const muattn_status status = muattn_spatial_attention_forward(&tq, &tk, &tv, NULL, &tout, &tlse);
    if (status != MUATTN_OK) {
        fprintf(stderr, "%s: %s\n", muattn_status_name(status), muattn_last_error());
        return 1;
    }
    if (fabsf(out[0] - 2) > 1e-5f || fabsf(out[1] - 20) > 1e-4f || fabsf(lse[0] - logf(2)) > 1e-6f) {
        fprintf(stderr, "out %g %g, lse %g\n", (double)out[0], (double)out[1], (double)lse[0]);
        return 1;
    }

    const muattn_status refused = muattn_spatial_attention_forward(&tq, &tk, NULL, NULL, &tout, NULL);
    if (refused != MUATTN_INVALID_V || strlen(muattn_last_error()) == 0) {
        fprintf(stderr, "a null v gave %s\n", muattn_status_name(refused));
        return 1;
    }
    printf("muattn %s on %s\n", muattn_version(), muattn_current_backend());
    return 0;
}
