/* Selective scan on a CPU, forward and backward, in float32.
 *
 * Formula: selective_scan/__init__.py; gradients: selective_scan/_segmented.py. This file needs a C11 compiler
 * with GCC's vector extensions (gcc, clang) and OpenMP. It does not depend on torch: arrays come with strides.
 *
 * One task takes LANES channels of one sample through the map, with one channel per lane of a vector register.
 * It processes TOKENS tokens at a time, so that its working set fits in the first-level cache. Forward keeps the
 * state before each such segment; backward recomputes the states inside it. The cost per state and token is one
 * exponential and a handful of multiplications, and no array of the size of all states is ever in memory.
 *
 * Compiled without -ffast-math: NaN and infinity are needed to detect a run that diverges.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSE__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#define EVENS 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODDS 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif defined(__AVX__)
#define LANES 8
#define EVENS 0, 2, 4, 6, 8, 10, 12, 14
#define ODDS 1, 3, 5, 7, 9, 11, 13, 15
#else
#define LANES 4
#define EVENS 0, 2, 4, 6
#define ODDS 1, 3, 5, 7
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ivec){__VA_ARGS__})
#endif
#define EVEN(a, b) SHUFFLE(a, b, EVENS) /* a0 a2 ... b0 b2 ... */
#define ODD(a, b) SHUFFLE(a, b, ODDS)   /* a1 a3 ... b1 b3 ... */

#define INLINE static inline __attribute__((always_inline))

enum { TOKENS = 64 };  /* tokens of a segment; a multiple of LANES */
enum { TOGETHER = 4 }; /* states that forward processes together in a segment */

enum { ROWS, COLUMNS, ROWS_BACKWARDS, COLUMNS_BACKWARDS }; /* `Path` of _problem.py */

typedef struct {
    int64_t batch, token, group, last; /* in elements, not bytes; `last` leads to the next channel or state */
} Strides;

/* All pointers of a scan and their strides; mirrored in _native.py. */
typedef struct {
    int64_t batch, length, groups, channels, states, width;
    int64_t is_shared;      /* true if all groups read one u and add to one y */
    int64_t num_parts;      /* number of parts of the channels for backward */
    int64_t num_threads;
    const int64_t *paths;   /* (K) */
    const float *u, *delta, *A, *B, *C, *D, *bias; /* A (K, D, N), D and bias (K, D): contiguous */
    Strides u_strides, delta_strides, B_strides, C_strides;
    float *y;               /* also the gradient of y, in backward */
    Strides y_strides;
    float *saved;           /* (B, K, segments, N, D), contiguous; may be null in forward */
    float *gu, *gdelta, *gB, *gC; /* strides of u, delta; gB, gC have a leading axis of num_parts */
    Strides gu_strides, gdelta_strides, gB_strides, gC_strides;
    int64_t gB_part, gC_part;
    float *gA, *gD, *gbias; /* one per sample: (B, K, D, N) and (B, K, D), contiguous */
} Scan;

/* ---- vectors ---- */

INLINE vec splat(float x) { return x - (vec){0}; }

/* Return the larger number; `b` if one is NaN. */
INLINE vec larger(vec a, vec b) {
#if LANES == 16
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    for (int i = 0; i < LANES; i++) b[i] = a[i] > b[i] ? a[i] : b[i];
    return b;
#endif
}

INLINE vec magnitude(vec x) { return (vec)((ivec)x & 0x7fffffff); }

INLINE vec pick(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }

/* Compute 2**(x*y) with a relative error of 2e-7, for x*y from -126 to 127. NaN stays NaN.
 * Set `is_bounded` if x*y may be lower: lower values then give 2**-126. */
INLINE vec exp2_of_product(vec x, vec y, const int is_bounded) {
    const float shift = 12582912.0f; /* 1.5 * 2**23: adding it leaves the rounded number in the low bits */
    if (is_bounded) x = larger(splat(-126.0f), x * y), y = splat(1.0f);
    vec rounded = x * y + shift;
    vec f = x * y - (rounded - shift); /* in [-0.5, 0.5]; the coefficients minimise the maximum error there */
    vec p = splat(1.326470877e-3f);
    p = p * f + 9.671511466e-3f;
    p = p * f + 5.550733776e-2f;
    p = p * f + 2.402224210e-1f;
    p = p * f + 6.931469776e-1f;
    p = p * f + 1.0f;
    return (vec)((ivec)p + ((ivec)rounded << 23));
}

