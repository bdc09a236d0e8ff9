/* The first layer, whose inputs are fixed.
 *
 * Primal form. The update of one step and the forward product of the next go through the weights
 * together, panel by panel, so that they come from memory once a step.
 *
 * Dual form. The weights are W0 + X^T A, so that the preactivations of a batch are
 * Z0[batch] + K[batch] A with K = X X^T (+ 1 for a bias), and the gradient of A is that of the
 * preactivations, in the batch's rows. Under momentum all rows of A move in every step, but in the
 * coordinates
 *   rest = A + k velocity,  drift = velocity / scale,  scale = momentum^steps,
 * only the batch's rows change: `rest` is where A would come to rest if no more gradients came. A
 * itself is formed on the way to the product, while a block of it lies in the cache. */
#ifndef EP_FIRST_H
#define EP_FIRST_H

#include "narrow.h"

/* Below this momentum the velocity is less than rounding, and its scale would leave float range. */
#define LEAST_MOMENTUM 1e-9
#define LEAST_SCALE 1e-18

/* How far ahead, in floats, A's parts are asked for: they come from beyond the level-2 cache. */
#define FAR 1024

/* ---- primal ---- */

/* The batch's inputs, copied with a stride that suits the cache. */
static void copy_inputs(session *s) {
    const ep_layer *l = &s->m->layers[0];
    const size_t stride = stride_of(l->in);
    for (int i = 0; i < s->lanes; i++) {
        s->inputs[i] = s->copied + i * stride;
        if (i < s->batch.count)
            copy(s->copied + i * stride, s->m->inputs + (size_t)s->batch.rows[i] * l->in, l->in);
    }
}

/* The pending update of some inputs' weights. */
static void update_pending(session *s, panel p, int from, int units) {
    const ep_layer *l = &s->m->layers[0];
    const size_t at = p.start + (size_t)from * p.width;
    update(p.vectors, &(update_job){.rows = s->count_before, .units = units, .lanes = s->lanes,
                                    .a = s->tiles_before + (size_t)from * s->lanes,
                                    .g = s->gradient_before + p.column,
                                    .stride = stride_of(l->out), .w = l->w + at, .v = l->v + at,
                                    .momentum = s->rule_before.momentum,
                                    .nesterov = s->rule_before.nesterov});
}

/* The last step's update and, with `forward`, this step's preactivations. */
static void pass_primal(session *s, int forward) {
    const ep_layer *l = &s->m->layers[0];
    const shape all = shape_of(l->in, l->out);
    if (forward) {
        copy_inputs(s);
        start_rows(l, &s->layers[0], tiled(s->batch.count));
    }
    for (int from = 0; from < l->in; from += DEPTH)
        for (int i = 0; i < all.panels; i++) {
            const int depth = least(DEPTH, l->in - from);
            const panel p = panel_of(all, i);
            if (s->count_before) update_pending(s, p, from, depth);
            if (forward) forward_panel(s, l, &s->layers[0], p, s->inputs, from, depth);
        }
    if (forward) relu_of_bias(s, l, &s->layers[0]);
    s->count_before = 0;
}

/* Leaves the step's update of the weights pending; the bias is too small to wait. */
static void put_off_update(session *s) {
    ep_layer *l = &s->m->layers[0];
    layer_scratch *part = &s->layers[0];
    update_bias(l, part->rows, part->stride, 1, s->batch.count, s->rule);
    if (!s->scaled) scale_gradient(part, s->batch.count, l->out, s->rule.rate);
    float *gradient = part->rows;
    part->rows = s->gradient_before;
    s->gradient_before = gradient;
    for (int i = 0; i < s->lanes; i++) part->row[i] = part->rows + i * part->stride;
    pack_tiles(s->inputs, s->batch.count, l->in, s->lanes, s->tiles_before);
    s->count_before = s->batch.count;
    s->rule_before = s->rule;
}

/* ---- dual ---- */

