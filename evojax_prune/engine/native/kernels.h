/* The three products that training consists of, on panels.
 *
 * About half of all activations, and the gradients through them, are exactly zero (ReLU). Both
 * `pull` (forward) and `push` (weight gradient) walk through the units that are not zero, as bits
 * of a mask, and so do only the work that counts. Each visit of a unit is one broadcast times one
 * row of a panel that lies in the level-1 cache, added to sums in registers.
 */
#ifndef EP_KERNELS_H
#define EP_KERNELS_H

#include "panels.h"

/* Rows of a minibatch are masked in words of 32 bits, and padded to whole words. */
#define WORD 32
/* Units are masked in words of 64: so many rows of a panel stay in the level-1 cache. */
#define BLOCK 64

/* One SGD step: velocity = momentum * velocity - rate * gradient, then
 * weight += ahead * velocity - direct * gradient. */
typedef struct {
    float momentum, rate, ahead, direct;
} sgd;

INLINE void update_row(const int n, const vf *gradient, float *w, float *v, sgd rule) {
    const vf momentum = splat(rule.momentum), rate = splat(rule.rate);
    const vf ahead = splat(rule.ahead), direct = splat(rule.direct);
    /* Two plain addresses: left alone, the compiler computes a new pair for every vector. */
    __asm__("" : "+r"(w), "+r"(v));
    for (int j = 0; j < n; j++) {
        const vf velocity = momentum * load(v + j * LANES) - rate * gradient[j];
        store(v + j * LANES, velocity);
        store(w + j * LANES, load(w + j * LANES) + ahead * velocity - direct * gradient[j]);
    }
}

INLINE float update_one(float gradient, float w, float *v, sgd rule) {
    *v = rule.momentum * *v - rule.rate * gradient;
    return w + rule.ahead * *v - rule.direct * gradient;
}

typedef struct {
    int units, words;      /* mask words of a unit */
    const uint32_t *masks; /* [units][words]: rows of the minibatch that count */
    const float *factors;  /* [units][words * WORD] */
    const float *block;    /* [words * WORD][width]: the other factor, one row a minibatch row */
    float *w, *v;          /* weights [units], `stride` apart, and their velocity */
    size_t stride;
    sgd rule;
} push_job;

/* w[unit] by an SGD step with gradient sum over the rows i in its mask of factors[unit][i] block[i] */
INLINE void push_wide(const int n, const push_job *job) {
    const int width = n * LANES;
    const sgd rule = job->rule;
    for (int unit = 0; unit < job->units; unit++) {
        vf sum[PANEL];
        for (int j = 0; j < n; j++) sum[j] = splat(0.0f);
        for (int word = 0; word < job->words; word++) {
            const float *factors = job->factors + ((size_t)unit * job->words + word) * WORD;
            const float *block = job->block + (size_t)word * WORD * width;
            for (uint32_t m = job->masks[unit * job->words + word]; m; m &= m - 1) {
                const int i = __builtin_ctz(m);
                const vf x = splat(factors[i]);
                const float *row = block + i * width;
                for (int j = 0; j < n; j++) sum[j] += x * load(row + j * LANES);
            }
        }
        update_row(n, sum, job->w + unit * job->stride, job->v + unit * job->stride, rule);
    }
}

typedef struct {
    int units, rows, words; /* inputs, rows of the minibatch, mask words of a unit */
    const uint64_t *masks;  /* [units / BLOCK][words * WORD]: units that count in a row */
    const float *factors;   /* [units][words * WORD] */
    const float *panel;     /* [units][width] */
    float *out;             /* [rows], `stride` apart */
    size_t stride;
} pull_job;

/* out[row] += sum over the units in its mask of factors[unit][row] panel[unit] */
INLINE void pull_wide(const int n, const pull_job *job) {
    const int width = n * LANES, lanes = job->words * WORD;
    for (int first = 0; first < job->units; first += BLOCK) {
        const float *panel = job->panel + (size_t)first * width;
        const float *factors = job->factors + (size_t)first * lanes;
        const uint64_t *masks = job->masks + (size_t)first / BLOCK * lanes;
        for (int row = 0; row < job->rows; row++) {
            float *out = job->out + row * job->stride;
            vf sum[PANEL];
            for (int j = 0; j < n; j++) sum[j] = load(out + j * LANES);
            for (uint64_t m = masks[row]; m; m &= m - 1) {
                const int unit = __builtin_ctzll(m);
                const vf x = splat(factors[unit * lanes + row]);
                const float *w = panel + unit * width;
                for (int j = 0; j < n; j++) sum[j] += x * load(w + j * LANES);
            }
            for (int j = 0; j < n; j++) store(out + j * LANES, sum[j]);
        }
    }
}