#define LOG2_E 1.44269504088896341f

/* Compute log(1 + e) for e in [0, 1] as 2 artanh(e / (2 + e)), a series in at most 1/3. */
INLINE vec log1p_of(vec e) {
    vec z = e / (2.0f + e), s = z * z;
    vec p = splat(2.0f / 13);
    p = p * s + 2.0f / 11;
    p = p * s + 2.0f / 9;
    p = p * s + 2.0f / 7;
    p = p * s + 2.0f / 5;
    p = p * s + 2.0f / 3;
    p = p * s + 2.0f;
    return p * z;
}

INLINE vec softplus(vec x) { return larger(splat(0), x) + log1p_of(exp2_of_product(magnitude(x), splat(-LOG2_E), 1)); }

INLINE vec sigmoid(vec x) {
    vec e = exp2_of_product(magnitude(x), splat(-LOG2_E), 1);
    return pick(x < 0.0f, e, splat(1.0f)) / (1.0f + e);
}

INLINE vec load(const float *p) {
    vec x;
    memcpy(&x, p, sizeof x);
    return x;
}

INLINE void store(float *p, vec x) { memcpy(p, &x, sizeof x); }

INLINE vec load_some(const float *p, int64_t step, int count) {
    vec x = {0};
    if (step == 1 && count == LANES) return load(p);
    for (int i = 0; i < count; i++) x[i] = p[i * step];
    return x;
}

INLINE void store_some(float *p, int64_t step, int count, vec x) {
    if (step == 1 && count == LANES) store(p, x);
    else for (int i = 0; i < count; i++) p[i * step] = x[i];
}

INLINE void transpose(vec *m) {
#pragma GCC unroll 5
    for (int size = LANES; size > 1; size /= 2) {
        vec half[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES / 2; i++) {
            half[i] = EVEN(m[2 * i], m[2 * i + 1]);
            half[i + LANES / 2] = ODD(m[2 * i], m[2 * i + 1]);
        }
        memcpy(m, half, sizeof half);
    }
}

/* Sum m[i] over its lanes into lane i of the result; m is overwritten. */
INLINE vec sums_of(vec *m) {
#pragma GCC unroll 5
    for (int size = LANES; size > 1; size /= 2)
#pragma GCC unroll 16
        for (int i = 0; i < size / 2; i++) m[i] = EVEN(m[2 * i], m[2 * i + 1]) + ODD(m[2 * i], m[2 * i + 1]);
    return m[0];
}

/* Treat subnormal numbers as zero: decays may underflow to them, and some processors handle them 100 times slower. */
static unsigned flush_tiny(void) {
#if defined(__SSE__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
#else
    return 0;
#endif
}