static double usable_momentum(const ep_member *m) {
    return m->momentum < LEAST_MOMENTUM ? 0.0 : m->momentum;
}

/* A = rest - this * drift */
static float drift_factor(const ep_member *m) {
    const double momentum = usable_momentum(m);
    return (float)((m->nesterov ? momentum * momentum : momentum) / (1.0 - momentum) * m->scale);
}

/* Some rows of a panel of A. */
static void form_weights(const session *s, panel p, int from, int depth) {
    const size_t start = p.start + (size_t)from * p.width;
    const float *rest = s->m->rest + start, *drift = s->m->drift + start;
    const vf factor = splat(drift_factor(s->m));
    for (int i = 0; i < depth * p.width; i += LANES) {
        if (i % 16 == 0) { /* a cache line */
            __builtin_prefetch(rest + i + FAR);
            __builtin_prefetch(drift + i + FAR);
        }
        store(s->block + i, load(rest + i) - factor * load(drift + i));
    }
}

static void forward_dual(session *s) {
    const ep_member *m = s->m;
    layer_scratch *part = &s->layers[0];
    const int units = m->layers[0].out;
    const shape all = shape_of(m->rows, units);
    for (int i = 0; i < tiled(s->batch.count); i++) {
        const size_t row = s->batch.rows[i < s->batch.count ? i : 0];
        s->inputs[i] = m->inputs + row * m->rows;
        copy(part->rows + i * part->stride, m->z0 + row * units, units);
        for (int u = units; u < up(units, LANES); u++) part->rows[i * part->stride + u] = 0.0f;
    }
    for (int i = 0; i < all.panels; i++)
        for (int from = 0; from < s->seen; from += DEPTH) {
            const panel p = panel_of(all, i);
            const int depth = least(DEPTH, s->seen - from);
            form_weights(s, p, from, depth);
            product(p.vectors, &(product_job){.rows = tiled(s->batch.count), .from = from,
                                              .depth = depth, .a = s->inputs, .w = s->block,
                                              .out = part->rows + p.column,
                                              .stride = part->stride,
                                              .positive = from + depth == s->seen});
        }
    if (s->seen == 0) relu(s, part, units);
}

static void rescale_drift(ep_member *m) {
    const size_t size = floats_of(shape_of(m->rows, m->layers[0].out));
    const float scale = (float)m->scale;
    for (size_t i = 0; i < size; i++) m->drift[i] *= scale;
    m->scale = 1.0;
}

static void update_dual(session *s) {
    ep_member *m = s->m;
    const layer_scratch *part = &s->layers[0];
    const shape all = shape_of(m->rows, m->layers[0].out);
    const double momentum = usable_momentum(m);
    if (momentum > 0.0) m->scale *= momentum;
    const vf to_rest = splat((float)(s->rule.rate / (1.0 - momentum)));
    const vf to_drift = splat(momentum > 0.0 ? (float)(s->rule.rate / m->scale) : 0.0f);
    for (int i = 0; i < s->batch.count; i++) {
        const int row = s->batch.rows[i];
        if (row >= s->seen) s->seen = row + 1;
        for (int k = 0; k < all.panels; k++) {
            const panel p = panel_of(all, k);
            float *rest = m->rest + p.start + (size_t)row * p.width;
            float *drift = m->drift + p.start + (size_t)row * p.width;
            for (int j = 0; j < p.width; j += LANES) {
                const vf g = load(part->rows + i * part->stride + p.column + j);
                store(rest + j, load(rest + j) - to_rest * g);
                store(drift + j, load(drift + j) - to_drift * g);
            }
        }
    }
    if (m->scale < LEAST_SCALE) rescale_drift(m);
}

static void snapshot_dual(ep_member *m) {
    const size_t size = floats_of(shape_of(m->rows, m->layers[0].out));
    const vf factor = splat(drift_factor(m));
    for (size_t i = 0; i < size; i += LANES)
        store(m->best_a + i, load(m->rest + i) - factor * load(m->drift + i));
}

#endif
