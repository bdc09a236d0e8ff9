/* A last layer of few classes, in whose panels most floats would be padding.
 *
 * While a member trains, its weights and velocity lie by class, [class][unit], and so do logits and
 * their gradient, [class][lane]: vectors are of units or of lanes, of which there are many. Every
 * sum goes through the same terms in the same order as in panels. */
#ifndef EP_NARROW_H
#define EP_NARROW_H

#include "layers.h"

/* Calls function(classes, n, ...) with constants. */
#define BY_CLASSES(classes, function, n, ...)            \
    switch (classes) {                                   \
        case 1: function(1, n, __VA_ARGS__); break;      \
        case 2: function(2, n, __VA_ARGS__); break;      \
        case 3: function(3, n, __VA_ARGS__); break;      \
        case 4: function(4, n, __VA_ARGS__); break;      \
        case 5: function(5, n, __VA_ARGS__); break;      \
        case 6: function(6, n, __VA_ARGS__); break;      \
        case 7: function(7, n, __VA_ARGS__); break;      \
        case 8: function(8, n, __VA_ARGS__); break;      \
        case 9: function(9, n, __VA_ARGS__); break;      \
        case 10: function(10, n, __VA_ARGS__); break;    \
        case 11: function(11, n, __VA_ARGS__); break;    \
        default: function(NARROW, n, __VA_ARGS__); break; \
    }

/* ---- between panels, of which there is one, and rows by class ---- */

static void from_panel(const ep_layer *l, const float *panel, float *by_class) {
    const int width = up(l->out, LANES);
    for (int c = 0; c < l->out; c++)
        for (int u = 0; u < l->in; u++)
            by_class[c * stride_of(l->in) + u] = panel[(size_t)u * width + c];
}

static void to_panel(const ep_layer *l, const float *by_class, float *panel) {
    const int width = up(l->out, LANES);
    for (int u = 0; u < l->in; u++)
        for (int c = 0; c < l->out; c++)
            panel[(size_t)u * width + c] = by_class[c * stride_of(l->in) + u];
}

static void open_narrow(session *s) {
    const ep_layer *l = last_layer(s);
    from_panel(l, l->w, s->narrow.w);
    if (l->v) from_panel(l, l->v, s->narrow.v); /* there is none when it is only scored */
}

static void close_narrow(session *s) {
    const ep_layer *l = last_layer(s);
    to_panel(l, s->narrow.w, l->w);
    to_panel(l, s->narrow.v, l->v);
}

/* ---- forward ---- */

/* Activations of some units by unit: [unit][lane]. */
static void activations_by_unit(session *s, int from, int units) {
    const layer_scratch *part = &s->layers[s->m->n_layers - 2];
    for (int i = 0; i < up(s->batch.count, LANES); i += LANES)
        for (int u = 0; u < units; u += LANES)
            transpose_block(part->rows + i * part->stride + from + u, part->stride,
                            s->by_unit + (size_t)u * s->lanes + i, s->lanes);
}

INLINE void logits_of(const int classes, const int n, session *s, int from, int units, int lane) {
    const size_t stride = stride_of(last_layer(s)->in);
    const float *a = s->by_unit + lane, *w = s->narrow.w + from;
    float *out = s->narrow.gradient + lane;
    vf sum[NARROW][2];
    for (int c = 0; c < classes; c++)
        for (int j = 0; j < n; j++) sum[c][j] = load(out + c * s->lanes + j * LANES);
    for (int u = 0; u < units; u++, a += s->lanes)
        for (int c = 0; c < classes; c++)
            for (int j = 0; j < n; j++)
                sum[c][j] += splat(w[c * stride + u]) * load(a + j * LANES);
    for (int c = 0; c < classes; c++)
        for (int j = 0; j < n; j++) store(out + c * s->lanes + j * LANES, sum[c][j]);
}

/* Logits, [class][lane]. */
static void forward_narrow(session *s) {
    const ep_layer *l = last_layer(s);
    const int used = up(s->batch.count, LANES), wide = 2 * l->out <= SUMS;
    for (int c = 0; c < l->out; c++)
        for (int i = 0; i < used; i += LANES)
            store(s->narrow.gradient + c * s->lanes + i, splat(l->b ? l->b[c] : 0.0f));
    for (int from = 0; from < l->in; from += NARROW_DEPTH) {
        const int units = least(NARROW_DEPTH, l->in - from);
        activations_by_unit(s, from, units);
        int lane = 0;
        for (; wide && lane + LANES < used; lane += 2 * LANES)
            BY_CLASSES(l->out, logits_of, 2, s, from, units, lane)
        for (; lane < used; lane += LANES) BY_CLASSES(l->out, logits_of, 1, s, from, units, lane)
    }
}