static void restore_tiny(unsigned before) {
#if defined(__SSE__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

/* ---- segments of a path ---- */

typedef struct {
    int64_t pixel[TOKENS]; /* position of token t */
    int tokens, padded;    /* number of tokens, and the same rounded up to whole vectors */
    int is_run;            /* true if the pixels are consecutive */
} Segment;

static void find_pixels(const Scan *s, int64_t path, int64_t segment, Segment *out) {
    int64_t first = segment * TOKENS, height = s->length / s->width;
    out->tokens = s->length - first < TOKENS ? (int)(s->length - first) : TOKENS;
    out->padded = (out->tokens + LANES - 1) / LANES * LANES;
    out->is_run = path == ROWS;
    for (int i = 0; i < out->tokens; i++) {
        int64_t t = first + i;
        if (path == ROWS_BACKWARDS || path == COLUMNS_BACKWARDS) t = s->length - 1 - t;
        out->pixel[i] = path == ROWS || path == ROWS_BACKWARDS ? t : t % height * s->width + t / height;
    }
}

/* Load LANES channels of token t, starting at `base`, into tile[t]: `channels` real ones, the rest zero. */
INLINE void load_tile(vec *tile, const float *base, Strides by, const Segment *seg, int channels) {
    int t = 0;
    if (by.last == 1 && channels == LANES)
        for (; t < seg->tokens; t++) tile[t] = load(base + seg->pixel[t] * by.token);
    else if (by.token == 1 && seg->is_run && channels == LANES)
        for (; t + LANES <= seg->tokens; t += LANES) {
            for (int c = 0; c < LANES; c++) tile[t + c] = load(base + c * by.last + seg->pixel[t]);
            transpose(tile + t);
        }
    for (; t < seg->tokens; t++) tile[t] = load_some(base + seg->pixel[t] * by.token, by.last, channels);
    for (; t < seg->padded; t++) tile[t] = (vec){0};
}

/* Prefetch a tile while another one is processed; its data is too scattered for the hardware to predict.
 * It goes to the second-level cache, as the current tile fills the first. */
enum { SECOND_LEVEL = 2, FLOATS_OF_A_LINE = 16 };

INLINE void prefetch_tile(const float *base, Strides by, const Segment *seg, int channels) {
    if (by.last == 1)
        for (int t = 0; t < seg->tokens; t++) __builtin_prefetch(base + seg->pixel[t] * by.token, 0, SECOND_LEVEL);
    else if (by.token == 1)
        for (int c = 0; c < channels; c++)
            for (int t = 0; t < seg->tokens; t += FLOATS_OF_A_LINE)
                __builtin_prefetch(base + c * by.last + seg->pixel[t], 0, SECOND_LEVEL);
}

INLINE void add_or_put(float *p, int64_t step, int count, vec x, int is_adding) {
    store_some(p, step, count, is_adding ? x + load_some(p, step, count) : x);
}

/* Undo load_tile; with `is_adding`, add to the existing values. Overwrites the tile. */
INLINE void store_tile(vec *tile, float *base, Strides by, const Segment *seg, int channels, int is_adding) {
    int t = 0;
    if (by.token == 1 && seg->is_run && channels == LANES)
        for (; t + LANES <= seg->tokens; t += LANES) {
            transpose(tile + t);
            for (int c = 0; c < LANES; c++)
                add_or_put(base + c * by.last + seg->pixel[t], 1, LANES, tile[t + c], is_adding);
        }
    for (; t < seg->tokens; t++) add_or_put(base + seg->pixel[t] * by.token, by.last, channels, tile[t], is_adding);
}

/* Coefficients B or C of a segment, packed in their memory order: token-major or state-major. */
typedef struct {
    float *at;
    int64_t token, state;
} Coefficients;

static Coefficients pack(float *room, const float *base, Strides by, const Segment *seg, int64_t states) {
    if (by.token == 1 && seg->is_run) {
        for (int64_t n = 0; n < states; n++) {
            memcpy(room + n * TOKENS, base + n * by.last + seg->pixel[0], sizeof(float) * seg->tokens);
            for (int t = seg->tokens; t < seg->padded; t++) room[n * TOKENS + t] = 0;
        }
        return (Coefficients){room, 1, TOKENS};
    }
    for (int t = 0; t < seg->tokens; t++) {
        const float *from = base + seg->pixel[t] * by.token;
        if (by.last == 1) memcpy(room + t * states, from, sizeof(float) * states);
        else for (int64_t n = 0; n < states; n++) room[t * states + n] = from[n * by.last];
    }
    memset(room + seg->tokens * states, 0, sizeof(float) * (seg->padded - seg->tokens) * states);
    return (Coefficients){room, states, 1};
}

/* Return the offset of a tensor's first element for sample b, group k and channel `first`. */
INLINE int64_t offset(Strides by, int64_t b, int64_t k, int64_t first) {
    return b * by.batch + k * by.group + first * by.last;
}

/* Check whether exp(dt * A) may underflow in a segment, for the most negative A of each channel, times log2(e).
 * It rarely does. If not, a tenth of the work of an exponential can be skipped. */
static int is_underflowing(const vec *dt, int tokens, vec fastest) {
    vec longest = {0};
    for (int t = 0; t < tokens; t++) longest = larger(longest, dt[t]);
    ivec small = longest * fastest < -126.0f;
    int any = 0;
    for (int i = 0; i < LANES; i++) any |= small[i];
    return any;
}

/* ---- forward ---- */

/* Advance `count` states through a segment and add their part of the output to y. */
INLINE void advance(const int count, const int is_bounded, int tokens, const vec *dt, const vec *drive,
                    const vec *rate, vec *state, Coefficients B, Coefficients C, vec *y) {
    vec h[TOGETHER];
    for (int j = 0; j < count; j++) h[j] = state[j];
    for (int t = 0; t < tokens; t++) {
        vec sum = y[t];
        for (int j = 0; j < count; j++) {
            h[j] = exp2_of_product(dt[t], rate[j], is_bounded) * h[j] + drive[t] * B.at[t * B.token + j * B.state];
            sum += C.at[t * C.token + j * C.state] * h[j];
        }
        y[t] = sum;
    }
    for (int j = 0; j < count; j++) state[j] = h[j];
}

INLINE Coefficients from_state(Coefficients x, int64_t n) {
    x.at += n * x.state;
    return x;
}

INLINE void advance_all(const int is_bounded, int tokens, int64_t N, const vec *dt, const vec *drive, const vec *rate,
                        vec *state, Coefficients B, Coefficients C, vec *y) {
    int64_t n = 0;
    for (; n + TOGETHER <= N; n += TOGETHER)
        advance(TOGETHER, is_bounded, tokens, dt, drive, rate + n, state + n, from_state(B, n), from_state(C, n), y);
    for (; n < N; n++)
        advance(1, is_bounded, tokens, dt, drive, rate + n, state + n, from_state(B, n), from_state(C, n), y);
}

static void forward_block(const Scan *s, int64_t b, int64_t k, int64_t first, int is_adding, vec *room) {
    const int channels = s->channels - first < LANES ? (int)(s->channels - first) : LANES;
    const int64_t N = s->states, row = k * s->channels + first, segments = (s->length + TOKENS - 1) / TOKENS;
    const int64_t input = s->is_shared ? 0 : k;
    const float *u_from = s->u + offset(s->u_strides, b, input, first);
    const float *delta_from = s->delta + offset(s->delta_strides, b, k, first);
    const float *B_from = s->B + offset(s->B_strides, b, k, 0), *C_from = s->C + offset(s->C_strides, b, k, 0);
    float *y_to = s->y + offset(s->y_strides, b, input, first);
    float *saved = s->saved ? s->saved + (b * s->groups + k) * segments * N * s->channels + first : NULL;
    vec *dt = room, *drive = dt + TOKENS, *u = drive + TOKENS, *y = u + TOKENS, *rate = y + TOKENS, *state = rate + N;
    float *B_room = (float *)(state + N), *C_room = B_room + TOKENS * N;
    const vec bias = load_some(s->bias + row, 1, channels), D = load_some(s->D + row, 1, channels);
    vec fastest = {0};
    Segment here, next;

    for (int64_t n = 0; n < N; n++) {
        rate[n] = LOG2_E * load_some(s->A + row * N + n, N, channels);
        fastest = -larger(-fastest, -rate[n]);
        state[n] = (vec){0};
    }
    find_pixels(s, s->paths[k], 0, &next);
    for (int64_t i = 0; i < segments; i++) {
        here = next;
        load_tile(u, u_from, s->u_strides, &here, channels);
        load_tile(dt, delta_from, s->delta_strides, &here, channels);
        Coefficients B = pack(B_room, B_from, s->B_strides, &here, N);
        Coefficients C = pack(C_room, C_from, s->C_strides, &here, N);
        if (i + 1 < segments) {
            find_pixels(s, s->paths[k], i + 1, &next);
            prefetch_tile(u_from, s->u_strides, &next, channels);
            prefetch_tile(delta_from, s->delta_strides, &next, channels);
            prefetch_tile(y_to, s->y_strides, &next, channels);
        }
        if (saved)
            for (int64_t n = 0; n < N; n++)
                store_some(saved + (i * N + n) * s->channels, 1, channels, state[n]);
        for (int t = 0; t < here.padded; t++) {
            dt[t] = softplus(dt[t] + bias);
            drive[t] = dt[t] * u[t];
            y[t] = D * u[t];
        }
        if (is_underflowing(dt, here.padded, fastest)) advance_all(1, here.tokens, N, dt, drive, rate, state, B, C, y);
        else advance_all(0, here.tokens, N, dt, drive, rate, state, B, C, y);
        store_tile(y, y_to, s->y_strides, &here, channels, is_adding);
    }
}

static vec *make_room(int64_t vectors) {
    return aligned_alloc(sizeof(vec), sizeof(vec) * (size_t)vectors);
}

/* Return 0, or 1 if memory ran out. */
int selective_scan_forward(const Scan *s) {
    const int64_t blocks = (s->channels + LANES - 1) / LANES, owners = s->is_shared ? 1 : s->groups;
    const int64_t tasks = s->batch * owners * blocks;
    int failed = 0;
#pragma omp parallel num_threads((int)s->num_threads) reduction(| : failed)
    {
        vec *room = make_room(4 * TOKENS + 2 * s->states + 2 * TOKENS * s->states / LANES + 2);
        unsigned before = flush_tiny();
        failed = room == NULL;
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < tasks; task++) {
            int64_t first = task % blocks * LANES, owner = task / blocks % owners, b = task / blocks / owners;
            if (!room) continue;
            if (!s->is_shared) forward_block(s, b, owner, first, 0, room);
            else for (int64_t k = 0; k < s->groups; k++) forward_block(s, b, k, first, k > 0, room);
        }
        restore_tiny(before);
        free(room);
    }
    return failed;
}