#define BY_WIDTH(function, n, job)                \
    switch (n) {                                  \
        case 1: function(1, job); break;          \
        case 2: function(2, job); break;          \
        case 3: function(3, job); break;          \
        case 4: function(4, job); break;          \
        case 5: function(5, job); break;          \
        case 6: function(6, job); break;          \
        case 7: function(7, job); break;          \
        case 8: function(8, job); break;          \
        case 9: function(9, job); break;          \
        case 10: function(10, job); break;        \
        case 11: function(11, job); break;        \
        default: function(PANEL, job); break;     \
    }

static void push(int vectors, const push_job *job) { BY_WIDTH(push_wide, vectors, job) }

static void pull(int vectors, const pull_job *job) { BY_WIDTH(pull_wide, vectors, job) }

/* A tile of the dense product: TILE rows times two vectors, the sums again in 12 registers. */
#define TILE 6

typedef struct {
    int units, depth;
    const float *w;   /* [units], `stride` apart, of `depth` floats */
    size_t stride;
    const float *x;   /* [depth][lanes] */
    float *out;       /* [units][lanes] */
    int lanes, used;  /* floats of a row; how many of them count, from the first */
} dense_job;

INLINE void dense_tile(const int rows, const int n, const dense_job *job, int unit, int lane) {
    vf sum[TILE][2];
    float *out = job->out + (size_t)unit * job->lanes + lane;
    const float *w = job->w + unit * job->stride, *x = job->x + lane;
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n; j++) sum[r][j] = load(out + r * job->lanes + j * LANES);
    for (int k = 0; k < job->depth; k++) {
        vf right[2];
        for (int j = 0; j < n; j++) right[j] = load(x + j * LANES);
        for (int r = 0; r < rows; r++) {
            const vf left = splat(w[r * job->stride + k]);
            for (int j = 0; j < n; j++) sum[r][j] += left * right[j];
        }
        x += job->lanes;
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n; j++) store(out + r * job->lanes + j * LANES, sum[r][j]);
}

INLINE void dense_rows(const int rows, const dense_job *job, int unit) {
    int lane = 0;
    for (; lane + LANES < job->used; lane += 2 * LANES) dense_tile(rows, 2, job, unit, lane);
    if (lane < job->used) dense_tile(rows, 1, job, unit, lane);
}

/* out[unit][lane] += sum over k of w[unit][k] x[k][lane] */
static void dense(const dense_job *job) {
    int unit = 0;
    for (; unit + TILE <= job->units; unit += TILE) dense_rows(TILE, job, unit);
    for (; unit + 2 <= job->units; unit += 2) dense_rows(2, job, unit);
    if (unit < job->units) dense_rows(1, job, unit);
}

/* to[column][row] = from[row][column]; whole blocks, so both need room for multiples of LANES. */
static void transpose(const float *from, size_t from_stride, int rows, int columns, float *to,
                      size_t to_stride) {
    for (int i = 0; i < rows; i += LANES)
        for (int j = 0; j < columns; j += LANES)
            transpose_block(from + i * from_stride + j, from_stride, to + j * to_stride + i,
                            to_stride);
}

/* In place, the transpose of a 32 x 32 matrix of bits, by halves of halves. */
static void transpose_bits(uint32_t *bits) {
    uint32_t low = 0x0000ffffu;
    for (int half = 16; half; half >>= 1, low ^= low << half)
        for (int i = 0; i < WORD; i = (i + half + 1) & ~half) {
            const uint32_t swap = (bits[i] >> half ^ bits[i + half]) & low;
            bits[i] ^= swap << half;
            bits[i + half] ^= swap;
        }
}

#endif
