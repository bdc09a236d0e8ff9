/* Short vectors of floats by the compilers' vector extensions; LANES floats a vector. */
#ifndef EP_VECTOR_H
#define EP_VECTOR_H

#include <stddef.h>
#include <stdint.h>

#ifndef LANES
#error "a variant defines LANES, the floats of one vector register"
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
/* In memory a vector lies anywhere and may be read as what it is made of. */
typedef float vf_any __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#if LANES == 4
#define EACH(m) m(0), m(1), m(2), m(3)
#elif LANES == 8
#define EACH(m) m(0), m(1), m(2), m(3), m(4), m(5), m(6), m(7)
#elif LANES == 16
#define EACH(m)                                                                             \
    m(0), m(1), m(2), m(3), m(4), m(5), m(6), m(7), m(8), m(9), m(10), m(11), m(12), m(13), \
        m(14), m(15)
#endif

INLINE vf load(const float *p) { return *(const vf_any *)p; }

INLINE void store(float *p, vf x) { *(vf_any *)p = x; }

INLINE vf splat(float x) {
#define SAME(i) x
    return (vf){EACH(SAME)};
#undef SAME
}

INLINE vi splat_int(int32_t x) {
#define SAME(i) x
    return (vi){EACH(SAME)};
#undef SAME
}

/* a where the mask is set, else b */
INLINE vf choose(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }

/* a0 b0 a1 b1 ... of the lower halves; zip_high: of the upper ones */
#define LOW(i) ((i) / 2 + ((i) % 2) * LANES)
#define HIGH(i) ((i) / 2 + ((i) % 2) * LANES + LANES / 2)
#if defined(__clang__)
INLINE vf zip_low(vf a, vf b) { return __builtin_shufflevector(a, b, EACH(LOW)); }
INLINE vf zip_high(vf a, vf b) { return __builtin_shufflevector(a, b, EACH(HIGH)); }
#else
INLINE vf zip_low(vf a, vf b) { return __builtin_shuffle(a, b, (vi){EACH(LOW)}); }
INLINE vf zip_high(vf a, vf b) { return __builtin_shuffle(a, b, (vi){EACH(HIGH)}); }
#endif

/* A LANES x LANES block: log2(LANES) perfect shuffles of its rows transpose it. */
INLINE void transpose_block(const float *from, size_t from_stride, float *to, size_t to_stride) {
    vf rows[LANES], next[LANES];
    for (int i = 0; i < LANES; i++) rows[i] = load(from + i * from_stride);
#pragma GCC unroll 4
    for (int round = 1; round < LANES; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            next[2 * i] = zip_low(rows[i], rows[i + LANES / 2]);
            next[2 * i + 1] = zip_high(rows[i], rows[i + LANES / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) rows[i] = next[i];
    }
    for (int i = 0; i < LANES; i++) store(to + i * to_stride, rows[i]);
}

/* Bit i: p[i] is not zero (a NaN is not), for 32 floats. */
INLINE uint32_t nonzero_bits(const float *p) {
#define BIT(i) (int32_t)(1u << (i))
    const vi bits = {EACH(BIT)};
#undef BIT
    vi found = splat_int(0);
    for (int i = 0; i < 32; i += LANES) found |= (vi)(load(p + i) != splat(0.0f)) & (bits << i);
    uint32_t all = 0;
    for (int i = 0; i < LANES; i++) all |= (uint32_t)found[i];
    return all;
}

/* e^x to about one unit in the last place; NaN stays NaN. 2^n r with |r's exponent| <= ln 2 / 2. */
INLINE vf exponential(vf x) {
    const vf low = splat(-87.33654f), high = splat(88.72283f);
    vf y = choose(x > high, high, x);
    y = choose(y < low, low, y);
    const vf shift = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const vf n = (y * splat(1.44269504f) + shift) - shift;
    vf r = y - n * splat(0.693359375f); /* ln 2 in two parts, the first exact in few bits */
    r = r - n * splat(-2.12194440e-4f);
    vf p = splat(1.0f / 5040);
    p = p * r + splat(1.0f / 720);
    p = p * r + splat(1.0f / 120);
    p = p * r + splat(1.0f / 24);
    p = p * r + splat(1.0f / 6);
    p = p * r + splat(0.5f);
    p = p * r * r + r + splat(1.0f);
    /* In two halves, so that 2^128 of a large x does not overflow on the way. */
    const vi whole = __builtin_convertvector(choose(n == n, n, splat(0.0f)), vi);
    const vi half = whole >> 1;
    p = p * (vf)((half + 127) << 23) * (vf)((whole - half + 127) << 23);
    p = choose(x < low, splat(0.0f), p);
    return choose(x != x, x, p);
}

#endif