/* ---- backward ---- */

/* Arrays read in parallel are offset a few vectors from multiples of 4 KiB, where loads would wait for stores. */
enum { APART = TOKENS + 5 };

typedef struct {
    vec u[APART], x[APART], dt[APART], drive[APART], gy[APART], gdrive[APART], gdt[APART];
    vec decay[APART], h[APART + 1]; /* of one state; h[0] is before the segment */
} Tiles;

/* Run one state forward and backward through a segment: add to gdrive, gdt, gA, gB and gC, and update r_next. */
INLINE void return_state(const int is_bounded, const Segment *seg, Tiles *x, vec rate, vec A, Coefficients B,
                         Coefficients C, vec *r_next, vec *gA, float *gB, float *gC) {
    vec h = x->h[0], r = *r_next, gA_sum = *gA;
    for (int t = 0; t < seg->padded; t++) {
        x->decay[t] = exp2_of_product(x->dt[t], rate, is_bounded);
        x->h[t + 1] = h = x->decay[t] * h + x->drive[t] * B.at[t * B.token];
    }
    for (int end = seg->padded; end > 0; end -= LANES) {
        vec for_B[LANES], for_C[LANES];
        for (int i = LANES - 1; i >= 0; i--) {
            const int t = end - LANES + i;
            const vec gh = r + C.at[t * C.token] * x->gy[t];
            for_C[i] = x->h[t + 1] * x->gy[t];
            for_B[i] = gh * x->drive[t];
            x->gdrive[t] += gh * B.at[t * B.token];
            r = x->decay[t] * gh;
            const vec rh = r * x->h[t];
            x->gdt[t] += rh * A;
            gA_sum += rh * x->dt[t];
        }
        store(gB + end - LANES, load(gB + end - LANES) + sums_of(for_B));
        store(gC + end - LANES, load(gC + end - LANES) + sums_of(for_C));
    }
    *r_next = r;
    *gA = gA_sum;
}

