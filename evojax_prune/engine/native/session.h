/* What one call of the trainer works with: scratch memory and the state of a step.
 *
 * Of a minibatch, activations and gradients lie by row, [row][unit], and for some products also by
 * unit, [unit][lane], where a lane is a row of the minibatch. */
#ifndef EP_SESSION_H
#define EP_SESSION_H

#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "kernels.h"

/* Lanes come in multiples of this, which is one of LANES and of TILE. */
#define LANE_GROUP 16

/* Rows of a panel that take part in a product at a time: they stay in the level-1 cache. */
#define DEPTH 256

typedef struct {
    float *rows;       /* by row: a layer's outputs, after ReLU; later their gradient */
    const float **row; /* pointers to them */
    size_t stride;     /* of rows */
} layer_scratch;

typedef struct {
    const int32_t *rows; /* of the training data */
    int count;
} minibatch;

/* Classes up to which the last layer is a narrow one, see narrow.h. */
#define NARROW 12
#define LANE_NUMBERS 7

/* By class, [class][unit] and [class][lane]; NULL in a last layer that is not narrow. */
typedef struct {
    float *w, *v;
    float *gradient; /* of the logits */
    float *lane;     /* LANE_NUMBERS a lane */
} narrow_scratch;

typedef struct {
    ep_member *m;
    int lanes; /* of a minibatch */
    narrow_scratch narrow;
    layer_scratch *layers;
    float *by_unit, *by_unit_below; /* gradients: of a layer's outputs, of its inputs */
    float *below;                   /* by row: the latter */
    float *block;                   /* dual: some rows of a panel of A */
    float *tiles;                   /* a layer's inputs for its update */
    minibatch batch;                /* of this step */
    sgd rule;
    const float **inputs; /* pointers to the batch's rows of the inputs */
    /* primal: the batch's inputs, and the last step, whose update is pending */
    float *copied;
    float *tiles_before;    /* its inputs for the update */
    float *gradient_before; /* by row */
    int count_before;
    sgd rule_before;
    int scaled;  /* the narrow layer takes its gradient times the rate, and so the first one does */
    int at_once; /* the first layer's update is not put off */
    float *gradient_of_panel; /* for it, [lane][PANEL * LANES] */
    int seen; /* dual: no row from this one on has been in a batch */
} session;

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

/* Floats from row to row: an odd number of cache lines, or rows would share cache sets. */
INLINE size_t stride_of(int columns) { return (size_t)up(columns, 32) + 16; }

static void lay_out(session *s, arena *a) {
    const ep_member *m = s->m;
    const size_t lanes = s->lanes, f = sizeof(float), pointers = lanes * sizeof(float *);
    int widest = 0;
    s->layers = take(a, sizeof(layer_scratch) * m->n_layers);
    for (int l = 0; l < m->n_layers; l++) {
        if (m->layers[l].out > widest) widest = m->layers[l].out;
        const layer_scratch part = {
            .stride = stride_of(m->layers[l].out),
            .rows = take(a, lanes * stride_of(m->layers[l].out) * f),
            .row = take(a, pointers),
        };
        if (a->memory) s->layers[l] = part;
    }
    s->inputs = take(a, pointers);
    const ep_layer *last = &m->layers[m->n_layers - 1];
    if (m->n_layers > 2 || last->out > NARROW) { /* for layers between, and wide last ones */
        s->by_unit = take(a, lanes * up(widest, LANES) * f);
        s->by_unit_below = take(a, lanes * up(widest, LANES) * f);
        s->below = take(a, lanes * stride_of(widest) * f);
        s->tiles = take(a, lanes * up(widest, TILE) * f);
    }
    if (m->dual) s->block = take(a, DEPTH * PANEL * LANES * f);
    if (last->out <= NARROW) s->narrow = (narrow_scratch){
        .w = take(a, last->out * stride_of(last->in) * f),
        .v = take(a, last->out * stride_of(last->in) * f),
        .gradient = take(a, last->out * lanes * f),
        .lane = take(a, LANE_NUMBERS * lanes * f),
    };
    if (m->dual) return;
    s->copied = take(a, lanes * stride_of(m->layers[0].in) * f);
    s->tiles_before = take(a, lanes * up(m->layers[0].in, TILE) * f);
    s->gradient_before = take(a, lanes * stride_of(m->layers[0].out) * f);
    s->gradient_of_panel = take(a, lanes * PANEL * LANES * f);
}

/* Lays out a session's scratch memory in one piece, which the caller frees; NULL without memory. */
static char *reserve(session *s) {
    arena a = {0};
    lay_out(s, &a);
    a.memory = aligned_alloc(64, a.used + 64);
    if (!a.memory) return NULL;
    memset(a.memory, 0, a.used); /* padding is read: it must be finite */
    a.used = 0;
    lay_out(s, &a);
    for (int l = 0; l < s->m->n_layers; l++)
        for (int i = 0; i < s->lanes; i++)
            s->layers[l].row[i] = s->layers[l].rows + i * s->layers[l].stride;
    return a.memory;
}

/* What the loss of a row of the batch is multiplied by. */
INLINE float importance(const session *s, int row) {
    const ep_member *m = s->m;
    return m->class_weights ? m->class_weights[m->labels[s->batch.rows[row]]] : 1.0f;
}

INLINE ep_layer *last_layer(const session *s) { return &s->m->layers[s->m->n_layers - 1]; }

/* Rows of the batch up to whole tiles; those beyond its end are computed and ignored. */
INLINE int tiled(int count) { return up(count, TILE); }

#endif
