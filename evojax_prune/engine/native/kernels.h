/* The three products that training consists of, on panels, each in tiles whose sums fill the
 * vector registers.
 *
 * Half of all activations are exactly zero, but to walk around them loads more and mispredicts
 * more than it saves in arithmetic, so everything is dense. */
#ifndef EP_KERNELS_H
#define EP_KERNELS_H

#include <string.h>

#include "panels.h"

/* Rows of a tile of three vectors, and of a tile of two: 12 sums of 16 registers, or 24 of 32. */
#if LANES == 16 || defined(__aarch64__)
#define TILE 8
#define TILE_BACK 12
#else
#define TILE 4
#define TILE_BACK 6
#endif

/* Vectors of sums that fill the registers. */
#define SUMS (TILE * PANEL)

/* Calls function(n, ...) with a constant n, so that the compiler unrolls and keeps its sums. */
#define BY_WIDTH(n, function, ...)                  \
    switch (n) {                                    \
        case 1: function(1, __VA_ARGS__); break;    \
        case 2: function(2, __VA_ARGS__); break;    \
        default: function(PANEL, __VA_ARGS__); break; \
    }

/* ---- forward: out[row] += a[row] w ---- */

typedef struct {
    int rows;              /* a multiple of TILE; there is room for as many */
    int from, depth;       /* columns of a that count */
    const float *const *a; /* its rows */
    const float *w;        /* [depth][width] */
    float *out;            /* [rows], `stride` apart */
    size_t stride;
    int fresh;    /* begin at zero, not at what out holds */
    int positive; /* these are the last columns, and ReLU follows */
} product_job;

INLINE void product_rows(const int n, const product_job *job) {
    const int width = n * LANES;
    for (int row = 0; row < job->rows; row += TILE) {
        vf sum[TILE][PANEL];
        const float *a[TILE], *w = job->w;
        float *out = job->out + row * job->stride;
        for (int r = 0; r < TILE; r++) {
            a[r] = job->a[row + r] + job->from;
            for (int j = 0; j < n; j++)
                sum[r][j] = job->fresh ? splat(0.0f) : load(out + r * job->stride + j * LANES);
        }
        for (int k = 0; k < job->depth; k++, w += width) {
            vf right[PANEL];
            for (int j = 0; j < n; j++) right[j] = load(w + j * LANES);
            for (int r = 0; r < TILE; r++) {
                const vf left = splat(a[r][k]);
                for (int j = 0; j < n; j++) sum[r][j] += left * right[j];
            }
        }
        if (job->positive)
            for (int r = 0; r < TILE; r++)
                for (int j = 0; j < n; j++) sum[r][j] = relu_of(sum[r][j]);
        for (int r = 0; r < TILE; r++)
            for (int j = 0; j < n; j++) store(out + r * job->stride + j * LANES, sum[r][j]);
    }
}

static void product(int vectors, const product_job *job) {
    BY_WIDTH(vectors, product_rows, job)
}

/* ---- update: w by an SGD step with gradient a^T g ---- */

/* velocity = momentum * velocity - rate * gradient; then with Nesterov's look-ahead
 * weight += momentum * velocity - rate * gradient, without it weight += velocity */
typedef struct {
    float momentum, rate;
    int nesterov;
} sgd;

typedef struct {
    int rows, units; /* of the minibatch; of w */
    int lanes;       /* rows that a has room for */
    const float *a;  /* [units / TILE][lanes][TILE], see pack_tiles */
    const float *g;  /* [rows], `stride` apart, times the rate */
    size_t stride;
    float *w, *v;    /* [units][width] */
    float momentum;
    int nesterov;
} update_job;

/* Activations as the update reads them: of TILE units all rows, one after another. The rows have
 * room for whole tiles. */
static void pack_tiles(const float *const *rows, int count, int units, int lanes, float *to) {
    for (int u = 0; u < units; u += TILE, to += lanes * TILE)
        for (int i = 0; i < count; i++) memcpy(to + i * TILE, rows[i] + u, TILE * sizeof(float));
}