/* State of a task between segments, for each of its blocks of channels and each state. */
typedef struct {
    vec *rate, *A, *r, *gA; /* (blocks, N) */
    vec *gD, *gbias;        /* (blocks) */
    float *B, *C;           /* (TOKENS, N), packed */
    float *gB, *gC;         /* (N, TOKENS) */
    Tiles *tiles;
} Room;

static void backward_block(const Scan *s, int64_t b, int64_t k, int64_t i, int64_t first, int64_t block,
                           const Segment *seg, const Segment *next, Coefficients B, Coefficients C, int is_adding,
                           Room *room) {
    const int channels = s->channels - first < LANES ? (int)(s->channels - first) : LANES;
    const int64_t N = s->states, row = k * s->channels + first, segments = (s->length + TOKENS - 1) / TOKENS;
    const int64_t input = s->is_shared ? 0 : k;
    const float *u_from = s->u + offset(s->u_strides, b, input, first);
    const float *delta_from = s->delta + offset(s->delta_strides, b, k, first);
    const float *gy_from = s->y + offset(s->y_strides, b, input, first);
    float *gu_to = s->gu + offset(s->gu_strides, b, input, first);
    float *gdelta_to = s->gdelta + offset(s->gdelta_strides, b, k, first);
    const vec bias = load_some(s->bias + row, 1, channels), D = load_some(s->D + row, 1, channels);
    Tiles *x = room->tiles;

    load_tile(x->u, u_from, s->u_strides, seg, channels);
    load_tile(x->x, delta_from, s->delta_strides, seg, channels);
    load_tile(x->gy, gy_from, s->y_strides, seg, channels);
    if (next) {
        prefetch_tile(u_from, s->u_strides, next, channels);
        prefetch_tile(delta_from, s->delta_strides, next, channels);
        prefetch_tile(gy_from, s->y_strides, next, channels);
        prefetch_tile(gu_to, s->gu_strides, next, channels);
        prefetch_tile(gdelta_to, s->gdelta_strides, next, channels);
    }
    for (int t = 0; t < seg->padded; t++) {
        x->x[t] += bias;
        x->dt[t] = softplus(x->x[t]);
        x->drive[t] = x->dt[t] * x->u[t];
        x->gdrive[t] = x->gdt[t] = (vec){0};
    }
    const float *saved = s->saved + ((b * s->groups + k) * segments + i) * N * s->channels + first;
    vec fastest = {0};
    for (int64_t n = 0; n < N; n++) fastest = -larger(-fastest, -room->rate[block * N + n]);
    const int is_bounded = is_underflowing(x->dt, seg->padded, fastest);
    for (int64_t n = 0; n < N; n++) {
        const int64_t at = block * N + n;
        x->h[0] = load_some(saved + n * s->channels, 1, channels);
#define RETURN_STATE(IS_BOUNDED)                                                                                 \
    return_state(IS_BOUNDED, seg, x, room->rate[at], room->A[at], from_state(B, n), from_state(C, n), room->r + at, \
                 room->gA + at, room->gB + n * TOKENS, room->gC + n * TOKENS)
        if (is_bounded) RETURN_STATE(1);
        else RETURN_STATE(0);
#undef RETURN_STATE
    }
    for (int t = 0; t < seg->tokens; t++) {
        vec gdelta = (x->gdt[t] + x->gdrive[t] * x->u[t]) * sigmoid(x->x[t]);
        room->gbias[block] += gdelta;
        room->gD[block] += x->gy[t] * x->u[t];
        x->gdt[t] = gdelta;
        x->gdrive[t] = x->gdrive[t] * x->dt[t] + D * x->gy[t];
    }
    store_tile(x->gdrive, gu_to, s->gu_strides, seg, channels, is_adding);
    store_tile(x->gdt, gdelta_to, s->gdelta_strides, seg, channels, 0);
}

