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

INLINE int up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

INLINE int least(int a, int b) { return a < b ? a : b; }

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

/* ReLU; NaN stays NaN. */
INLINE vf relu_of(vf x) {
#if LANES == 16 /* AVX-512: one instruction for what compilers make three of */
    return (vf)_mm512_max_ps(_mm512_setzero_ps(), (__m512)x); /* the second if it is NaN or -0 */
#else
    return choose(x < splat(0.0f), splat(0.0f), x);
#endif
}

/* Element EACH's i of the result is element index(i) of a, or of b from LANES on. */
#if defined(__clang__)
#define SHUFFLE(a, b, index) __builtin_shufflevector(a, b, EACH(index))
#else
#define SHUFFLE(a, b, index) __builtin_shuffle(a, b, (vi){EACH(index)})
#endif

/* Processors shuffle fastest inside quarters of 4 floats: first elements or pairs there, then
 * whole quarters. */
#define SINGLES_LOW(i) ((i) / 4 * 4 + (i) % 4 / 2 + (i) % 2 * LANES)
#define SINGLES_HIGH(i) (SINGLES_LOW(i) + 2)
#define PAIRS_LOW(i) ((i) / 4 * 4 + (i) % 2 + (i) % 4 / 2 * LANES)
#define PAIRS_HIGH(i) (PAIRS_LOW(i) + 2)
#define HALF_LOW(i) ((i) % (LANES / 2) + (i) / (LANES / 2) * LANES)
#define HALF_HIGH(i) (HALF_LOW(i) + LANES / 2)
#define QUARTERS_EVEN(i) ((i) % 4 + (i) / 4 * 8)
#define QUARTERS_ODD(i) (QUARTERS_EVEN(i) + 4)

/* The columns of a block of LANES x LANES floats. */
INLINE void columns_of(const float *from, size_t from_stride, vf *to) {
    vf fours[LANES / 4][4]; /* [g][k]: quarter q holds column 4 q + k of rows 4 g ... 4 g + 3 */
#pragma GCC unroll 4
    for (int g = 0; g < LANES / 4; g++) {
        const float *rows = from + 4 * g * from_stride;
        const vf a = load(rows), b = load(rows + from_stride);
        const vf c = load(rows + 2 * from_stride), d = load(rows + 3 * from_stride);
        const vf ab = SHUFFLE(a, b, SINGLES_LOW), ab_high = SHUFFLE(a, b, SINGLES_HIGH);
        const vf cd = SHUFFLE(c, d, SINGLES_LOW), cd_high = SHUFFLE(c, d, SINGLES_HIGH);
        fours[g][0] = SHUFFLE(ab, cd, PAIRS_LOW);
        fours[g][1] = SHUFFLE(ab, cd, PAIRS_HIGH);
        fours[g][2] = SHUFFLE(ab_high, cd_high, PAIRS_LOW);
        fours[g][3] = SHUFFLE(ab_high, cd_high, PAIRS_HIGH);
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
#if LANES == 4
        to[k] = fours[0][k];
#elif LANES == 8
        to[k] = SHUFFLE(fours[0][k], fours[1][k], HALF_LOW);
        to[4 + k] = SHUFFLE(fours[0][k], fours[1][k], HALF_HIGH);
#else
        const vf a = SHUFFLE(fours[0][k], fours[1][k], HALF_LOW);
        const vf b = SHUFFLE(fours[2][k], fours[3][k], HALF_LOW);
        const vf c = SHUFFLE(fours[0][k], fours[1][k], HALF_HIGH);
        const vf d = SHUFFLE(fours[2][k], fours[3][k], HALF_HIGH);
        to[k] = SHUFFLE(a, b, QUARTERS_EVEN);
        to[4 + k] = SHUFFLE(a, b, QUARTERS_ODD);
        to[8 + k] = SHUFFLE(c, d, QUARTERS_EVEN);
        to[12 + k] = SHUFFLE(c, d, QUARTERS_ODD);
#endif
    }
}

/* Transposes a block of LANES x LANES floats. */
INLINE void transpose_block(const float *from, size_t from_stride, float *to, size_t to_stride) {
    vf columns[LANES];
    columns_of(from, from_stride, columns);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) store(to + i * to_stride, columns[i]);
}

/* to[column][row] = from[row][column], in whole blocks: both need room for multiples of LANES. */
static void transpose(const float *from, size_t from_stride, int rows, int columns, float *to,
                      size_t to_stride) {
    for (int i = 0; i < rows; i += LANES)
        for (int j = 0; j < columns; j += LANES)
            transpose_block(from + i * from_stride + j, from_stride, to + j * to_stride + i,
                            to_stride);
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
