/* A last layer of few classes, in whose panels most floats would be padding.
 *
 * While a member trains, its weights and velocity lie by class, [class][unit], and so do logits and
 * their gradient, [class][lane]: vectors are of units or of lanes, of which there are many. */
#ifndef EP_NARROW_H
#define EP_NARROW_H

#include "layers.h"

/* Calls function(classes, ...) with a constant. */
#define BY_CLASSES(classes, function, ...)            \
    switch (classes) {                                   \
        case 1: function(1, __VA_ARGS__); break;      \
        case 2: function(2, __VA_ARGS__); break;      \
        case 3: function(3, __VA_ARGS__); break;      \
        case 4: function(4, __VA_ARGS__); break;      \
        case 5: function(5, __VA_ARGS__); break;      \
        case 6: function(6, __VA_ARGS__); break;      \
        case 7: function(7, __VA_ARGS__); break;      \
        case 8: function(8, __VA_ARGS__); break;      \
        case 9: function(9, __VA_ARGS__); break;      \
        case 10: function(10, __VA_ARGS__); break;    \
        case 11: function(11, __VA_ARGS__); break;    \
        default: function(NARROW, __VA_ARGS__); break; \
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

/* Rows, a power of two, whose sums with all classes fill the registers. */
#define MOST_ROWS 4

INLINE int rows_at_once(const int classes) {
    return classes < 4 ? MOST_ROWS : classes < 7 ? 2 : 1;
}

/* Products of n rows with all classes, each in LANES parts: `to` is [n][classes][LANES]. Units go
 * up to whole vectors, whose padding has weights of zero. */
INLINE void products_of(const int classes, const int n, const session *s, int lane, float *to) {
    const layer_scratch *part = &s->layers[s->m->n_layers - 2];
    const size_t stride = stride_of(last_layer(s)->in), row = part->stride;
    const float *a = part->rows + lane * row, *w = s->narrow.w;
    vf sum[MOST_ROWS][NARROW];
    for (int r = 0; r < n; r++)
        for (int c = 0; c < classes; c++) sum[r][c] = splat(0.0f);
    for (int u = 0; u < last_layer(s)->in; u += LANES, a += LANES, w += LANES)
        for (int c = 0; c < classes; c++)
            for (int r = 0; r < n; r++) sum[r][c] += load(a + r * row) * load(w + c * stride);
    for (int r = 0; r < n; r++)
        for (int c = 0; c < classes; c++) store(to + (r * classes + c) * LANES, sum[r][c]);
}

/* Of LANES lanes. */
INLINE void logits_of(const int classes, session *s, int lane) {
    const ep_layer *l = last_layer(s);
    const int n = rows_at_once(classes);
    float products[LANES * NARROW * LANES];
    for (int r = 0; r < LANES; r += n)
        products_of(classes, n, s, lane + r, products + r * classes * LANES);
    for (int c = 0; c < classes; c++) {
        vf sum = splat(l->b ? l->b[c] : 0.0f), parts[LANES];
        columns_of(products + c * LANES, classes * LANES, parts);
        for (int k = 0; k < LANES; k++) sum += parts[k];
        store(s->narrow.gradient + c * s->lanes + lane, sum);
    }
}

/* Logits, [class][lane]. */
static void forward_narrow(session *s) {
    for (int lane = 0; lane < s->batch.count; lane += LANES)
        BY_CLASSES(last_layer(s)->out, logits_of, s, lane)
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

/* Of n vectors of units: their weights' update, and the gradient of their activations. */
INLINE void backward_units(const int classes, const int n, session *s, int unit, float *to,
                           size_t to_stride) {
    const layer_scratch *part = &s->layers[s->m->n_layers - 2];
    const size_t stride = stride_of(last_layer(s)->in);
    const size_t lanes = s->lanes, at_stride = part->stride; /* by name, or each store makes the */
    const int count = s->batch.count;                        /* compiler read them again */
    const float *g = s->narrow.gradient, *at = part->rows + unit;
    float *w = s->narrow.w + unit, *v = s->narrow.v + unit;
    vf sum[NARROW][PANEL], weights[NARROW][PANEL];
    for (int c = 0; c < classes; c++)
        for (int j = 0; j < n; j++) {
            sum[c][j] = splat(0.0f);
            weights[c][j] = load(w + c * stride + j * LANES);
        }
    for (int i = 0; i < count; i++, at += at_stride, to += to_stride, g++)
        for (int j = 0; j < n; j++) {
            const vf a = load(at + j * LANES);
            vf below = splat(0.0f);
            for (int c = 0; c < classes; c++) {
                const vf slope = splat(g[c * lanes]);
                sum[c][j] += slope * a;
                below += slope * weights[c][j];
            }
            store(to + j * LANES, choose(a > splat(0.0f), below, splat(0.0f)));
        }
    if (!s->scaled)
        for (int c = 0; c < classes; c++)
            for (int j = 0; j < n; j++) sum[c][j] *= splat(s->rule.rate);
    for (int c = 0; c < classes; c++)
        sgd_row(n, sum[c], w + c * stride, v + c * stride, s->rule.momentum, s->rule.nesterov);
}

/* Of a panel of units. Their gradient replaces the activations or, if the layer before is to be
 * updated at once, is used while it lies in the cache. */
static void backward_panel(session *s, const ep_layer *before, panel p) {
    const layer_scratch *part = &s->layers[s->m->n_layers - 2];
    const int classes = last_layer(s)->out;
    const int most = least(PANEL, SUMS / 2 / classes > 1 ? SUMS / 2 / classes : 1);
    float *to = s->at_once ? s->gradient_of_panel : part->rows + p.column;
    const size_t stride = s->at_once ? PANEL * LANES : part->stride;
    for (int done = 0; done < p.vectors;) {
        const int n = least(most, p.vectors - done), unit = p.column + done * LANES;
        float *some = to + done * LANES;
        switch (n) {
            case 1: BY_CLASSES(classes, backward_units, 1, s, unit, some, stride) break;
            case 2: BY_CLASSES(classes, backward_units, 2, s, unit, some, stride) break;
            default: BY_CLASSES(classes, backward_units, PANEL, s, unit, some, stride)
        }
        done += n;
    }
    if (s->at_once)
        update(p.vectors, &(update_job){.rows = s->batch.count, .units = before->in,
                                        .lanes = s->lanes, .a = s->tiles_before, .g = to,
                                        .stride = stride, .w = before->w + p.start,
                                        .v = before->v + p.start, .momentum = s->rule.momentum,
                                        .nesterov = s->rule.nesterov});
}

/* The layer's update; the activations before it are replaced by their gradient. */
static void backward_narrow(session *s) {
    ep_layer *l = last_layer(s);
    update_bias(l, s->narrow.gradient, 1, s->lanes, s->batch.count, s->rule);
    for (int i = 0; s->scaled && i < l->out * s->lanes; i++) s->narrow.gradient[i] *= s->rule.rate;
    const ep_layer *before = l - 1;
    const shape all = shape_of(before->in, before->out);
    if (s->at_once) pack_tiles(s->inputs, s->batch.count, before->in, s->lanes, s->tiles_before);
    for (int i = 0; i < all.panels; i++) backward_panel(s, before, panel_of(all, i));
}

#endif