/* Write the gradient (N, TOKENS) of a segment's coefficients to its place. */
static void put_coefficients(float *base, Strides by, const float *gradient, const Segment *seg, int64_t states) {
    int64_t n = 0;
    if (by.token == 1 && seg->is_run)
        for (; n < states; n++)
            memcpy(base + n * by.last + seg->pixel[0], gradient + n * TOKENS, sizeof(float) * seg->tokens);
    else if (by.last == 1)
        for (; n + LANES <= states; n += LANES)
            for (int t = 0; t < seg->tokens; t += LANES) {
                vec m[LANES];
                for (int i = 0; i < LANES; i++) m[i] = load(gradient + (n + i) * TOKENS + t);
                transpose(m);
                for (int i = 0; i < LANES && t + i < seg->tokens; i++)
                    store(base + seg->pixel[t + i] * by.token + n, m[i]);
            }
    for (; n < states; n++)
        for (int t = 0; t < seg->tokens; t++) base[seg->pixel[t] * by.token + n * by.last] = gradient[n * TOKENS + t];
}

static void backward_part(const Scan *s, int64_t b, int64_t k, int64_t part, int is_adding, Room *room) {
    const int64_t N = s->states, segments = (s->length + TOKENS - 1) / TOKENS;
    const int64_t all_blocks = (s->channels + LANES - 1) / LANES;
    const int64_t from = part * all_blocks / s->num_parts, blocks = (part + 1) * all_blocks / s->num_parts - from;
    const float *B_from = s->B + offset(s->B_strides, b, k, 0), *C_from = s->C + offset(s->C_strides, b, k, 0);
    float *gB_to = s->gB + part * s->gB_part + offset(s->gB_strides, b, k, 0);
    float *gC_to = s->gC + part * s->gC_part + offset(s->gC_strides, b, k, 0);
    Segment seg, next;

    for (int64_t block = 0; block < blocks; block++) {
        const int64_t first = (from + block) * LANES, row = k * s->channels + first;
        const int channels = s->channels - first < LANES ? (int)(s->channels - first) : LANES;
        for (int64_t n = 0; n < N; n++) {
            room->A[block * N + n] = load_some(s->A + row * N + n, N, channels);
            room->rate[block * N + n] = LOG2_E * room->A[block * N + n];
            room->r[block * N + n] = room->gA[block * N + n] = (vec){0};
        }
        room->gD[block] = room->gbias[block] = (vec){0};
    }
    find_pixels(s, s->paths[k], segments - 1, &next);
    for (int64_t i = segments - 1; i >= 0; i--) {
        seg = next;
        Coefficients B = pack(room->B, B_from, s->B_strides, &seg, N);
        Coefficients C = pack(room->C, C_from, s->C_strides, &seg, N);
        if (i > 0) {
            find_pixels(s, s->paths[k], i - 1, &next);
            prefetch_tile(B_from, s->B_strides, &next, (int)N);
            prefetch_tile(C_from, s->C_strides, &next, (int)N);
            prefetch_tile(gB_to, s->gB_strides, &next, (int)N);
            prefetch_tile(gC_to, s->gC_strides, &next, (int)N);
        }
        memset(room->gB, 0, sizeof(float) * TOKENS * N);
        memset(room->gC, 0, sizeof(float) * TOKENS * N);
        for (int64_t block = 0; block < blocks; block++)
            backward_block(s, b, k, i, (from + block) * LANES, block, &seg, i > 0 ? &next : NULL, B, C, is_adding,
                           room);
        put_coefficients(gB_to, s->gB_strides, room->gB, &seg, N);
        put_coefficients(gC_to, s->gC_strides, room->gC, &seg, N);
    }
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t first = (from + block) * LANES, row = (b * s->groups + k) * s->channels + first;
        const int channels = s->channels - first < LANES ? (int)(s->channels - first) : LANES;
        for (int64_t n = 0; n < N; n++)
            store_some(s->gA + row * N + n, N, channels, room->gA[block * N + n]);
        store_some(s->gD + row, 1, channels, room->gD[block]);
        store_some(s->gbias + row, 1, channels, room->gbias[block]);
    }
}

