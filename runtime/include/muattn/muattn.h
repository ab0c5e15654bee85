/* muattn: spatial and channel attention for models in the maximal update parametrization (muP).
 *
 * This C header is the whole interface of the library; muattn.hpp is a thin C++ layer on it.
 *
 * Rules that hold for every function:
 *   - Nothing is printed, nothing aborts, no exception leaves the library.
 *   - MUATTN_INVALID_... names the argument that is wrong. muattn_last_error() says in words which rule it breaks. Such a
 *     call has written no output.
 *   - Memory is reserved before the work starts. If there is too little, the call fails then, and has written no output.
 *   - Functions may be called from any number of threads at once.
 *   - On one backend, the same input gives the same bits, in every run and with any number of threads. The calling thread's
 *     floating-point mode (rounding, flush-to-zero, traps) does not matter: a call sets the default mode, and restores the
 *     thread's own mode at its end.
 *   - A child of fork() may call the library as its parent does, whatever the parent's other threads were doing. A GPU is
 *     not available in the child if the parent has used it, or has only asked whether it is available.
 *
 * Notation: B batch, H query heads, Hk key/value heads, n_q queries, n_k keys, n tokens, d head dimension of Q and K,
 * d_v head dimension of V, d_base head dimension of the muP base model.
 *
 * Limits: 1 <= d, d_v <= MUATTN_MAX_D. All other sizes may be 0; a call whose output has no elements does nothing. No size
 * exceeds 2^30. Every tensor spans fewer than 2^31 elements: no product of sizes, and no size times its stride, reaches 2^31.
 *
 * Formulas of the scaling rules: Yang et al., "Tensor Programs V" (arXiv:2203.03466), and microsoft/mup, issues 17 and 18.
 */
#ifndef MUATTN_MUATTN_H
#define MUATTN_MUATTN_H

#include <stddef.h>
#include <stdint.h>

#define MUATTN_VERSION "0.1.0"
#define MUATTN_MAX_D 1024

#if defined(__GNUC__) || defined(__clang__)
#define MUATTN_API __attribute__((visibility("default")))
#else
#define MUATTN_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status ------------------------------------------------------------------------------------------------------- */

typedef enum muattn_status {
    MUATTN_OK = 0,
    MUATTN_INVALID_Q,
    MUATTN_INVALID_K, /* k, k_scale */
    MUATTN_INVALID_V, /* v, v_scale */
    MUATTN_INVALID_OUT,
    MUATTN_INVALID_LSE,
    MUATTN_INVALID_SCALE,   /* scale, scale_count */
    MUATTN_INVALID_SCALING, /* scaling, d_base, alpha, power */
    MUATTN_INVALID_OUTPUT_MULTIPLIER,
    MUATTN_INVALID_CAUSAL,
    MUATTN_INVALID_WINDOW,
    MUATTN_INVALID_KEY_LENGTHS,
    MUATTN_INVALID_MASK,
    MUATTN_INVALID_SOFTCAP,
    MUATTN_INVALID_SINK,
    MUATTN_INVALID_LAYOUT,
    MUATTN_INVALID_TOKENS,
    MUATTN_INVALID_MAP, /* map, attention_map, q_squares, k_squares */
    MUATTN_INVALID_D_OUT,
    MUATTN_INVALID_D_LSE,
    MUATTN_INVALID_D_MAP, /* d_attention_map */
    MUATTN_INVALID_D_Q,
    MUATTN_INVALID_D_K,
    MUATTN_INVALID_D_V,
    MUATTN_INVALID_D_MASK,
    MUATTN_INVALID_D_SINK,
    MUATTN_INVALID_GRADIENTS, /* gradients itself */
    MUATTN_INVALID_STATS,
    MUATTN_INVALID_BACKEND,
    MUATTN_INVALID_ARGUMENT, /* of muattn_convert(), and of functions that are not about tensors */
    MUATTN_UNSUPPORTED,      /* valid, but no kernel in this build does it */
    MUATTN_OUT_OF_MEMORY,
    MUATTN_INTERNAL_ERROR /* a kernel refused its arguments: a bug in muattn, please report it */
} muattn_status;

/* The enumerator's name, e.g. "MUATTN_INVALID_K". Never NULL. */
MUATTN_API const char *muattn_status_name(muattn_status status);

/* The message of this thread's last call that failed; "" if none has. Valid until the next failure on this thread. */
MUATTN_API const char *muattn_last_error(void);

/* ---- Tensors ------------------------------------------------------------------------------------------------------ */

typedef enum muattn_dtype {
    MUATTN_FLOAT32 = 0,
    MUATTN_BOOL,     /* one byte, 0 or not; boolean masks only */
    MUATTN_FLOAT16,  /* IEEE 754 binary16 */
    MUATTN_BFLOAT16, /* the upper half of a float32 */
    MUATTN_INT8      /* k and v of spatial attention's forward call only, with k_scale and v_scale */
} muattn_dtype;