/* Of LANES lanes; keeps what the losses are made of. */
static void softmax_lanes(float *z, size_t stride, int classes, const float *weight, float *top_of,
                          float *sum_of, float *spread_of) {
    vf top = load(z), sum = splat(0.0f), spread = splat(0.0f);
    for (int c = 1; c < classes; c++) {
        const vf x = load(z + c * stride);
        top = choose(x > top, x, top);
    }
    for (int c = 0; c < classes; c++) {
        const vf x = load(z + c * stride), y = exponential(x - top);
        spread += top - x;
        sum += y;
        store(z + c * stride, y);
    }
    const vf share = load(weight) / sum;
    for (int c = 0; c < classes; c++) store(z + c * stride, load(z + c * stride) * share);
    store(top_of, top);
    store(sum_of, sum);
    store(spread_of, spread);
}

/* As softmax of layers.h. */
static double softmax_narrow(session *s) {
    const int classes = last_layer(s)->out, lanes = s->lanes, count = s->batch.count;
    const float smoothing = (float)s->m->label_smoothing;
    float *z = s->narrow.gradient, *mine = s->narrow.lane;
    float *top = mine + lanes, *sum = top + lanes, *spread = sum + lanes;
    float *weight = spread + lanes, *even = weight + lanes, *own = even + lanes;
    for (int i = 0; i < count; i++) mine[i] = z[s->m->labels[s->batch.rows[i]] * lanes + i];
    for (int i = 0; i < lanes; i++) {
        weight[i] = i < count ? importance(s, i) / (float)count : 0.0f;
        even[i] = weight[i] * (smoothing / (float)classes);
        own[i] = weight[i] * (1.0f - smoothing);
    }
    for (int i = 0; i < count; i += LANES)
        softmax_lanes(z + i, lanes, classes, weight + i, top + i, sum + i, spread + i);
    if (smoothing > 0.0f)
        for (int c = 0; c < classes; c++)
            for (int i = 0; i < lanes; i++) z[c * lanes + i] -= even[i];
    double total = 0.0;
    for (int i = 0; i < count; i++) {
        z[s->m->labels[s->batch.rows[i]] * lanes + i] -= own[i];
        total += importance(s, i) *
                 (logf(sum[i]) + smoothed(top[i] - mine[i], spread[i], classes, smoothing));
    }
    return total;
}

/* ---- backward ---- */

/* Of n vectors of units: their weights' update, and their activations to their gradient. */
INLINE void backward_units(const int classes, const int n, session *s, int unit) {
    const layer_scratch *part = &s->layers[s->m->n_layers - 2];
    const size_t stride = stride_of(last_layer(s)->in);
    const float *g = s->narrow.gradient, *push = s->narrow.push;
    float *at = part->rows + unit, *w = s->narrow.w + unit, *v = s->narrow.v + unit;
    const vf scale = splat(s->scaled ? s->rule.rate : 1.0f);
    vf sum[NARROW][PANEL], weights[NARROW][PANEL];
    for (int c = 0; c < classes; c++)
        for (int j = 0; j < n; j++) {
            sum[c][j] = splat(0.0f);
            weights[c][j] = load(w + c * stride + j * LANES);
        }
    for (int i = 0; i < s->batch.count; i++, at += part->stride, g++, push++)
        for (int j = 0; j < n; j++) {
            const vf a = load(at + j * LANES);
            vf below = splat(0.0f);
            for (int c = 0; c < classes; c++) {
                sum[c][j] += splat(push[c * s->lanes]) * a;
                below += splat(g[c * s->lanes]) * weights[c][j];
            }
            store(at + j * LANES, choose(a > splat(0.0f), scale * below, splat(0.0f)));
        }
    for (int c = 0; c < classes; c++)
        sgd_row(n, sum[c], w + c * stride, v + c * stride, s->rule.momentum, s->rule.nesterov);
}

/* The layer's update; the activations before it are replaced by their gradient. */
static void backward_narrow(session *s) {
    ep_layer *l = last_layer(s);
    for (int c = 0; c < l->out; c++)
        for (int i = 0; i < s->batch.count; i++)
            s->narrow.push[c * s->lanes + i] = s->rule.rate * s->narrow.gradient[c * s->lanes + i];
    const int most = least(PANEL, SUMS / 2 / l->out > 1 ? SUMS / 2 / l->out : 1);
    for (int unit = 0, left = up(l->in, LANES) / LANES; left > 0;) {
        const int n = least(most, left);
        switch (n) {
            case 1: BY_CLASSES(l->out, backward_units, 1, s, unit) break;
            case 2: BY_CLASSES(l->out, backward_units, 2, s, unit) break;
            default: BY_CLASSES(l->out, backward_units, PANEL, s, unit)
        }
        unit += n * LANES;
        left -= n;
    }
    update_bias(l, s->narrow.gradient, 1, s->lanes, s->batch.count, s->rule);
}

#endif
