/* muattn: spatial and channel attention for models in the maximal update parametrization (muP).
 *
 * This C header is the whole interface of the library; muattn.hpp is a thin C++ layer on it.
 *
 * Rules that hold for every function:
 *   - Nothing is printed, nothing aborts, no exception leaves the library.
 *   - MUATTN_INVALID_... names the argument at fault; muattn_last_error() gives the rule that was broken, in words. No
 *     output has been written then, nor where memory runs out before the work starts, which is when it is reserved.
 *   - Functions may be called from any number of threads at once. The same input gives the same bits, whatever the
 *     number of threads and from run to run, as long as the backend is the same. Rounding, flush-to-zero and traps of the
 *     calling thread count for nothing: a call sets the default floating-point mode, and the thread's own again at its end.
 *   - A child of fork() may call like its parent, whatever the parent's other threads were doing. GPUs that the parent
 *     has asked about, if only whether they are available, are not available in the child.
 *
 * Notation: B batch, H query heads, Hk key/value heads, n_q queries, n_k keys, n tokens, d head dimension of Q and K,
 * d_v head dimension of V, d_base head dimension of the muP base model. Limits: 1 <= d, d_v <= MUATTN_MAX_D; all other sizes
 * begin at 0, and a call whose output has no elements does nothing. Every tensor spans fewer than 2^31 elements: no product of
 * sizes, and no size times its stride, reaches 2^31, and no size exceeds 2^30.
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
    MUATTN_INVALID_K,
    MUATTN_INVALID_V,
    MUATTN_INVALID_OUT,
    MUATTN_INVALID_LSE,
    MUATTN_INVALID_SCALE,   /* scale, scale_count */
    MUATTN_INVALID_SCALING, /* scaling, d_base */
    MUATTN_INVALID_OUTPUT_MULTIPLIER,
    MUATTN_INVALID_CAUSAL,
    MUATTN_INVALID_WINDOW,
    MUATTN_INVALID_KEY_LENGTHS,
    MUATTN_INVALID_MASK,
    MUATTN_INVALID_SOFTCAP,
    MUATTN_INVALID_LAYOUT,
    MUATTN_INVALID_BACKEND,
    MUATTN_INVALID_ARGUMENT, /* of a function that is not about tensors */
    MUATTN_UNSUPPORTED,      /* valid, but no kernel in this build does it */
    MUATTN_OUT_OF_MEMORY,
    MUATTN_INTERNAL_ERROR /* a kernel refused its arguments: a bug in muattn, please report it */
} muattn_status;

/* The enumerator's name, e.g. "MUATTN_INVALID_K". Never NULL. */
MUATTN_API const char *muattn_status_name(muattn_status status);

/* The message of the last call on this thread that failed; "" if none has. Valid until the next failure on this thread. */
MUATTN_API const char *muattn_last_error(void);

/* ---- Tensors ------------------------------------------------------------------------------------------------------ */

typedef enum muattn_dtype {
    MUATTN_FLOAT32 = 0,
    MUATTN_BOOL /* one byte, 0 or not; boolean masks only */
} muattn_dtype;

/* Whose memory a tensor is in, and with it what its data is: a pointer, a CUdeviceptr, a VkBuffer, a cl_mem. */
typedef enum muattn_device { MUATTN_CPU = 0, MUATTN_CUDA, MUATTN_VULKAN, MUATTN_OPENCL } muattn_device;

/* A view of memory that the caller owns. shape and strides run from the outermost dimension to the innermost; strides
 * count elements. All-zero strides mean a dense row-major array (so one element repeated
 * along every dimension is not written with them: give a mask extent 1). The innermost stride must be 1 (any, where that
 * dimension has extent 1); the others are free, so [B,n,H,d] arrays and slices of a packed QKV array are views, not
 * copies. Inputs may repeat elements (stride 0 or negative), outputs must not repeat any and must not overlap an input. */
typedef struct muattn_tensor {
    void *data; /* element [0,0,0,0], but for offset; aligned to its type; anything where a size is 0 */
    muattn_dtype dtype;
    muattn_device device;
    int64_t shape[4];
    int64_t strides[4];
    int64_t
        offset; /* elements from data to element [0,0,0,0]: for a VkBuffer or cl_mem, into which no pointer points */
} muattn_tensor;

/* ---- Scaling rules ------------------------------------------------------------------------------------------------ */