/* Whose memory a tensor is in. It decides what the tensor's data is: a pointer, a CUdeviceptr, a VkBuffer or a cl_mem. */
typedef enum muattn_device { MUATTN_CPU = 0, MUATTN_CUDA, MUATTN_VULKAN, MUATTN_OPENCL } muattn_device;

/* A view of memory that the caller owns. shape and strides run from the outermost dimension to the innermost; strides
 * count elements.
 *   - All strides 0: a dense row-major array. (To repeat one element along every dimension of a mask, give it extent 1.)
 *   - The innermost stride must be 1, or anything if that dimension has extent 1. The other strides are free: [B,n,H,d]
 *     arrays and slices of a packed QKV array are views, not copies.
 *   - Inputs may have strides that are 0 (elements repeat) or negative. The elements of an output must be distinct, and
 *     must not overlap an input. */
typedef struct muattn_tensor {
    /* Where the elements are; aligned to their type. With offset 0 it is element [0,0,0,0]. Not read where a size is 0. */
    void *data;
    muattn_dtype dtype;
    muattn_device device;
    int64_t shape[4];
    int64_t strides[4];
    /* Elements from data to element [0,0,0,0]. For a VkBuffer or a cl_mem, which no pointer can point into. */
    int64_t offset;
} muattn_tensor;

/* ---- Scaling rules ------------------------------------------------------------------------------------------------ */

/*                     spatial s           spatial o    channel s     channel o
 * SP                  1/sqrt(d)           1            1/sqrt(n)     1
 * MUP, d_base given   sqrt(d_base)/d^p    1            1/sqrt(n)     d_base/d
 * MUP, no d_base      1/d^p               1            1/sqrt(n)     (d_base is needed)
 * MUP_HEADS           1/sqrt(d)           1            1/sqrt(n)     1
 * MUP_MEAN            (not a rule of it)               1/sqrt(n)     1
 * UMUP                1/d                 1/sigma      (not a rule of it)
 *
 * In calls every s is that times the options' alpha, and p is their power; both are 1 unless given.
 * MUP: the head dimension grows with width. At d = d_base and p = 1 it equals SP.
 * MUP_HEADS: the number of heads grows, d is fixed.
 * MUP_MEAN: as MUP, but o is 1. Each row of the channel softmax already sums to one over d, so with o = d_base/d the output
 * vanishes as width grows. A coordinate check of the model shows whether it wants MUP or MUP_MEAN.
 * UMUP: unit-scaled muP (Blake et al., arXiv:2407.17465). As MUP without d_base; sigma is the deviation of the output that the package
 * unit_scaling expects of random inputs:
 *   sigma = c^(1 - a), a = 1 / (1 + 4 d / alpha^2), c = sqrt(1/n), with any causal alignment sqrt(log(n)/n); 1 where c is 0.
 * n is n_k, whatever key_lengths, window and mask hide; d is that of q and k, where the package, whose d and d_v are one, takes d_v. */
typedef enum muattn_scaling {
    MUATTN_SCALING_SP = 0,
    MUATTN_SCALING_MUP,
    MUATTN_SCALING_MUP_HEADS,
    MUATTN_SCALING_MUP_MEAN,
    MUATTN_SCALING_UMUP
} muattn_scaling;

/* Writes the logit scale s of spatial attention, with alpha and p of 1, to *scale. d >= 1; d_base >= 1, or 0 for 'not given'.
 * Errors: MUATTN_INVALID_SCALING (not a rule of the operator, negative d_base),
 *         MUATTN_INVALID_ARGUMENT (d < 1, scale is NULL). */
MUATTN_API muattn_status muattn_spatial_scale(muattn_scaling scaling, int64_t d, int64_t d_base, double *scale);

/* Writes the logit scale s of channel attention over n >= 1 tokens to *scale: 1/sqrt(n) under every rule. Errors as above. */
MUATTN_API muattn_status muattn_channel_scale(muattn_scaling scaling, int64_t n, double *scale);

/* Writes the output multiplier o of channel attention to *multiplier. Errors as above; MUATTN_INVALID_SCALING also when
 * the rule is MUP and d_base is 0. */
MUATTN_API muattn_status muattn_channel_output_multiplier(muattn_scaling scaling, int64_t d, int64_t d_base,
                                                          double *multiplier);

/* ---- Spatial attention -------------------------------------------------------------------------------------------- */

/* Which keys a query sees: query i sees key j if j <= i + o.
 * Where n_q != n_k, both alignments are in common use, so each has its own name. */
