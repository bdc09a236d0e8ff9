/* The first layer, whose inputs are fixed: what a step does to it is put off for a while.
 *
 * Primal form. The update of one step and the forward product of the next go through the weights
 * together, panel by panel, so that they come from memory once a step.
 *
 * Dual form. The preactivations Z = X W + b of *all* training rows are kept rather than the
 * weights: a step with preactivation gradients G on its batch changes them by K[:, batch] G,
 * K = X X^T (+ 1 for a bias), and, linear as they are in the weights, they follow the same rule
 * with the same momentum. The next few batches' columns of Z (`near`) are brought up to date in
 * every step; all the others wait, and take several steps each time that they come from memory.
 * Arithmetic and order are the same for every element, so the result is the same to the last bit.
 *
 * The weights themselves are W0 + X^T A, where a step changes only the batch's rows of A in the
 * coordinates
 *   rest = A + k velocity,  drift = velocity / scale,  scale = momentum^steps,
 * as `rest`, where A would come to rest if no more gradients came, moves by G alone. */
#ifndef EP_FIRST_H
#define EP_FIRST_H

#include "session.h"

/* Below this momentum the velocity is less than rounding, and its scale would leave float range. */
#define LEAST_MOMENTUM 1e-9
#define LEAST_SCALE 1e-18

/* Units that take all pending steps one after another while they lie in the level-1 cache. */
#define CHUNK 16

/* Bytes of preactivations and velocity from which putting off pays for its own work. */
#define LARGE_STATE (4 * 1024 * 1024)

/* Columns of some rows of a matrix, packed, zero beyond its last column. */
static void pack_columns(minibatch batch, const float *matrix, int columns, panel p,
                         float *to) {
    const int whole = least(columns - p.column, p.width);
    for (int i = 0; i < batch.count; i++, to += p.width) {
        const float *from = matrix + (size_t)batch.rows[i] * columns + p.column;
        int j = 0;
        for (; j + LANES <= whole; j += LANES) store(to + j, load(from + j));
        for (; j < p.width; j++) to[j] = j < whole ? from[j] : 0.0f;
    }
}

/* Asks for the columns of the next panel, which lie scattered, while this one is worked on.
 * Inlined, or gcc takes a function that only prefetches for one without effect. */
INLINE void prefetch_columns(minibatch batch, const float *matrix, int columns, panel p) {
    for (int i = 0; i < batch.count; i++) {
        const char *from = (const char *)(matrix + (size_t)batch.rows[i] * columns + p.column);
        for (int j = 0; j < p.width * 4; j += 64) __builtin_prefetch(from + j);
    }
}

/* Applies the pending steps to some units of a panel, for which `block` holds the inputs. */
static void push_pending(const session *s, panel p, int unit, int units) {
    const ep_layer *l = &s->m->layers[0];
    const size_t at = p.start + (size_t)unit * p.width;
    for (int i = 0; i < s->n_pending; i++) {
        const push_later *step = &s->pending[i];
        push(p.vectors,
             &(push_job){.units = units, .words = s->words, .stride = p.width,
                         .masks = step->masks + (size_t)unit * s->words,
                         .factors = step->gradient + (size_t)unit * s->lanes,
                         .block = s->block + (size_t)i * s->lanes * p.width,
                         .w = l->w + at, .v = l->v + at, .rule = step->rule});
    }
}

static void pack_pending(const session *s, int columns, panel p) {
    for (int i = 0; i < s->n_pending; i++)
        pack_columns(s->pending[i].batch, s->m->inputs, columns, p,
                     s->block + (size_t)i * s->lanes * p.width);
}

INLINE void prefetch_pending(const session *s, int columns, shape all, int next) {
    for (int i = 0; next < all.panels && i < s->n_pending; i++)
        prefetch_columns(s->pending[i].batch, s->m->inputs, columns, panel_of(all, next));
}

/* ---- primal ---- */

static void start_from_bias(session *s) {
    const ep_layer *l = &s->m->layers[0];
    for (int u = 0; u < l->out; u++) {
        const vf bias = splat(l->b ? l->b[u] : 0.0f);
        for (int i = 0; i < s->lanes; i += LANES) store(s->near + (size_t)u * s->lanes + i, bias);
    }
}

/* The last step's update and, with `forward`, this step's preactivations. */
static void pass_primal(session *s, int forward) {
    const ep_layer *l = &s->m->layers[0];
    const shape all = shape_of(l->out, l->in);
    if (forward) start_from_bias(s);
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        pack_pending(s, l->in, p);
        prefetch_pending(s, l->in, all, i + 1);
        push_pending(s, p, 0, l->out);
        if (!forward) continue;
        pack_columns(s->batch, s->m->inputs, l->in, p, s->block);
        if (i + 1 < all.panels) prefetch_columns(s->batch, s->m->inputs, l->in, panel_of(all, i + 1));
        transpose(s->block, p.width, up(s->batch.count, LANES), p.width, s->block_by_unit, s->lanes);
        dense(&(dense_job){.units = l->out, .depth = p.width, .w = l->w + p.start,
                           .stride = p.width, .x = s->block_by_unit, .out = s->near,
                           .lanes = s->lanes, .used = s->batch.count});
    }
    s->n_pending = 0;
}

/* ---- dual ---- */