/*                     spatial s                        channel s     channel o
 * SP                  1/sqrt(d)                        1/sqrt(n)     1
 * MUP, d_base given   sqrt(d_base)/d                   1/sqrt(n)     d_base/d
 * MUP, no d_base      1/d                              1/sqrt(n)     (d_base is needed)
 * MUP_HEADS           1/sqrt(d)                        1/sqrt(n)     1
 * MUP_MEAN            (not a rule of it)               1/sqrt(n)     1
 *
 * MUP: the head dimension grows with width. At d = d_base it equals SP. MUP_HEADS: the number of heads grows, d is fixed.
 * MUP_MEAN: as MUP, without the channel division: rows of the channel softmax already sum to one over d, so with
 * o = d_base/d the output vanishes with width. Which of the two a model wants, its coordinate check shows. */
typedef enum muattn_scaling {
    MUATTN_SCALING_SP = 0,
    MUATTN_SCALING_MUP,
    MUATTN_SCALING_MUP_HEADS,
    MUATTN_SCALING_MUP_MEAN
} muattn_scaling;

/* The logit scale s of spatial attention, to *scale. d >= 1; d_base >= 1, or 0 for 'not given'.
 * Errors: MUATTN_INVALID_SCALING (not a rule of the operator, negative d_base), MUATTN_INVALID_ARGUMENT (d < 1, scale is NULL). */
MUATTN_API muattn_status muattn_spatial_scale(muattn_scaling scaling, int64_t d, int64_t d_base, double *scale);

/* The logit scale s of channel attention over n >= 1 tokens, to *scale: 1/sqrt(n) under every rule. Errors as above. */
MUATTN_API muattn_status muattn_channel_scale(muattn_scaling scaling, int64_t n, double *scale);

/* The output multiplier o of channel attention, to *multiplier. Errors as above; MUATTN_INVALID_SCALING also when the
 * rule is MUP and d_base is 0. */
MUATTN_API muattn_status muattn_channel_output_multiplier(muattn_scaling scaling, int64_t d, int64_t d_base,
                                                          double *multiplier);

/* ---- Spatial attention -------------------------------------------------------------------------------------------- */

/* Which keys a query sees: key j is visible to query i if j <= i + o.
 * With n_q != n_k both alignments are in use in the field, so each has its name. */
typedef enum muattn_causal {
    MUATTN_CAUSAL_NONE = 0,
    MUATTN_CAUSAL_TOP_LEFT,     /* o = 0 */
    MUATTN_CAUSAL_BOTTOM_RIGHT, /* o = n_k - n_q; with key_lengths, key_lengths[b] - n_q */
    MUATTN_CAUSAL_OFFSET        /* o = causal_offset, or causal_offsets[b]; with a cache of p past keys, o = p */
} muattn_causal;

/* i + o - left <= j <= i + o + right, where o is causal's offset and 0 when not causal. A negative side is open. */
typedef struct muattn_window {
    int enabled;
    int64_t left, right;
} muattn_window;

/* Zero-initialised it means: standard parametrization, no mask. */
typedef struct muattn_spatial_options {
    muattn_scaling scaling;
    int64_t d_base;      /* 0: not given */
    const float *scale;  /* overrides the rule: scale_count numbers, 0 or of magnitude 1e-37..1e38; NULL: the rule's */
    int64_t scale_count; /* 1, or H: one number per head */
    muattn_causal causal;
    int64_t causal_offset;
    const int64_t *causal_offsets; /* [B], with MUATTN_CAUSAL_OFFSET: in causal_offset's place; NULL: causal_offset */
    muattn_window window;
    const int64_t *key_lengths; /* [B], each in 0..n_k: keys from there on are neither read nor computed; NULL: n_k */
    const muattn_tensor
        *mask;     /* [B, H, n_q, n_k], each dimension full or 1 (the same for all), all strides free; NULL: none.
                                    MUATTN_BOOL: a query sees a key where it is not 0. MUATTN_FLOAT32: added to the logit;
                                    -inf, or anything below -7e37, hides the key. */
    float softcap; /* c in 1e-20..1e20: logit -> c tanh(logit / c), before any mask; 0: none. scale / c is 0 or of
                      magnitude 1e-37..1e38 */
} muattn_spatial_options;