typedef enum muattn_causal {
    MUATTN_CAUSAL_NONE = 0,
    MUATTN_CAUSAL_TOP_LEFT,     /* o = 0 */
    MUATTN_CAUSAL_BOTTOM_RIGHT, /* o = n_k - n_q; with key_lengths, key_lengths[b] - n_q */
    MUATTN_CAUSAL_OFFSET        /* o = causal_offset, or causal_offsets[b]; with a cache of p past keys, o = p */
} muattn_causal;

/* Query i sees key j if i + o - left <= j <= i + o + right. o is the offset of causal, and 0 without causal. A side that is
 * negative is open. */
typedef struct muattn_window {
    int enabled;
    int64_t left, right;
} muattn_window;

/* All zero: standard parametrization, no mask. */
typedef struct muattn_spatial_options {
    muattn_scaling scaling;
    /* 0: not given. */
    int64_t d_base;
    /* Factor on the rule's s, and p of the rule MUP, of no other: above 0; 0: 1. The s that they make must lie in 1e-37..1e38. Not
     * where scale is given. */
    double alpha, power;
    /* s itself: scale_count numbers, each 0 or of magnitude 1e-37..1e38. NULL: the rule's. With MUATTN_SCALING_UMUP, whose o
     * belongs to its s, give output_multiplier as well. */
    const float *scale;
    /* 1, or H: one number per head. */
    int64_t scale_count;
    /* o itself: 0, or of magnitude 1e-28..1e38. NULL: the rule's. */
    const float *output_multiplier;
    muattn_causal causal;
    int64_t causal_offset;
    /* [B], with MUATTN_CAUSAL_OFFSET: an offset for each batch entry, used instead of causal_offset. NULL: causal_offset. */
    const int64_t *causal_offsets;
    muattn_window window;
    /* [B], each in 0..n_k: the keys of each batch entry. Keys after these are neither read nor computed. NULL: n_k. */
    const int64_t *key_lengths;
    /* [B, H, n_q, n_k]; each dimension has its full size, or 1 (the same for all); all strides are free. NULL: none.
     * MUATTN_BOOL: a query sees a key where the mask is not 0.
     * MUATTN_FLOAT32: added to the logit; -inf, or anything below -7e37, hides the key. */
    const muattn_tensor *mask;
    /* c in 1e-20..1e20: logit -> c tanh(logit / c), before any mask. scale / c must be 0 or of magnitude 1e-37..1e38.
     * 0: none. */
    float softcap;
    /* [H]: for each head a logit that takes part in the softmax's sum and has no value (gpt-oss learns such logits); neither
     * scale, softcap nor mask concerns it. Each -inf, which is none, or in -1e37..1e37. NULL: none. */
    const float *sink;
    /* [B, Hk, n_k, 1], MUATTN_FLOAT32, innermost stride free: what each row of an int8 k and v is multiplied with. Only there, and needed there. */
    const muattn_tensor *k_scale, *v_scale;
} muattn_spatial_options;

/* Writes s and o that the rule gives a call with these options to *scale and *output_multiplier; either may be NULL. n_k may be 0. Of options
 * scaling, d_base, alpha, power and causal count; where scale or output_multiplier is given, the call uses that instead.
 * options may be NULL: all zero.
 * Errors: MUATTN_INVALID_SCALING (as muattn_spatial_scale(); alpha, power), MUATTN_INVALID_CAUSAL, MUATTN_INVALID_ARGUMENT (d < 1, n_k < 0). */
MUATTN_API muattn_status muattn_spatial_rule(const muattn_spatial_options *options, int64_t d, int64_t n_k,
                                             double *scale, double *output_multiplier);

/* out = o softmax(s Q K^T) V per head. The softmax runs over the keys that a query sees: those that causal, window,
 * key_lengths and mask all let it see.
 *
 *   q   [B, H, n_q, d]     k [B, Hk, n_k, d]     v [B, Hk, n_k, d_v]     H a multiple of Hk: query head h uses
 *   out [B, H, n_q, d_v]                                                 key/value head h / (H / Hk)
 *   lse [B, H, n_q, 1], or NULL: log(sum_j exp(logit_j)) over the keys that the query sees. The logits are those after
 *       scale, softcap and additive mask, and the head's sink, if it has one; the logarithm is natural; the innermost
 *       stride is free.
 *
 * q, k, v and out are float32, float16 or bfloat16, all of them the same; or q and out are float32, and k and v float16 or bfloat16; or k
 * and v are int8, with k_scale and v_scale. All arithmetic is float32, and out is rounded once, to nearest even. With 16 bits it is the float32
 * call's on the same numbers, rounded. lse is float32. int8 is for few queries at a time: with many, the call takes long, and memory that grows with
 * n_q n_k.
 *
 * lse does not depend on o. A query that sees no key has output 0 and lse -inf, or, rounded, the sink. With sink, out and lse are what
 * muattn_merge() makes of those without, an output of 0 and an lse of the sink. A logit below -7e37, -inf included, counts as masked; one above
 * 2.3e38 counts as infinite.
 * NaN and infinity in a key, value or mask reach the queries that see it, and no other query.
 * Scratch memory has a bound that n_q and n_k do not change: per thread, and for few queries also per batch entry and head. For few queries in
 * 16 bits it has float32 copies of those of a head, too.
 * options may be NULL: all zero. */