/* Both rules are w - push + momentum * v, with the new v or with the old one. */
INLINE void sgd_row(const int n, const vf *push, float *w, float *v, float factor, int nesterov) {
    const vf momentum = splat(factor);
    __asm__("" : "+r"(w), "+r"(v)); /* or the compiler computes both addresses for each vector */
    if (nesterov)
        for (int j = 0; j < n; j++) {
            const vf velocity = momentum * load(v + j * LANES) - push[j];
            store(v + j * LANES, velocity);
            store(w + j * LANES, load(w + j * LANES) - push[j] + momentum * velocity);
        }
    else
        for (int j = 0; j < n; j++) {
            const vf faded = momentum * load(v + j * LANES);
            store(v + j * LANES, faded - push[j]);
            store(w + j * LANES, load(w + j * LANES) - push[j] + faded);
        }
}

INLINE float sgd_one(float gradient, float w, float *v, sgd rule) {
    const float faded = rule.momentum * *v;
    *v = faded - rule.rate * gradient;
    return w - rule.rate * gradient + (rule.nesterov ? rule.momentum * *v : faded);
}

/* Adds some rows' products to the sums of a tile's units. */
INLINE void add_rows(const int units, const int n, int rows, const update_job *job,
                     const float **left, const float **g, vf (*sum)[PANEL]) {
    for (int i = 0; i < rows; i++, *g += job->stride, *left += TILE) {
        vf right[PANEL];
        for (int j = 0; j < n; j++) right[j] = load(*g + j * LANES);
        for (int r = 0; r < units; r++)
            for (int j = 0; j < n; j++) sum[r][j] += splat((*left)[r]) * right[j];
    }
}

/* A tile whose sums are complete and whose weights are not updated yet. */
typedef struct {
    float sums[SUMS * LANES] __attribute__((aligned(64))); /* or stores would cross cache lines */
    float *w, *v;
} summed_tile;

/* Updates one vector of a tile's weights. */
INLINE void settle(const int nesterov, const update_job *job, const summed_tile *tile, int vector) {
    const int at = vector * LANES;
    const vf push = load(tile->sums + at);
    sgd_row(1, &push, tile->w + at, tile->v + at, job->momentum, nesterov);
}

/* Whether rows and updates alternate. Without fused multiply-adds and with few registers the sums
 * would leave them. */
#if LANES > 4 || defined(__aarch64__)
#define ALTERNATE 1
#else
#define ALTERNATE 0
#endif

/* `each` rows of this tile, then one vector of the weights of the tile before, and so on. */
INLINE void add_and_settle(const int n, const int nesterov, const int each, const update_job *job,
                           const summed_tile *before, const float **left, const float **g,
                           vf (*sum)[PANEL]) {
#pragma GCC unroll 24 /* TILE * n at most */
    for (int k = 0; k < TILE * n; k++) {
#pragma GCC unroll 2
        for (int i = 0; i < each; i++) add_rows(TILE, n, 1, job, left, g, sum);
        settle(nesterov, job, before, k);
    }
}

/* Sums of a whole tile. An update that stood alone would leave the multipliers idle, so that of the
 * tile before goes between the rows. */
INLINE void sum_tile(const int n, const int nesterov, const update_job *job, int unit,
                     const summed_tile *before, vf (*sum)[PANEL]) {
    const float *left = job->a + (size_t)unit * job->lanes, *g = job->g;
    const int each = before ? least(job->rows / (TILE * n), 2) : 0;
    for (int r = 0; r < TILE; r++)
        for (int j = 0; j < n; j++) sum[r][j] = splat(0.0f);
    if (each == 2) add_and_settle(n, nesterov, 2, job, before, &left, &g, sum);
    if (each == 1) add_and_settle(n, nesterov, 1, job, before, &left, &g, sum);
    for (int k = 0; before && each == 0 && k < TILE * n; k++) settle(nesterov, job, before, k);
    add_rows(TILE, n, job->rows - each * TILE * n, job, &left, &g, sum);
}