static int open_room(const Scan *s, Room *room) {
    const int64_t N = s->states, all_blocks = (s->channels + LANES - 1) / LANES;
    const int64_t blocks = (all_blocks + s->num_parts - 1) / s->num_parts;
    const int64_t tiles = sizeof(Tiles) / sizeof(vec), packed = TOKENS * N / LANES;
    vec *at = make_room(tiles + 4 * blocks * N + 2 * blocks + 4 * packed);
    room->tiles = (Tiles *)at;
    if (!at) return 0;
    at += tiles;
    room->rate = at, at += blocks * N;
    room->A = at, at += blocks * N;
    room->r = at, at += blocks * N;
    room->gA = at, at += blocks * N;
    room->gD = at, at += blocks;
    room->gbias = at, at += blocks;
    room->B = (float *)at, at += packed;
    room->C = (float *)at, at += packed;
    room->gB = (float *)at, at += packed;
    room->gC = (float *)at;
    return 1;
}

/* Return 0, or 1 if memory ran out. */
int selective_scan_backward(const Scan *s) {
    const int64_t owners = s->is_shared ? 1 : s->groups, tasks = s->batch * owners * s->num_parts;
    int failed = 0;
#pragma omp parallel num_threads((int)s->num_threads) reduction(| : failed)
    {
        Room room;
        unsigned before = flush_tiny();
        failed = !open_room(s, &room);
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < tasks; task++) {
            int64_t part = task % s->num_parts, owner = task / s->num_parts % owners, b = task / s->num_parts / owners;
            if (!room.tiles) continue;
            if (!s->is_shared) backward_part(s, b, owner, part, 0, &room);
            else for (int64_t k = 0; k < s->groups; k++) backward_part(s, b, k, part, k > 0, &room);
        }
        restore_tiny(before);
        free(room.tiles);
    }
    return failed;
}

int selective_scan_lanes(void) { return LANES; }
int selective_scan_tokens(void) { return TOKENS; }