MUATTN_API muattn_status muattn_spatial_attention_forward(const muattn_tensor *q, const muattn_tensor *k,
                                                          const muattn_tensor *v, const muattn_spatial_options *options,
                                                          const muattn_tensor *out, const muattn_tensor *lse);

/* Where gradients of spatial attention go. NULL: not wanted. All zero: none is. */
typedef struct muattn_spatial_gradients {
    const muattn_tensor *d_q; /* [B, H, n_q, d] */
    const muattn_tensor *d_k; /* [B, Hk, n_k, d] */
    const muattn_tensor *d_v; /* [B, Hk, n_k, d_v] */
    /* [H], by each head's scale, be it the rule's, one for all heads or its own. */
    float *d_scale;
    /* Only where the call has an additive mask: in its shape, summed over what a dimension of 1 stands for. 0 where it hides a key. */
    const muattn_tensor *d_mask;
    /* [H]. Only where the call has a sink. */
    float *d_sink;
    /* One number, by o, be it the rule's or given. Not where o is 0: out does not tell it then. */
    float *d_output_multiplier;
} muattn_spatial_gradients;

/* The gradients of a loss by the inputs of muattn_spatial_attention_forward(), from its gradients by out and lse.
 *
 *   q, k, v, options  as the forward call had them
 *   out, lse          what it gave; or out and lse over more keys than k has (muattn_merge()): the gradients are then this k's
 *                     share, and those of disjoint sets of keys add up. Give the same sink and output_multiplier to each call, and
 *                     take d_sink and d_output_multiplier of one.
 *   d_out             [B, H, n_q, d_v]
 *   d_lse             [B, H, n_q, 1], or NULL: 0
 *
 * d_out has the type of out, a gradient that of what it is by; k and v are not int8. Gradients in 16 bits are summed in float32 and rounded once.
 *
 * Formulas: Dao, "FlashAttention-2" (arXiv:2307.08691), section 3.1.2; with softcap, mask, sink and d_lse
 *   D_i = d_out_i . out_i - d_lse_i,  dz_ij = exp(logit_ij - lse_i) (o d_out_i . v_j - D_i),
 *   d_mask = dz,  dt_ij = dz_ij (1 - tanh(s q_i . k_j / c)^2),  d_sink = -sum_i exp(sink - lse_i) D_i,
 *   d_q_i = s sum_j dt_ij k_j,  d_k_j = s sum_i dt_ij q_i,  d_v_j = o sum_i exp(logit_ij - lse_i) d_out_i,
 *   d_scale = sum_ij dt_ij q_i . k_j,  d_output_multiplier = sum_i d_out_i . out_i / o.
 * A query that sees no key has gradient 0, and so has a key that no query sees. NaN and infinity in a query, in its d_out, d_lse, out
 * or lse, or in a key or value reach the gradients of what sees them, and no other. Gradients are distinct from each other and from all inputs.
 * Scratch memory has a bound that n_q and n_k do not change, but for gradients in 16 bits: with more queries than are taken at a time, 16384
 * of a group of heads at most, it holds d_k and d_v in float32, and where d_scale is wanted d_q. Processors only: on a GPU MUATTN_UNSUPPORTED. Errors name the argument;
 * nothing has been written then. */
MUATTN_API muattn_status muattn_spatial_attention_backward(const muattn_tensor *q, const muattn_tensor *k,
                                                           const muattn_tensor *v, const muattn_tensor *out,
                                                           const muattn_tensor *lse, const muattn_tensor *d_out,
                                                           const muattn_tensor *d_lse,
                                                           const muattn_spatial_options *options,
                                                           const muattn_spatial_gradients *gradients);

/* What the logits of muattn_spatial_attention_forward() are like, which a fused kernel shows nobody: in a model of muP they stay of the same
 * size as width grows, and where a scale is wrong they are what grows first.
 *
 *   q, k, options  as the forward call has them; v is not needed
 *   stats          [B, H, 1, 4], per batch entry and head: mean |logit|; the root of the mean square; the greatest logit; the mean of the
 *                  rows' entropies, in nats
 *
 * Logits are those after scale and softcap, before a mask is added, of all pairs of a query and a key that it sees. A row's entropy is that of
 * the softmax of these logits over its visible keys, without additive mask and sink: log(visible keys) where all are alike, 0 where one key has
 * all weight. An additive mask hides a key as in the forward call, below -7e37; one of -1e4 hides none. A logit below -7e37 counts as hidden.
 * Rows that see no key count for nothing; where all are such, or there are none: 0, 0, -inf, 0. NaN in a visible logit makes all four NaN. Sums over
 * rows are in double; a logit above 1.8e19 makes the root of the mean square infinite.
 * Takes about as long as the forward call; with one query, or few, to a head several times as long. Processors only: on a GPU
 * MUATTN_UNSUPPORTED. Errors name the argument; nothing has been written then. */
