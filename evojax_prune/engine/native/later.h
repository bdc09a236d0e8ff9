/* The layers after the first: forward, loss, backward and update of one step. */
#ifndef EP_LATER_H
#define EP_LATER_H

#include <math.h>

#include "session.h"

/* The masks by row of a block of units and a word of lanes, from those by unit. */
static void mask_rows(const session *s, layer_scratch *part, int first, int units, int word) {
    uint64_t *to = part->row_masks + (size_t)first / BLOCK * s->lanes + word * WORD;
    for (int half = 0; half < BLOCK; half += WORD) {
        uint32_t bits[WORD];
        for (int i = 0; i < WORD; i++) {
            const int unit = first + half + i;
            bits[i] = unit < units ? part->unit_masks[(size_t)unit * s->words + word] : 0;
        }
        transpose_bits(bits);
        for (int i = 0; i < WORD; i++) to[i] = (half ? to[i] : 0) | (uint64_t)bits[i] << half;
    }
}

/* ReLU of preactivations by unit, `stride` apart, and the masks of what is left. */
static void activate(session *s, layer_scratch *part, const float *before, size_t stride, int units) {
    for (int u = 0; u < units; u++)
        for (int w = 0; w < s->words; w++) {
            const float *from = before + u * stride + w * WORD;
            float *to = part->active + (size_t)u * s->lanes + w * WORD;
            for (int i = 0; i < WORD; i += LANES) {
                const vf x = load(from + i);
                store(to + i, choose(x < splat(0.0f), splat(0.0f), x));
            }
            const int left = s->batch.count - w * WORD;
            const uint32_t here = left >= WORD ? ~0u : left > 0 ? (1u << left) - 1 : 0;
            part->unit_masks[u * s->words + w] = nonzero_bits(to) & here;
        }
    for (int first = 0; first < units; first += BLOCK)
        for (int w = 0; w < s->words; w++)
            mask_rows(s, part, first, units, w);
}

static void later_forward(session *s, int index) {
    const ep_layer *l = &s->m->layers[index];
    layer_scratch *part = &s->layers[index];
    const shape all = shape_of(l->in, l->out);
    for (int i = 0; i < s->batch.count; i++) {
        float *row = part->rows + i * part->stride;
        if (l->b) memcpy(row, l->b, l->out * sizeof(float));
        else memset(row, 0, l->out * sizeof(float));
        for (int j = l->out; j < all.vectors * LANES; j++) row[j] = 0.0f;
    }
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        pull(p.vectors, &(pull_job){.units = l->in, .rows = s->batch.count, .words = s->words,
                                    .masks = part->row_masks, .factors = part->active,
                                    .panel = l->w + p.start, .out = part->rows + p.column,
                                    .stride = part->stride});
    }
}

/* Logits in `rows` to the gradient of the mean loss, in place; the sum of the losses. */
static double softmax(session *s) {
    const ep_member *m = s->m;
    const layer_scratch *last = &s->layers[m->n_layers - 1];
    const int classes = m->layers[m->n_layers - 1].out, padded = up(classes, LANES);
    const float weight = 1.0f / (float)s->batch.count;
    double total = 0.0;
    for (int i = 0; i < s->batch.count; i++) {
        float *z = last->rows + i * last->stride;
        const int label = m->labels[s->batch.rows[i]];
        float top = z[0], sum = 0.0f;
        for (int j = 1; j < classes; j++) top = z[j] > top ? z[j] : top;
        const float mine = z[label];
        for (int j = 0; j < padded; j += LANES) store(z + j, exponential(load(z + j) - splat(top)));
        for (int j = 0; j < classes; j++) sum += z[j];
        total += (double)(logf(sum) + (top - mine));
        const vf share = splat(weight / sum);
        for (int j = 0; j < padded; j += LANES) store(z + j, load(z + j) * share);
        for (int j = classes; j < padded; j++) z[j] = 0.0f;
        z[label] -= weight;
    }
    return total;
}

/* Gradient of the outputs of layer `index - 1` from that of layer `index`, by the old weights.
 *
 * Dense: half of the products are not needed, but which half differs from unit to unit on both
 * sides, and the dense tile is as fast as what walks around them. */
static void backpropagate(session *s, int index) {
    const ep_layer *l = &s->m->layers[index];
    const layer_scratch *part = &s->layers[index];
    float *to = s->layers[index - 1].gradient;
    const shape all = shape_of(l->in, l->out);
    memset(to, 0, sizeof(float) * l->in * s->lanes);
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        dense(&(dense_job){.units = l->in, .depth = p.width, .w = l->w + p.start,
                           .stride = p.width, .x = part->gradient + (size_t)p.column * s->lanes,
                           .out = to, .lanes = s->lanes, .used = s->batch.count});
    }
    for (int u = 0; u < l->in; u++)
        for (int i = 0; i < s->lanes; i += LANES) {
            const uint32_t mask = part->unit_masks[u * s->words + i / WORD] >> i % WORD;
            float *at = to + (size_t)u * s->lanes + i;
            store(at, keep(mask, load(at)));
        }
    layer_scratch *below = &s->layers[index - 1];
    transpose(to, s->lanes, up(l->in, LANES), up(s->batch.count, LANES), below->rows,
              below->stride);
}

static void update_bias(const session *s, ep_layer *l, const float *by_unit) {
    for (int u = 0; l->b && u < l->out; u++) {
        float sum = 0.0f;
        for (int i = 0; i < s->batch.count; i++) sum += by_unit[(size_t)u * s->lanes + i];
        l->b[u] = update_one(sum, l->b[u], &l->vb[u], s->rule);
    }
}

/* Columns of a panel of the gradient by row. */
static void pack_gradient(const session *s, const layer_scratch *part, panel p) {
    for (int i = 0; i < s->batch.count; i++) {
        const float *from = part->rows + i * part->stride + p.column;
        float *to = s->block + (size_t)i * p.width;
        for (int j = 0; j < p.width; j += LANES) store(to + j, load(from + j));
    }
}

static void update_later(session *s, int index) {
    ep_layer *l = &s->m->layers[index];
    const layer_scratch *part = &s->layers[index];
    const shape all = shape_of(l->in, l->out);
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        pack_gradient(s, part, p);
        push(p.vectors, &(push_job){.units = l->in, .words = s->words, .masks = part->unit_masks,
                                    .factors = part->active, .block = s->block,
                                    .w = l->w + p.start, .v = l->v + p.start, .stride = p.width,
                                    .rule = s->rule});
    }
    update_bias(s, l, part->gradient);
}

#endif