/* out = softmax(s Q K^T) V per head, softmax over the keys that a query sees: those that causal, window, key_lengths and
 * mask all let it see.
 *
 *   q   [B, H, n_q, d]     k [B, Hk, n_k, d]     v [B, Hk, n_k, d_v]     H a multiple of Hk: query head h uses
 *   out [B, H, n_q, d_v]                                                 key/value head h / (H / Hk)
 *   lse [B, H, n_q, 1], or NULL: log(sum_j exp(logit_j)) over the keys that the query sees, the logits after scale,
 *       softcap and additive mask; natural logarithm; its innermost stride is free.
 *
 * A query that sees no key has output 0 and lse -inf. A logit below -7e37, -inf included, is as good as masked,
 * one above 2.3e38 counts as infinite.
 * NaN and infinity in a key, value or mask that a query does not see do not reach it; in one that it sees, they do.
 * Scratch memory is bounded whatever n_q and n_k: per thread, and for few queries also per batch entry and head.
 * options may be NULL (all zero). */
MUATTN_API muattn_status muattn_spatial_attention_forward(const muattn_tensor *q, const muattn_tensor *k,
                                                          const muattn_tensor *v, const muattn_spatial_options *options,
                                                          const muattn_tensor *out, const muattn_tensor *lse);

/* Merges two results over disjoint sets of keys: with lse as above, out and lse become those of one call over both sets.
 *
 *   out_a, out_b, out  [B, H, n_q, d_v]     lse_a, lse_b, lse  [B, H, n_q, 1]
 *
 * causal and window count keys from the start of the k of their call: for the part that starts at key p give
 * MUATTN_CAUSAL_OFFSET with the whole call's offset minus p, of each batch entry (causal_offsets) where
 * key_lengths make it differ, not an alignment of the part.
 * A result with lse -inf counts for nothing, whatever it holds. Errors: MUATTN_INVALID_OUT and MUATTN_INVALID_LSE, the
 * message names the argument. */
MUATTN_API muattn_status muattn_merge(const muattn_tensor *out_a, const muattn_tensor *lse_a,
                                      const muattn_tensor *out_b, const muattn_tensor *lse_b, const muattn_tensor *out,
                                      const muattn_tensor *lse);

/* ---- Channel attention -------------------------------------------------------------------------------------------- */

typedef enum muattn_layout {
    MUATTN_CHANNELS_LAST = 0, /* [B, H, n, d] */
    MUATTN_CHANNELS_FIRST     /* [B, H, d, n] */
} muattn_layout;

/* Zero-initialised it means: standard parametrization, channels last, no normalisation. */
typedef struct muattn_channel_options {
    muattn_scaling scaling;
    int64_t d_base;                 /* 0: not given */
    const float *scale;             /* overrides the rule: scale_count numbers, 0 or of magnitude 1e-37..1e38 (1e25 with
                                        normalize); NULL: the rule's */
    int64_t scale_count;            /* 1, or H: one number per head */
    const float *output_multiplier; /* overrides the rule: 0, or of magnitude 1e-34..1e38; NULL: the rule's */
    int normalize;                  /* not 0: each channel of Q and K is divided by max(its L2 norm over tokens, 1e-12)
                                        first, as XCiT and Restormer do; then give scale: the learned temperature.
                                        Squares are summed in float32: a norm above 1.8e19 counts as infinite */
    muattn_layout layout;           /* of q, k, v and out */
} muattn_channel_options;

/* out = o (softmax(s Q^T K) V^T)^T per head: a d x d map over channels, softmax over its second index:
 *   out[t, i] = o sum_j softmax_j(s sum_u Q[u, i] K[u, j]) V[t, j].
 *
 *   q, k, v, out  [B, H, n, d], or [B, H, d, n] when channels come first; 1 <= d <= MUATTN_MAX_D, any n
 *
 * options may be NULL (all zero). */
MUATTN_API muattn_status muattn_channel_attention_forward(const muattn_tensor *q, const muattn_tensor *k,
                                                          const muattn_tensor *v, const muattn_channel_options *options,
                                                          const muattn_tensor *out);

/* ---- Backends ----------------------------------------------------------------------------------------------------- */

/* Compiled variants, best first, e.g. "cpu:avx512", "cpu:avx2", "cpu:sse41". name is NULL past the end. */
MUATTN_API int muattn_backend_count(void);
MUATTN_API const char *muattn_backend_name(int index);
/* 1 if this machine can run it. */
MUATTN_API int muattn_backend_available(int index);
/* Use this backend for all calls of the process from now on; NULL: the best available one again.
 * "cpu:sve..." and "cpu:rvv_..." leave calls with negative strides to the next backend.
 * Errors: MUATTN_INVALID_BACKEND (unknown, or not for this machine; the message lists the names). */
MUATTN_API muattn_status muattn_force_backend(const char *name);
/* The backend that the next call uses; "" if this machine runs none. */
MUATTN_API const char *muattn_current_backend(void);