MUATTN_API muattn_status muattn_spatial_logit_stats(const muattn_tensor *q, const muattn_tensor *k,
                                                    const muattn_spatial_options *options, const muattn_tensor *stats);

/* Merges two results over disjoint sets of keys. With lse as above, out and lse become those of one call over both sets.
 *
 *   out_a, out_b, out  [B, H, n_q, d_v], of one type     lse_a, lse_b, lse  [B, H, n_q, 1], float32
 *
 * causal and window count keys from the start of the k of their own call. So the call for the keys from p on needs
 * MUATTN_CAUSAL_OFFSET with the whole call's offset minus p, not an alignment. Where key_lengths make the offset differ
 * between batch entries, give one for each (causal_offsets).
 * Give sink to one of the calls only: it would count once for each. Give the same output_multiplier to both: a rule's may depend on n_k.
 * A result with lse -inf counts for nothing, whatever it holds. Errors: MUATTN_INVALID_OUT and MUATTN_INVALID_LSE; the
 * message names the argument. */
MUATTN_API muattn_status muattn_merge(const muattn_tensor *out_a, const muattn_tensor *lse_a,
                                      const muattn_tensor *out_b, const muattn_tensor *lse_b, const muattn_tensor *out,
                                      const muattn_tensor *lse);

/* ---- Channel attention -------------------------------------------------------------------------------------------- */

typedef enum muattn_layout {
    MUATTN_CHANNELS_LAST = 0, /* [B, H, n, d] */
    MUATTN_CHANNELS_FIRST     /* [B, H, d, n] */
} muattn_layout;

/* All zero: standard parametrization, channels last, no normalisation. */
typedef struct muattn_channel_options {
    muattn_scaling scaling;
    /* 0: not given. */
    int64_t d_base;
    /* Factor on the rule's s: above 0; 0: 1. The s that it makes must lie in the range of scale. Not where scale is given. */
    double alpha;
    /* s itself: scale_count numbers, each 0 or of magnitude 1e-37..1e38, with normalize 1e-37..1e25. NULL: the rule's. */
    const float *scale;
    /* 1, or H: one number per head. */
    int64_t scale_count;
    /* o itself: 0, or of magnitude 1e-34..1e38. NULL: the rule's. */
    const float *output_multiplier;
    /* Not 0: each channel of Q and K is first divided by max(its L2 norm over tokens, 1e-12), as XCiT and Restormer do.
     * Then give scale: the learned temperature. Squares are summed in float32: a norm above 1.8e19 counts as infinite. */
    int normalize;
    /* Of q, k, v and out. */
    muattn_layout layout;
    /* The tokens that the rule's s = 1/sqrt(n) counts, where the arrays hold only some of them (muattn_channel_apply()).
     * 0: those of the arrays. */
    int64_t tokens;
} muattn_channel_options;

/* out = o (softmax(s Q^T K) V^T)^T per head. The map softmax(...) is d x d, over channels; the softmax runs over its second
 * index:
 *   out[t, i] = o sum_j softmax_j(s sum_u Q[u, i] K[u, j]) V[t, j].
 *
 *   q, k, v, out  [B, H, n, d], or [B, H, d, n] when channels come first; 1 <= d <= MUATTN_MAX_D, any n; float32, float16 or
 *                 bfloat16, all of them the same
 *
 * All arithmetic is float32; out in 16 bits is rounded once. With channels last these take float32 copies of one head at least.
 * options may be NULL: all zero. */
MUATTN_API muattn_status muattn_channel_attention_forward(const muattn_tensor *q, const muattn_tensor *k,
                                                          const muattn_tensor *v, const muattn_channel_options *options,
                                                          const muattn_tensor *out);

/* The map's logits without their scale, and without norms: map[i, j] = sum_u Q[u, i] K[u, j]. Maps, and squares, of disjoint sets of
 * tokens add up: tokens may be spread over machines, and muattn_channel_apply() goes on from the sum.
 *
 *   q, k                  as in muattn_channel_attention_forward(); of options normalize and layout count
 *   map                   [B, H, d, d], rows i: channels of q; maps and squares are float32
 *   q_squares, k_squares  [B, H, d, 1], with normalize: sum_u Q[u, i]^2 and sum_u K[u, j]^2; NULL without it. The innermost
 *                         stride is free.
 *
 * This and all functions for halves: processors only; on a GPU MUATTN_UNSUPPORTED. */