/* Steps whose preactivations are kept up to date, so that the rest of their columns can wait. */
static int steps_near(const ep_member *m, int lanes) {
    if (!m->dual) return 1;
    const size_t bytes = (size_t)m->rows * m->layers[0].out * 2 * sizeof(float);
    if (bytes < LARGE_STATE) return 1;
    return least(MOST_PENDING, 1 + PANEL * LANES / lanes);
}

/* Which rows of the coming steps have their columns in a panel, and where they go in `near`. */
static void find_near(session *s, const minibatch *coming, int steps, panel p) {
    s->picks.count = 0;
    for (int t = 0; t < steps; t++)
        for (int i = 0; i < coming[t].count; i++) {
            const int column = coming[t].rows[i] - p.column;
            if (column < 0 || column >= p.width) continue;
            s->picks.column[s->picks.count] = column;
            s->picks.lane[s->picks.count++] = t * s->lanes + i;
        }
}

/* One column after another: the loop over a chunk's units, all near, is the longer one. */
static void copy_near(const session *s, panel p, int unit, int units) {
    const ep_layer *l = &s->m->layers[0];
    const size_t width = (size_t)s->most_pending * s->lanes;
    const size_t from = p.start + (size_t)unit * p.width, to = unit * width;
    for (int i = 0; i < s->picks.count; i++) {
        const float *w = l->w + from + s->picks.column[i];
        float *near = s->near + to + s->picks.lane[i];
        for (int u = 0; u < units; u++) near[u * width] = w[(size_t)u * p.width];
        if (s->most_pending == 1) continue;
        const float *v = l->v + from + s->picks.column[i];
        near = s->near_v + to + s->picks.lane[i];
        for (int u = 0; u < units; u++) near[u * width] = v[(size_t)u * p.width];
    }
}

/* Brings all columns up to date, and copies those of the coming steps to `near`. */
static void pass_dual(session *s, const minibatch *coming, int steps) {
    const ep_layer *l = &s->m->layers[0];
    const int columns = s->m->rows;
    const shape all = shape_of(l->out, columns);
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        pack_pending(s, columns, p);
        find_near(s, coming, steps, p);
        for (int u = 0; u < l->out; u += CHUNK) {
            const int units = least(CHUNK, l->out - u);
            if (u + 2 * CHUNK > l->out) prefetch_pending(s, columns, all, i + 1);
            push_pending(s, p, u, units);
            copy_near(s, p, u, units);
        }
    }
    s->n_pending = 0;
}

/* The step just taken, number `t` of those in `near`, changes the columns of those after it. */
static void push_near(session *s, const minibatch *coming, int t, int steps) {
    const push_later *step = &s->pending[t];
    const int width = (steps - 1 - t) * s->lanes;
    const size_t stride = (size_t)s->most_pending * s->lanes;
    if (width == 0) return;
    for (int i = 0; i < step->batch.count; i++) {
        const float *k = s->m->inputs + (size_t)step->batch.rows[i] * s->m->rows;
        float *to = s->block + (size_t)i * width;
        for (int later = t + 1; later < steps; later++, to += s->lanes)
            for (int j = 0; j < coming[later].count; j++) to[j] = k[coming[later].rows[j]];
    }
    push(width / LANES,
         &(push_job){.units = s->m->layers[0].out, .words = s->words, .stride = stride,
                     .masks = step->masks, .factors = step->gradient, .block = s->block,
                     .w = s->near + (t + 1) * s->lanes, .v = s->near_v + (t + 1) * s->lanes,
                     .rule = step->rule});
}

static double usable_momentum(const ep_member *m) {
    return m->momentum < LEAST_MOMENTUM ? 0.0 : m->momentum;
}

static void rescale_drift(ep_member *m) {
    const size_t size = (size_t)m->rows * m->layers[0].out;
    const float scale = (float)m->scale;
    for (size_t i = 0; i < size; i++) m->drift[i] *= scale;
    m->scale = 1.0;
}

static void update_dual_weights(session *s, const push_later *step) {
    ep_member *m = s->m;
    const int units = m->layers[0].out;
    const layer_scratch *part = &s->layers[0];
    const double momentum = usable_momentum(m);
    if (momentum > 0.0) m->scale *= momentum;
    const float to_rest = (float)(step->rule.rate / (1.0 - momentum));
    const float to_drift = momentum > 0.0 ? (float)(step->rule.rate / m->scale) : 0.0f;
    for (int i = 0; i < step->batch.count; i++) {
        const float *g = part->rows + i * part->stride;
        float *rest = m->rest + (size_t)step->batch.rows[i] * units;
        float *drift = m->drift + (size_t)step->batch.rows[i] * units;
        for (int u = 0; u < units; u++) {
            rest[u] -= to_rest * g[u];
            drift[u] -= to_drift * g[u];
        }
    }
    if (m->scale < LEAST_SCALE) rescale_drift(m);
}

static void snapshot_dual(ep_member *m) {
    const double momentum = usable_momentum(m);
    const double k = (m->nesterov ? momentum * momentum : momentum) / (1.0 - momentum);
    const float back = (float)(k * m->scale);
    for (size_t i = 0; i < (size_t)m->rows * m->layers[0].out; i++)
        m->best_a[i] = m->rest[i] - back * m->drift[i];
}

#endif
