/* One step of the layers whose weights are kept as they are: all but the dual first one. */
#ifndef EP_LAYERS_H
#define EP_LAYERS_H

#include <math.h>

#include "session.h"

static void copy(float *to, const float *from, size_t count) {
    if (count) memcpy(to, from, count * sizeof(float));
}

/* Outputs start from the bias; without one the first product begins them at zero. */
static void start_rows(const ep_layer *l, layer_scratch *part, int rows) {
    const int padded = up(l->out, LANES);
    if (!l->b && l->in > 0) return;
    for (int i = 0; i < rows; i++) {
        float *row = part->rows + i * part->stride;
        if (l->b) copy(row, l->b, l->out);
        for (int j = l->b ? l->out : 0; j < padded; j++) row[j] = 0.0f;
    }
}

/* A panel's part of the outputs, by the inputs `from` to `from + depth`; after the last ones those
 * of a hidden layer go through the ReLU. */
static void forward_panel(const session *s, const ep_layer *l, layer_scratch *part, panel p,
                          const float *const *inputs, int from, int depth) {
    product(p.vectors, &(product_job){.rows = tiled(s->batch.count), .from = from, .depth = depth,
                                      .a = inputs, .w = l->w + p.start + (size_t)from * p.width,
                                      .out = part->rows + p.column, .stride = part->stride,
                                      .fresh = from == 0 && !l->b,
                                      .positive = l != last_layer(s) && from + depth == l->in});
}

static void relu(const session *s, layer_scratch *part, int units) {
    for (int i = 0; i < tiled(s->batch.count); i++)
        for (int u = 0; u < units; u += LANES) {
            float *at = part->rows + i * part->stride + u;
            store(at, relu_of(load(at)));
        }
}

/* Without inputs the outputs, which are the bias, have met no product. */
static void relu_of_bias(const session *s, const ep_layer *l, layer_scratch *part) {
    if (l->in == 0 && l != last_layer(s)) relu(s, part, l->out);
}

static void forward_layer(session *s, int index) {
    const ep_layer *l = &s->m->layers[index];
    layer_scratch *part = &s->layers[index];
    const shape all = shape_of(l->in, l->out);
    start_rows(l, part, tiled(s->batch.count));
    for (int from = 0; from < l->in; from += DEPTH)
        for (int i = 0; i < all.panels; i++)
            forward_panel(s, l, part, panel_of(all, i), s->layers[index - 1].row, from,
                          least(DEPTH, l->in - from));
    relu_of_bias(s, l, part);
}

/* What a row's loss is above log(sum): the target's mean of top - z, which is `mine` for the label
 * and `spread` summed over all classes. */
INLINE float smoothed(float mine, float spread, int classes, float smoothing) {
    if (smoothing == 0.0f) return mine;
    return (1.0f - smoothing) * mine + smoothing / (float)classes * spread;
}

/* One row of logits to the gradient of `weight` times its loss, in place; returns the loss. The
 * target is (1 - smoothing) * one-hot + smoothing / classes. */
static double softmax_row(float *z, int classes, int label, float weight, float smoothing) {
    const int padded = up(classes, LANES);
    float top = z[0], sum = 0.0f, spread = 0.0f;
    for (int j = 1; j < classes; j++) top = z[j] > top ? z[j] : top;
    for (int j = 0; j < classes; j++) spread += top - z[j];
    const float below = smoothed(top - z[label], spread, classes, smoothing);
    for (int j = 0; j < padded; j += LANES) store(z + j, exponential(load(z + j) - splat(top)));
    for (int j = 0; j < classes; j++) sum += z[j];
    const vf share = splat(weight / sum);
    for (int j = 0; j < padded; j += LANES) store(z + j, load(z + j) * share);
    if (smoothing > 0.0f)
        for (int j = 0; j < classes; j++) z[j] -= weight * (smoothing / (float)classes);
    for (int j = classes; j < padded; j++) z[j] = 0.0f;
    z[label] -= weight * (1.0f - smoothing);
    return (double)(logf(sum) + below);
}

/* Logits to the gradient of the mean loss, in place; returns the sum of the losses, each times its
 * row's importance. */
static double softmax(session *s) {
    const ep_member *m = s->m;
    const layer_scratch *last = &s->layers[m->n_layers - 1];
    double total = 0.0;
    for (int i = 0; i < s->batch.count; i++) {
        const float weight = importance(s, i);
        total += weight * softmax_row(last->rows + i * last->stride, m->layers[m->n_layers - 1].out,
                                      m->labels[s->batch.rows[i]], weight / (float)s->batch.count,
                                      (float)m->label_smoothing);
    }
    return total;
}

/* By a gradient whose rows and units are so many floats apart. */
static void update_bias(ep_layer *l, const float *gradient, size_t row, size_t unit, int rows,
                        sgd rule) {
    for (int u = 0; l->b && u < l->out; u++) {
        float sum = 0.0f;
        for (int i = 0; i < rows; i++) sum += gradient[i * row + u * unit];
        l->b[u] = sgd_one(sum, l->b[u], &l->vb[u], rule);
    }
}

static void scale_gradient(const layer_scratch *part, int rows, int units, float rate) {
    for (int i = 0; i < rows; i++)
        for (int u = 0; u < units; u += LANES) {
            float *at = part->rows + i * part->stride + u;
            store(at, splat(rate) * load(at));
        }
}

static void update_layer(session *s, int index) {
    ep_layer *l = &s->m->layers[index];
    const layer_scratch *part = &s->layers[index];
    const shape all = shape_of(l->in, l->out);
    pack_tiles(s->layers[index - 1].row, s->batch.count, l->in, s->lanes, s->tiles);
    update_bias(l, part->rows, part->stride, 1, s->batch.count, s->rule);
    scale_gradient(part, s->batch.count, l->out, s->rule.rate);
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        update(p.vectors, &(update_job){.rows = s->batch.count, .units = l->in, .lanes = s->lanes,
                                        .a = s->tiles, .g = part->rows + p.column,
                                        .stride = part->stride,
                                        .w = l->w + p.start, .v = l->v + p.start,
                                        .momentum = s->rule.momentum,
                                        .nesterov = s->rule.nesterov});
    }
}

/* Gradient of a layer's inputs, by the weights before their update, to `below`. */
static void backpropagate(session *s, int index) {
    const ep_layer *l = &s->m->layers[index];
    const layer_scratch *part = &s->layers[index];
    const int count = up(s->batch.count, LANES);
    transpose(part->rows, part->stride, count, up(l->out, LANES), s->by_unit, s->lanes);
    back(&(back_job){.all = shape_of(l->in, l->out), .w = l->w, .g = s->by_unit,
                     .out = s->by_unit_below, .lanes = s->lanes, .used = s->batch.count});
    transpose(s->by_unit_below, s->lanes, up(l->in, LANES), count, s->below, stride_of(l->in));
}

/* Activations are replaced by their gradient where they passed the ReLU, elsewhere by zero. */
static void mask_gradient(const session *s, layer_scratch *part, int units) {
    const size_t stride = stride_of(units);
    for (int i = 0; i < s->batch.count; i++)
        for (int u = 0; u < units; u += LANES) {
            float *at = part->rows + i * part->stride + u;
            store(at, choose(load(at) > splat(0.0f), load(s->below + i * stride + u), splat(0.0f)));
        }
}

#endif