MUATTN_API muattn_status muattn_channel_map(const muattn_tensor *q, const muattn_tensor *k,
                                            const muattn_channel_options *options, const muattn_tensor *map,
                                            const muattn_tensor *q_squares, const muattn_tensor *k_squares);

/* The rest of muattn_channel_attention_forward(), from the map on: out[t, i] = o sum_j softmax_j(s map[i, j]) V[t, j], with normalize
 * of map[i, j] / (max(|Q_i|, 1e-12) max(|K_j|, 1e-12)).
 *
 *   map, q_squares, k_squares  as muattn_channel_map() gives them, or the sums of several
 *   v, out                     as in muattn_channel_attention_forward(). Give options.tokens, or scale, where v has not all tokens.
 *   attention_map              [B, H, d, d], or NULL: softmax_j(...) itself */
MUATTN_API muattn_status muattn_channel_apply(const muattn_tensor *map, const muattn_tensor *q_squares,
                                              const muattn_tensor *k_squares, const muattn_tensor *v,
                                              const muattn_channel_options *options, const muattn_tensor *out,
                                              const muattn_tensor *attention_map);

/* What the logits of muattn_channel_attention_forward() are like: s Q^T K, with normalize of normalised channels, d x d of them per batch entry
 * and head, all of which are visible. Otherwise as muattn_spatial_logit_stats().
 *
 *   q, k, options  as the forward call has them
 *   stats          [B, H, 1, 4] */
MUATTN_API muattn_status muattn_channel_logit_stats(const muattn_tensor *q, const muattn_tensor *k,
                                                    const muattn_channel_options *options, const muattn_tensor *stats);

/* Where gradients of channel attention go. NULL: not wanted. All zero: none is. */
typedef struct muattn_channel_gradients {
    const muattn_tensor *d_q, *d_k, *d_v; /* like q, k and v */
    /* [H], by each head's scale, be it the rule's, one for all heads or its own. */
    float *d_scale;
    /* One number. */
    float *d_output_multiplier;
} muattn_channel_gradients;

/* The gradients of a loss by the inputs of muattn_channel_attention_forward(), from its gradient by out.
 *
 *   q, k, v, options  as the forward call had them
 *   d_out             like out
 *   attention_map     [B, H, d, d], what muattn_channel_apply() gave: saves a product over all tokens, unless d_scale is wanted.
 *                     NULL: it is computed again. Not with normalize, where the logits themselves are needed: to save the product
 *                     there, call the two halves.
 *
 * With x, y: Q and K or, with normalize, these divided by their norms; A the attention map:
 *   dA_ij = o sum_t d_out[t, i] V[t, j],  dz_ij = A_ij (dA_ij - sum_j A_ij dA_ij),
 *   dx_i = s sum_j dz_ij y_j,  dy_j = s sum_i dz_ij x_i,  d_v[t, j] = o sum_i d_out[t, i] A_ij,
 *   d_scale = sum_ij dz_ij x_i . y_j,  d_output_multiplier = sum_ij A_ij dA_ij / o,
 *   and with normalize d_q_i = (dx_i - x_i (x_i . dx_i)) / |Q_i|, or dx_i / 1e-12 where |Q_i| is below 1e-12; so for k.
 * Gradients are distinct from each other and from all inputs. Processors only: on a GPU MUATTN_UNSUPPORTED. */
MUATTN_API muattn_status muattn_channel_attention_backward(const muattn_tensor *q, const muattn_tensor *k,
                                                           const muattn_tensor *v, const muattn_tensor *d_out,
                                                           const muattn_tensor *attention_map,
                                                           const muattn_channel_options *options,
                                                           const muattn_channel_gradients *gradients);

/* The same in two halves, for tokens that are spread over machines: muattn_channel_apply() backwards on each, the sum of all
 * d_attention_map, then muattn_channel_map() backwards on each.
 *
 *   map, q_squares, k_squares, options  as muattn_channel_apply() had them: of all tokens, options.tokens or scale too
 *   d_attention_map  [B, H, d, d]: sum_t d_out[t, i] V[t, j], before the output multiplier; NULL: not wanted
 *   d_v              like v; NULL: not wanted */
MUATTN_API muattn_status muattn_channel_apply_backward(const muattn_tensor *map, const muattn_tensor *q_squares,
                                                       const muattn_tensor *k_squares, const muattn_tensor *v,
                                                       const muattn_tensor *d_out,
                                                       const muattn_channel_options *options,
                                                       const muattn_tensor *d_attention_map, const muattn_tensor *d_v);
/* map, q_squares, k_squares, options as above; d_attention_map is the sum. gradients: d_q and d_k of this call's tokens; d_scale and
 * d_output_multiplier of all, the same on each machine: do not add them up. d_v is NULL. */
