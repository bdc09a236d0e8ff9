/* What one call of the trainer works with: scratch memory and the state of a step.
 *
 * Of a minibatch, activations and gradients exist in two layouts: `by unit`, [unit][lane], and
 * `by row`, [lane][unit], where a lane is a row of the minibatch, padded to whole mask words. */
#ifndef EP_SESSION_H
#define EP_SESSION_H

#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "kernels.h"

typedef struct {
    float *active;        /* by unit: the layer's inputs, after ReLU; none for layer 0 */
    float *gradient;      /* by unit: of the layer's outputs before ReLU */
    float *rows;          /* by row: the layer's outputs before ReLU, later their gradient */
    uint32_t *unit_masks; /* [in][words]: lanes in which the input is not zero */
    uint64_t *row_masks;  /* [in / BLOCK][lanes]: inputs that are not zero in the lane */
    size_t stride;        /* of rows */
} layer_scratch;

typedef struct {
    const int32_t *rows; /* of the training data */
    int count;
} minibatch;

/* A step's effect on the first layer, to be applied later. */
typedef struct {
    minibatch batch;
    sgd rule;
    float *gradient; /* by unit */
    uint32_t *masks; /* [unit][words] */
} push_later;

/* Columns of a panel to be copied, and where to. */
typedef struct {
    int count;
    int *column, *lane;
} pick;

/* Most steps whose effect on the first layer is applied at once. */
#define MOST_PENDING 4

typedef struct {
    ep_member *m;
    int words, lanes; /* of a minibatch */
    layer_scratch *layers;
    float *block;         /* [lanes][width]: a panel's columns of MOST_PENDING minibatches */
    float *block_by_unit; /* [width][lanes] */
    minibatch batch; /* of this step */
    sgd rule;
    /* the first layer, see first.h */
    minibatch coming[MOST_PENDING]; /* dual: the steps in `near`, of which the first n_pending are taken */
    int near_steps;
    push_later pending[MOST_PENDING];
    int n_pending, most_pending;
    /* preactivations of this step and those that come, and their velocity:
     * [unit][most_pending][lanes] */
    float *near, *near_v;
    pick picks;
} session;

INLINE int up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

INLINE int least(int a, int b) { return a < b ? a : b; }

/* Called twice: without memory it only counts. */
typedef struct {
    char *memory;
    size_t used;
} arena;

INLINE void *take(arena *a, size_t bytes) {
    void *p = a->memory ? a->memory + a->used : NULL;
    a->used += (bytes + 63) / 64 * 64;
    return p;
}

static void lay_out(session *s, arena *a) {
    const ep_member *m = s->m;
    const size_t lanes = s->lanes, f = sizeof(float);
    s->layers = take(a, sizeof(layer_scratch) * m->n_layers);
    for (int l = 0; l < m->n_layers; l++) {
        const size_t in = l ? up(m->layers[l].in, BLOCK) : 0;
        const size_t out = up(m->layers[l].out, WORD);
        /* An odd number of cache lines: rows must not all fall into the same cache sets. */
        const size_t stride = out + 16;
        const layer_scratch part = {
            .active = take(a, lanes * in * f),
            .gradient = take(a, lanes * out * f),
            .rows = take(a, lanes * stride * f),
            .unit_masks = take(a, in * s->words * sizeof(uint32_t)),
            .row_masks = take(a, in / BLOCK * lanes * sizeof(uint64_t)),
            .stride = stride,
        };
        if (a->memory) s->layers[l] = part;
    }
    s->block = take(a, MOST_PENDING * lanes * PANEL * LANES * f);
    s->block_by_unit = take(a, lanes * PANEL * LANES * f);
    const size_t units = m->layers[0].out;
    for (int i = 0; i < s->most_pending; i++) {
        s->pending[i].gradient = take(a, up(units, LANES) * lanes * f);
        s->pending[i].masks = take(a, units * s->words * sizeof(uint32_t));
    }
    s->near = take(a, units * s->most_pending * lanes * f);
    s->near_v = take(a, units * s->most_pending * lanes * f);
    s->picks.column = take(a, s->most_pending * lanes * sizeof(int));
    s->picks.lane = take(a, s->most_pending * lanes * sizeof(int));
}

/* Lays out a session's scratch memory in one piece, which the caller frees; NULL without memory. */
static char *reserve(session *s) {
    arena a = {0};
    lay_out(s, &a);
    a.memory = aligned_alloc(64, a.used + 64);
    if (!a.memory) return NULL;
    memset(a.memory, 0, a.used); /* padding is read: it must not be NaN, which would be slow */
    a.used = 0;
    lay_out(s, &a);
    return a.memory;
}

#endif