/* Whole tiles; returns the first unit that is in none. */
INLINE int update_alternately(const int n, const int nesterov, const update_job *job) {
    summed_tile tile, *before = NULL;
    int unit = 0;
    for (; unit + TILE <= job->units; unit += TILE, before = &tile) {
        const size_t at = (size_t)unit * n * LANES;
        vf sum[TILE][PANEL];
        sum_tile(n, nesterov, job, unit, before, sum);
        for (int r = 0; r < TILE; r++)
            for (int j = 0; j < n; j++) store(tile.sums + (r * n + j) * LANES, sum[r][j]);
        tile.w = job->w + at;
        tile.v = job->v + at;
    }
    for (int k = 0; before && k < TILE * n; k++) settle(nesterov, job, before, k);
    return unit;
}

/* `units` units from `unit` on, all of one tile: their sums, then their weights. */
INLINE void update_tile(const int units, const int n, const int nesterov, const update_job *job,
                        int unit) {
    const float *left = job->a + (size_t)(unit / TILE) * job->lanes * TILE + unit % TILE;
    const float *g = job->g;
    float *w = job->w + (size_t)unit * n * LANES, *v = job->v + (size_t)unit * n * LANES;
    vf sum[TILE][PANEL];
    for (int r = 0; r < units; r++)
        for (int j = 0; j < n; j++) sum[r][j] = splat(0.0f);
    add_rows(units, n, job->rows, job, &left, &g, sum);
    for (int r = 0; r < units; r++)
        sgd_row(n, sum[r], w + r * n * LANES, v + r * n * LANES, job->momentum, nesterov);
}

INLINE void update_units(const int n, const int nesterov, const update_job *job) {
    int unit = ALTERNATE ? update_alternately(n, nesterov, job) : 0;
    for (; unit + TILE <= job->units; unit += TILE) update_tile(TILE, n, nesterov, job, unit);
    for (; unit < job->units; unit++) update_tile(1, n, nesterov, job, unit);
}

/* The rule is constant inside, too, or the sums would not stay in registers. */
static void update(int vectors, const update_job *job) {
    if (job->nesterov) {
        BY_WIDTH(vectors, update_units, 1, job)
    } else {
        BY_WIDTH(vectors, update_units, 0, job)
    }
}

/* ---- back: out = w g, where g and out are by unit ---- */

typedef struct {
    shape all;      /* of w */
    const float *w; /* in panels */
    const float *g; /* [columns of w, up to whole vectors][lanes] */
    float *out;     /* [rows of w][lanes] */
    int lanes;      /* floats of a row; */
    int used;       /* how many of them count, from the first */
} back_job;

INLINE void back_panel(const int m, const int units, const int n, const back_job *job,
                       const float *w, const float *g, vf (*sum)[2]) {
    for (int k = 0; k < m * LANES; k++, g += job->lanes) {
        vf right[2];
        for (int j = 0; j < n; j++) right[j] = load(g + j * LANES);
        for (int r = 0; r < units; r++) {
            const vf left = splat(w[r * m * LANES + k]);
            for (int j = 0; j < n; j++) sum[r][j] += left * right[j];
        }
    }
}

INLINE void back_tile(const int units, const int n, const back_job *job, int unit, int lane) {
    vf sum[TILE_BACK][2];
    for (int r = 0; r < units; r++)
        for (int j = 0; j < n; j++) sum[r][j] = splat(0.0f);
    for (int i = 0; i < job->all.panels; i++) {
        const panel p = panel_of(job->all, i);
        const float *w = job->w + p.start + (size_t)unit * p.width;
        const float *g = job->g + (size_t)p.column * job->lanes + lane;
        BY_WIDTH(p.vectors, back_panel, units, n, job, w, g, sum)
    }
    for (int r = 0; r < units; r++)
        for (int j = 0; j < n; j++)
            store(job->out + (size_t)(unit + r) * job->lanes + lane + j * LANES, sum[r][j]);
}

INLINE void back_lanes(const int n, const back_job *job, int lane) {
    int unit = 0;
    for (; unit + TILE_BACK <= job->all.rows; unit += TILE_BACK)
        back_tile(TILE_BACK, n, job, unit, lane);
    for (; unit < job->all.rows; unit++) back_tile(1, n, job, unit, lane);
}

static void back(const back_job *job) {
    int lane = 0;
    for (; lane + LANES < job->used; lane += 2 * LANES) back_lanes(2, job, lane);
    if (lane < job->used) back_lanes(1, job, lane);
}

#endif