MUATTN_API muattn_status muattn_channel_map_backward(const muattn_tensor *q, const muattn_tensor *k,
                                                     const muattn_tensor *map, const muattn_tensor *q_squares,
                                                     const muattn_tensor *k_squares,
                                                     const muattn_tensor *d_attention_map,
                                                     const muattn_channel_options *options,
                                                     const muattn_channel_gradients *gradients);

/* ---- Checks ------------------------------------------------------------------------------------------------------- */

/* Whether a call's arguments are right, for programs that exchange data with other machines before the call and must know beforehand that it
 * will be taken. Each takes the arguments of the function of its name, and returns what that returns for a wrong one, with the same
 * muattn_last_error(); else MUATTN_OK. No element of a tensor is read, and nothing is written; muattn_last_kernel() stays. They do not look for
 * kernels, devices and memory: the call itself may still end with MUATTN_UNSUPPORTED, MUATTN_INVALID_BACKEND or MUATTN_OUT_OF_MEMORY. A small
 * library without gradients, or for one head dimension, refuses the others here as there: MUATTN_UNSUPPORTED. */
MUATTN_API muattn_status muattn_spatial_attention_forward_check(const muattn_tensor *q, const muattn_tensor *k,
                                                                const muattn_tensor *v,
                                                                const muattn_spatial_options *options,
                                                                const muattn_tensor *out, const muattn_tensor *lse);
MUATTN_API muattn_status muattn_spatial_attention_backward_check(const muattn_tensor *q, const muattn_tensor *k,
                                                                 const muattn_tensor *v, const muattn_tensor *out,
                                                                 const muattn_tensor *lse, const muattn_tensor *d_out,
                                                                 const muattn_tensor *d_lse,
                                                                 const muattn_spatial_options *options,
                                                                 const muattn_spatial_gradients *gradients);
MUATTN_API muattn_status muattn_channel_attention_forward_check(const muattn_tensor *q, const muattn_tensor *k,
                                                                const muattn_tensor *v,
                                                                const muattn_channel_options *options,
                                                                const muattn_tensor *out);
MUATTN_API muattn_status muattn_channel_attention_backward_check(const muattn_tensor *q, const muattn_tensor *k,
                                                                 const muattn_tensor *v, const muattn_tensor *d_out,
                                                                 const muattn_tensor *attention_map,
                                                                 const muattn_channel_options *options,
                                                                 const muattn_channel_gradients *gradients);

/* ---- Element types ------------------------------------------------------------------------------------------------ */

/* Writes the elements of from to to, which has the same shape. Both are float32, float16 or bfloat16, at least one of them float32: 16 bits
 * become float32 exactly, float32 is rounded once, to nearest even, and float32 to float32 is a copy. NaN stays NaN.
 * Sizes are limited as every tensor's are; MUATTN_MAX_D is no limit here. Processors only: on a GPU MUATTN_UNSUPPORTED. The message of
 * MUATTN_INVALID_ARGUMENT names from or to. */
MUATTN_API muattn_status muattn_convert(const muattn_tensor *from, const muattn_tensor *to);

/* ---- Backends ----------------------------------------------------------------------------------------------------- */

/* The backends of this build, best first, e.g. "cpu:avx512", "cpu:avx2", "cpu:sse41". name is NULL past the end. */
MUATTN_API int muattn_backend_count(void);
MUATTN_API const char *muattn_backend_name(int index);
/* 1 if this machine can run it. */
MUATTN_API int muattn_backend_available(int index);
/* From now on all calls of the process use this backend; NULL: the best available one again.
 * "cpu:sve..." and "cpu:rvv_..." pass calls with negative strides on to the next backend.
 * Errors: MUATTN_INVALID_BACKEND (unknown, or not for this machine; the message lists the names). */
MUATTN_API muattn_status muattn_force_backend(const char *name);
/* The backend that the next call uses; "" if this machine runs none. */
MUATTN_API const char *muattn_current_backend(void);

/* The kernels of this build, "operation/direction/dtype/algorithm/backend". Features follow the algorithm, a '+' before each:
 * "spatial_attention/forward/float32/general+mask=additive+lse/cpu:avx2". docs/design.md has the grammar. NULL past the end. */
MUATTN_API int muattn_kernel_count(void);
MUATTN_API const char *muattn_kernel_name(int index);
/* The kernel that this thread's last successful call ran, of several the one that docs/design.md says; "" if that call had
 * nothing to do, or there was none. */
MUATTN_API const char *muattn_last_kernel(void);

MUATTN_API const char *muattn_version(void);

/* ---- GPUs --------------------------------------------------------------------------------------------------------- */

/* The backends "cuda", "vulkan" and "opencl" are the last in the list.
 * A call with tensors in the memory of a device runs on that device; all its tensors must be there, and none is copied. It
 * returns as soon as its work is in the device's queue.
 * A call with tensors of the host runs on the processor. Only if a GPU is forced does it run there: its tensors are copied to
 * the GPU and back, and it returns when its outputs are written.
 * The arrays in options (scale, key_lengths, causal_offsets) are always in the host's memory. */