/* The kernels of this build, "operation/direction/dtype/kind/backend"; NULL past the end. */
MUATTN_API int muattn_kernel_count(void);
MUATTN_API const char *muattn_kernel_name(int index);
/* The kernel that the last successful call on this thread ran; "" if it had nothing to do, or there was none. */
MUATTN_API const char *muattn_last_kernel(void);

MUATTN_API const char *muattn_version(void);

/* ---- GPUs --------------------------------------------------------------------------------------------------------- */

/* The backends "cuda", "vulkan" and "opencl" stand last in the list. Tensors in the memory of such a device run on it, all of a
 * call in the same; tensors of the host run on the processor, unless a GPU is forced: then they are copied there and back. Options
 * (scale, key_lengths, causal_offsets) are of the host always.
 *
 * A call whose outputs are in device memory returns when its work is in the queue. No tensor in device memory is copied. */

/* What a device's work goes to. Handles of the driver; NULL: the library's choice. */
typedef struct muattn_queue {
    void *context; /* CUcontext; cl_context; VkDevice */
    void *queue;   /* CUstream; cl_command_queue (in order); VkQueue */
    void *vulkan_instance, *vulkan_physical_device;
    uint32_t vulkan_queue_family;
} muattn_queue;

/* Where this thread's calls on the device go from now on; NULL: the library's choice again, which is for CUDA the thread's current
 * context, without one that of the call's tensors, and its default stream, else a queue of its own. An OpenCL context and queue are
 * given together. Vulkan runs on the library's own device: muattn_get_queue gives its handles, to make buffers with.
 * Errors: MUATTN_INVALID_ARGUMENT (no GPU, half a pair), MUATTN_UNSUPPORTED (Vulkan). */
MUATTN_API muattn_status muattn_set_queue(muattn_device device, const muattn_queue *queue);
/* Where they go now. Opens the device where nothing has yet. Errors: MUATTN_INVALID_BACKEND where there is none,
 * MUATTN_INTERNAL_ERROR where it cannot be opened. */
MUATTN_API muattn_status muattn_get_queue(muattn_device device, muattn_queue *queue);

/* ---- Threads and memory ------------------------------------------------------------------------------------------- */

/* Threads that a call may use, its own included; at first MUATTN_NUM_THREADS of the environment, else OMP_NUM_THREADS,
 * else the processors that the process may run on: those of its affinity mask, but no more than its CPU quota (Linux'
 * control groups, as of a container) pays for, rounded up. Values of these variables that are no numbers from 1 are as
 * good as none, those above 256 are 256.
 * The library's threads are made when a call first needs them, and take no signals (POSIX).
 * Errors: MUATTN_INVALID_ARGUMENT unless 1 <= n <= 256. */
MUATTN_API muattn_status muattn_set_num_threads(int n);
MUATTN_API int muattn_get_num_threads(void);

/* Runs task(context, index) for every index in 0..count-1, in any order and on any threads, and returns when all are
 * done. Calls with more concurrency than muattn_get_num_threads() wait for each other's scratch memory. A task runs in
 * the default floating-point mode, and leaves its thread's as it was. */
typedef void (*muattn_task)(void *context, int index);
typedef void (*muattn_parallel_for)(void *user, int count, muattn_task task, void *context);
/* Use the caller's thread pool instead of the library's; NULL: the library's own again. Not while a call is running. */
MUATTN_API void muattn_set_parallel_for(muattn_parallel_for parallel_for, void *user);

/* All memory comes from here: allocate returns size bytes aligned to alignment (a power of two), or NULL.
 * Both NULL: the library's own again. Frees what the library has kept. Not while a call is running.
 * Errors: MUATTN_INVALID_ARGUMENT if exactly one of them is NULL. */
typedef void *(*muattn_allocate)(void *user, size_t size, size_t alignment);
typedef void (*muattn_deallocate)(void *user, void *pointer);
MUATTN_API muattn_status muattn_set_allocator(muattn_allocate allocate, muattn_deallocate deallocate, void *user);

/* Scratch memory is kept between calls: what those that ran at the same time needed. Gives it back. Unloading the library
 * (dlclose) does so as well and ends its threads, unless muattn_set_allocator() named an allocator: then call this first. */
MUATTN_API void muattn_release_memory(void);
/* Bytes of scratch memory kept at the moment, in use or not. */
MUATTN_API size_t muattn_scratch_bytes(void);
/* For tests: fill scratch memory with NaN before every use. */
MUATTN_API void muattn_set_scratch_poison(int enabled);

#ifdef __cplusplus
}
#endif

#endif