/* Where a device's work goes. Handles of the driver; NULL: the library's choice. */
typedef struct muattn_queue {
    void *context; /* CUcontext; cl_context; VkDevice */
    void *queue;   /* CUstream; cl_command_queue (in order); VkQueue */
    void *vulkan_instance, *vulkan_physical_device;
    uint32_t vulkan_queue_family;
} muattn_queue;

/* Where this thread's calls on the device go from now on. NULL: the library's choice again:
 *   CUDA            the default stream of the thread's current context, or, without one, of the context of the call's tensors
 *   OpenCL, Vulkan  a queue of the library's own
 * An OpenCL context and queue are given together. Vulkan always runs on the library's own device: muattn_get_queue gives its
 * handles, to make buffers with.
 * Errors: MUATTN_INVALID_ARGUMENT (no GPU, half a pair), MUATTN_UNSUPPORTED (Vulkan). */
MUATTN_API muattn_status muattn_set_queue(muattn_device device, const muattn_queue *queue);
/* Where they go now. Opens the device, if nothing has yet. Errors: MUATTN_INVALID_BACKEND if there is no such device,
 * MUATTN_INTERNAL_ERROR if it cannot be opened. */
MUATTN_API muattn_status muattn_get_queue(muattn_device device, muattn_queue *queue);

/* ---- Threads and memory ------------------------------------------------------------------------------------------- */

/* The number of threads that a call may use, the calling thread included. At first it is that of the environment variable
 * MUATTN_NUM_THREADS, else of OMP_NUM_THREADS, else the number of processors that the process may run on: those of its
 * affinity mask, but at most its CPU quota, rounded up (control groups of Linux, as a container has them). A variable that
 * is not a number of at least 1 counts as not set; a number above 256 counts as 256.
 * The library makes its threads when a call first needs them. They take no signals (POSIX).
 * Errors: MUATTN_INVALID_ARGUMENT unless 1 <= n <= 256. */
MUATTN_API muattn_status muattn_set_num_threads(int n);
MUATTN_API int muattn_get_num_threads(void);

/* Runs task(context, index) for every index in 0..count-1, in any order and on any threads, and returns when all are done.
 * If more tasks than muattn_get_num_threads() run at once, some wait for scratch memory. A task runs in the default
 * floating-point mode, and restores that of its thread. */
typedef void (*muattn_task)(void *context, int index);
typedef void (*muattn_parallel_for)(void *user, int count, muattn_task task, void *context);
/* Calls use the caller's thread pool instead of the library's; NULL: the library's own again. Not while a call is running. */
MUATTN_API void muattn_set_parallel_for(muattn_parallel_for parallel_for, void *user);
/* Calls use the threads of an OpenMP runtime (GNU's, LLVM's, Intel's) that this process has loaded already, as a program does that is
 * compiled with OpenMP, or Python with PyTorch: two pools would take turns waiting for each other's threads. library: the file
 * name of a loaded library whose runtime it shall be, as "libtorch_cpu.so"; NULL: the first that is found.
 * muattn_get_num_threads() is then omp_get_max_threads() of the calling thread, 1 in a parallel region, and at most what
 * muattn_set_num_threads() was told. A child of fork(), where such a runtime has no threads, runs on as many of the library's own.
 * Undone by muattn_set_parallel_for(NULL, NULL). Not while a call is running.
 * Errors: MUATTN_UNSUPPORTED, and nothing has changed: there is none (on Windows and WebAssembly, always). */
MUATTN_API muattn_status muattn_use_openmp(const char *library);

/* All memory comes from here. allocate returns size bytes aligned to alignment (a power of two), or NULL.
 * Both NULL: the library's own again. Memory that the library has kept is freed. Not while a call is running.
 * Errors: MUATTN_INVALID_ARGUMENT if exactly one of them is NULL. */
typedef void *(*muattn_allocate)(void *user, size_t size, size_t alignment);
typedef void (*muattn_deallocate)(void *user, void *pointer);
MUATTN_API muattn_status muattn_set_allocator(muattn_allocate allocate, muattn_deallocate deallocate, void *user);

/* Gives scratch memory back. Between calls the library keeps as much as the calls that ran at the same time needed.
 * Unloading the library (dlclose) also gives it back, and ends the library's threads; but while an allocator of yours is
 * set (muattn_set_allocator), call this before you unload the library. */
MUATTN_API void muattn_release_memory(void);
/* Bytes of scratch memory kept at the moment, in use or not. */
MUATTN_API size_t muattn_scratch_bytes(void);
/* For tests: fill scratch memory with signalling NaN before every use. */
MUATTN_API void muattn_set_scratch_poison(int enabled);

#ifdef __cplusplus
}
#endif

#endif
