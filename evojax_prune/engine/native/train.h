/* Training of one member; included once for each instruction set.
 *
 * Of a minibatch, activations and gradients exist in two layouts: `by_unit`, [unit][lane], and
 * `by_row`, [lane][unit], where a lane is a row of the minibatch, padded to whole mask words.
 *
 * Dual form. The first layer's preactivations Z = X W + b of *all* training rows are kept, rather
 * than its weights: a step with preactivation gradients G on the batch changes them by
 * K[:, batch] G, K = X X^T (+ 1 for a bias), and linear as they are in the weights they follow the
 * same rule with the same momentum. The weights themselves are W0 + X^T A, where a step changes
 * only the batch's rows of A in the coordinates
 *   rest = A + k velocity,  drift = velocity / scale,  scale = momentum^steps,
 * as `rest`, where A would come to rest if no more gradients came, moves by G alone.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "kernels.h"

/* Below this momentum the velocity is less than rounding, and its scale would leave float range. */
#define LEAST_MOMENTUM 1e-9
#define LEAST_SCALE 1e-18

typedef struct {
    float *active;   /* by unit, inputs of the layer after ReLU; of layer 0: its preactivations */
    float *gradient; /* by unit, of the layer's outputs before ReLU */
    float *rows;     /* by row, the layer's outputs before ReLU, later their gradient */
    uint32_t *unit_masks; /* [in][words]: lanes in which the input is not zero */
    uint32_t *row_masks;  /* [in / WORD][lanes]: inputs that are not zero in the lane */
    size_t stride;        /* of rows */
} layer_scratch;

typedef struct {
    ep_member *m;
    int words, lanes; /* of a minibatch */
    layer_scratch *layers;
    float *next;                  /* by unit: dual: layer 0's preactivations of the next batch */
    float *block, *block_by_unit; /* a panel's columns of the minibatch's inputs */
    pick after;
    const int32_t *batch; /* the rows of this step */
    int count;
    sgd rule;
} session;

static int up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

/* ---- memory ---- */

/* Called twice: without memory it only counts. */
typedef struct {
    char *memory;
    size_t used;
} arena;

static void *take(arena *a, size_t bytes) {
    void *p = a->memory ? a->memory + a->used : NULL;
    a->used += (bytes + 63) / 64 * 64;
    return p;
}

static void lay_out(session *s, arena *a) {
    const ep_member *m = s->m;
    const size_t lanes = s->lanes, floats = sizeof(float);
    s->layers = take(a, sizeof(layer_scratch) * m->n_layers);
    for (int l = 0; l < m->n_layers; l++) {
        const size_t in = up(l ? m->layers[l].in : m->layers[l].out, WORD);
        const size_t out = up(m->layers[l].out, WORD);
        /* An odd number of cache lines: rows must not all fall into the same cache sets. */
        const size_t stride = (out / 16 | 1) * 16;
        layer_scratch part = {
            .active = take(a, lanes * in * floats),
            .gradient = take(a, lanes * out * floats),
            .rows = take(a, lanes * (stride + 16) * floats),
            .unit_masks = take(a, in * s->words * sizeof(uint32_t)),
            .row_masks = take(a, in / WORD * lanes * sizeof(uint32_t)),
            .stride = stride < out ? stride + 16 : stride,
        };
        if (a->memory) s->layers[l] = part;
    }
    s->block = take(a, lanes * PANEL * LANES * floats);
    s->block_by_unit = take(a, lanes * PANEL * LANES * floats);
    s->after.column = take(a, lanes * sizeof(int));
    s->after.lane = take(a, lanes * sizeof(int));
}

static char *allocate(session *s) {
    arena a = {0};
    lay_out(s, &a);
    a.memory = aligned_alloc(64, a.used + 64);
    if (!a.memory) return NULL;
    memset(a.memory, 0, a.used);
    a.used = 0;
    lay_out(s, &a);
    return a.memory;
}

/* ---- minibatches ---- */

/* Columns from..from+width of the batch's rows of a matrix, packed, zero beyond its last column. */
static void pack_inputs(const session *s, const float *matrix, int columns, panel p) {
    const int whole = columns - p.column < p.width ? columns - p.column : p.width;
    for (int i = 0; i < s->count; i++) {
        const float *from = matrix + (size_t)s->batch[i] * columns + p.column;
        float *to = s->block + (size_t)i * p.width;
        memcpy(to, from, whole * sizeof(float));
        for (int j = whole; j < p.width; j++) to[j] = 0.0f;
    }
}

static void pack_gradient(const session *s, const layer_scratch *part, panel p) {
    for (int i = 0; i < s->count; i++) {
        const float *from = part->rows + i * part->stride + p.column;
        float *to = s->block + (size_t)i * p.width;
        for (int j = 0; j < p.width; j += LANES) store(to + j, load(from + j));
    }
}

/* ---- forward ---- */

static void first_primal(session *s) {
    const ep_layer *l = &s->m->layers[0];
    const shape all = shape_of(l->out, l->in);
    float *out = s->layers[0].active;
    for (int u = 0; u < l->out; u++)
        for (int i = 0; i < s->lanes; i++) out[(size_t)u * s->lanes + i] = l->b ? l->b[u] : 0.0f;
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        pack_inputs(s, s->m->inputs, l->in, p);
        transpose(s->block, p.width, up(s->count, LANES), p.width, s->block_by_unit, s->lanes);
        dense(&(dense_job){.units = l->out, .depth = p.width, .w = l->w + p.start,
                           .stride = p.width, .x = s->block_by_unit, .out = out,
                           .lanes = s->lanes, .used = s->count});
    }
}

/* Dual: where the preactivations of the step's rows are taken from before the first step. */
static void first_dual(session *s) {
    const ep_layer *l = &s->m->layers[0];
    const shape all = shape_of(l->out, s->m->rows);
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        for (int lane = 0; lane < s->count; lane++) {
            const int column = s->batch[lane] - p.column;
            if (column < 0 || column >= p.width) continue;
            for (int u = 0; u < l->out; u++)
                s->layers[0].active[(size_t)u * s->lanes + lane] =
                    l->w[p.start + (size_t)u * p.width + column];
        }
    }
}

/* ReLU of `units` rows of preactivations by unit, and the masks of what is left. */
static void activate(session *s, layer_scratch *part, const float *before, int units) {
    for (int u = 0; u < units; u++)
        for (int w = 0; w < s->words; w++) {
            const float *from = before + (size_t)u * s->lanes + w * WORD;
            float *to = part->active + (size_t)u * s->lanes + w * WORD;
            for (int i = 0; i < WORD; i += LANES) {
                const vf x = load(from + i);
                store(to + i, choose(x < splat(0.0f), splat(0.0f), x));
            }
            const int left = s->count - w * WORD;
            const uint32_t here = left >= WORD ? ~0u : left > 0 ? (1u << left) - 1 : 0;
            part->unit_masks[u * s->words + w] = nonzero_bits(to) & here;
        }
    for (int first = 0; first < units; first += WORD)
        for (int w = 0; w < s->words; w++) {
            uint32_t *to = part->row_masks + (size_t)first / WORD * s->lanes + w * WORD;
            for (int i = 0; i < WORD; i++)
                to[i] = first + i < units ? part->unit_masks[(first + i) * s->words + w] : 0;
            transpose_bits(to);
        }
}

static void later_forward(session *s, int index) {
    const ep_layer *l = &s->m->layers[index];
    layer_scratch *part = &s->layers[index];
    const shape all = shape_of(l->in, l->out);
    for (int i = 0; i < s->count; i++) {
        float *row = part->rows + i * part->stride;
        if (l->b) memcpy(row, l->b, l->out * sizeof(float));
        else memset(row, 0, l->out * sizeof(float));
        for (int j = l->out; j < all.vectors * LANES; j++) row[j] = 0.0f;
    }
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        pull(p.vectors, &(pull_job){.units = l->in, .rows = s->count, .words = s->words,
                                    .masks = part->row_masks, .factors = part->active,
                                    .panel = l->w + p.start, .out = part->rows + p.column,
                                    .stride = part->stride});
    }
}

static void forward(session *s) {
    const ep_member *m = s->m;
    for (int l = 1; l < m->n_layers; l++) {
        layer_scratch *before = &s->layers[l - 1], *part = &s->layers[l];
        const int units = m->layers[l].in;
        const float *z = s->layers[0].active;
        if (l > 1) {
            transpose(before->rows, before->stride, up(s->count, LANES), up(units, LANES),
                      before->gradient, s->lanes);
            z = before->gradient;
        }
        activate(s, part, z, units);
        later_forward(s, l);
    }
}

/* Logits in `rows` to the gradient of the mean loss, in place; the sum of the losses. */
static double softmax(session *s) {
    const ep_member *m = s->m;
    const layer_scratch *last = &s->layers[m->n_layers - 1];
    const int classes = m->layers[m->n_layers - 1].out, padded = up(classes, LANES);
    const float weight = 1.0f / (float)s->count;
    double total = 0.0;
    for (int i = 0; i < s->count; i++) {
        float *z = last->rows + i * last->stride;
        const int label = m->labels[s->batch[i]];
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

/* ---- backward ---- */

/* Gradient by unit of the inputs of layer `index` from that of its outputs, by the old weights. */
static void backpropagate(session *s, int index) {
    const ep_layer *l = &s->m->layers[index];
    const layer_scratch *part = &s->layers[index];
    float *to = s->layers[index - 1].gradient;
    const shape all = shape_of(l->in, l->out);
    memset(to, 0, (size_t)l->in * s->lanes * sizeof(float));
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        dense(&(dense_job){.units = l->in, .depth = p.width, .w = l->w + p.start,
                           .stride = p.width, .x = part->gradient + (size_t)p.column * s->lanes,
                           .out = to, .lanes = s->lanes, .used = s->count});
    }
    for (size_t i = 0; i < (size_t)l->in * s->lanes; i += LANES)
        store(to + i, choose(load(part->active + i) == splat(0.0f), splat(0.0f), load(to + i)));
}

static void update_bias(const session *s, ep_layer *l, const float *by_unit) {
    for (int u = 0; l->b && u < l->out; u++) {
        float sum = 0.0f;
        for (int i = 0; i < s->count; i++) sum += by_unit[(size_t)u * s->lanes + i];
        l->b[u] = update_one(sum, l->b[u], &l->vb[u], s->rule);
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
                                    .w = l->w + p.start, .v = l->v + p.start, .rule = s->rule});
    }
    update_bias(s, l, part->gradient);
}

/* The first layer's weights, or in dual form its preactivations, of which those of the next
 * batch are copied out on the way. */
static void update_first(session *s, const int32_t *next, int next_count) {
    ep_layer *l = &s->m->layers[0];
    const layer_scratch *part = &s->layers[0];
    const int columns = s->m->dual ? s->m->rows : l->in;
    const shape all = shape_of(l->out, columns);
    s->after.out = part->active;
    s->after.lanes = s->lanes;
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        s->after.count = 0;
        for (int lane = 0; lane < next_count; lane++) {
            const int column = next[lane] - p.column;
            if (column < 0 || column >= p.width) continue;
            s->after.column[s->after.count] = column;
            s->after.lane[s->after.count++] = lane;
        }
        pack_inputs(s, s->m->inputs, columns, p);
        push(p.vectors, &(push_job){.units = l->out, .words = s->words,
                                    .masks = s->layers[1].unit_masks, .factors = part->gradient,
                                    .block = s->block, .w = l->w + p.start, .v = l->v + p.start,
                                    .rule = s->rule, .after = s->after});
    }
    update_bias(s, l, part->gradient);
}

static void rescale_drift(ep_member *m) {
    const size_t size = (size_t)m->rows * m->layers[0].out;
    const float scale = (float)m->scale;
    for (size_t i = 0; i < size; i++) m->drift[i] *= scale;
    m->scale = 1.0;
}

static void update_dual_weights(session *s) {
    ep_member *m = s->m;
    const int units = m->layers[0].out;
    const layer_scratch *part = &s->layers[0];
    const double momentum = m->momentum < LEAST_MOMENTUM ? 0.0 : m->momentum;
    if (momentum > 0.0) m->scale *= momentum;
    const float to_rest = (float)(s->rule.rate / (1.0 - momentum));
    const float to_drift = momentum > 0.0 ? (float)(s->rule.rate / m->scale) : 0.0f;
    transpose(part->gradient, s->lanes, up(units, LANES), up(s->count, LANES), part->rows,
              part->stride);
    for (int i = 0; i < s->count; i++) {
        const float *g = part->rows + i * part->stride;
        float *rest = m->rest + (size_t)s->batch[i] * units;
        float *drift = m->drift + (size_t)s->batch[i] * units;
        for (int u = 0; u < units; u++) {
            rest[u] -= to_rest * g[u];
            drift[u] -= to_drift * g[u];
        }
    }
    if (m->scale < LEAST_SCALE) rescale_drift(m);
}

/* ---- steps and epochs ---- */

static double train_step(session *s, const int32_t *next, int next_count) {
    ep_member *m = s->m;
    const int last = m->n_layers - 1;
    const float rate = (float)(m->learning_rate / (1.0 + m->decay * (double)m->step));
    const float momentum = (float)m->momentum;
    s->rule = m->nesterov ? (sgd){momentum, rate, momentum, rate} : (sgd){momentum, rate, 1.0f, 0.0f};
    if (!m->dual) first_primal(s);
    forward(s);
    const double loss = softmax(s);
    transpose(s->layers[last].rows, s->layers[last].stride, up(s->count, LANES),
              up(m->layers[last].out, LANES), s->layers[last].gradient, s->lanes);
    for (int l = last; l > 0; l--) {
        backpropagate(s, l);
        update_later(s, l);
        if (l > 1)
            transpose(s->layers[l - 1].gradient, s->lanes, up(m->layers[l].in, LANES),
                      up(s->count, LANES), s->layers[l - 1].rows, s->layers[l - 1].stride);
    }
    update_first(s, next, m->dual ? next_count : 0);
    if (m->dual) update_dual_weights(s);
    m->step++;
    return loss;
}

static void copy(float *to, const float *from, size_t count) {
    if (count) memcpy(to, from, count * sizeof(float));
}

static void snapshot(ep_member *m) {
    for (int l = 0; l < m->n_layers; l++) {
        const ep_layer *layer = &m->layers[l];
        if (layer->b) copy(layer->best_b, layer->b, layer->out);
        if (l) copy(layer->best_w, layer->w, floats_of(shape_of(layer->in, layer->out)));
        else if (!m->dual) copy(layer->best_w, layer->w, floats_of(shape_of(layer->out, layer->in)));
    }
    if (!m->dual) return;
    const double mu = m->momentum < LEAST_MOMENTUM ? 0.0 : m->momentum;
    const float back = (float)((m->nesterov ? mu * mu : mu) / (1.0 - mu) * m->scale);
    for (size_t i = 0; i < (size_t)m->rows * m->layers[0].out; i++)
        m->best_a[i] = m->rest[i] - back * m->drift[i];
}

/* Keras's EarlyStopping: the first epoch is kept whatever its loss; NaN never improves. */
static void end_epoch(ep_member *m, double total) {
    const float loss = (float)(total / m->rows);
    const int improved = loss + (float)m->min_delta < m->best_loss;
    m->losses[m->epochs_run++] = loss;
    m->wait = improved ? 0 : m->wait + 1;
    if (improved) m->best_loss = loss;
    const int first = m->epochs_before == 0 && m->epochs_run == 1;
    if (m->restore_best && (improved || first)) snapshot(m);
    m->stopped = m->patience > 0 && m->wait >= m->patience && !first;
}

static double train_epoch(session *s, const int32_t *order, int last_epoch) {
    const int rows = s->m->rows, size = s->m->batch_size;
    double total = 0.0;
    for (int i = 0; i < rows; i += size) {
        s->batch = order + i;
        s->count = rows - i < size ? rows - i : size;
        const int next = i + size < rows ? i + size : rows; /* may be the next epoch's first */
        int left = next < rows ? rows - next : last_epoch ? 0 : rows;
        if (left > size) left = size;
        total += train_step(s, order + next, left);
    }
    return total;
}

static int train(ep_member *m) {
    session s = {.m = m, .words = up(m->batch_size, WORD) / WORD};
    s.lanes = s.words * WORD;
    char *memory = allocate(&s);
    if (!memory) return -1;
    s.batch = m->order;
    s.count = m->batch_size;
    if (m->dual) first_dual(&s);
    for (int e = 0; e < m->epochs && !m->stopped; e++)
        end_epoch(m, train_epoch(&s, m->order + (size_t)e * m->rows, e == m->epochs - 1));
    if (!m->restore_best) snapshot(m);
    free(memory);
    return 0;
}

/* ---- layout ---- */

static int64_t floats(int32_t rows, int32_t columns) {
    return (int64_t)floats_of(shape_of(rows, columns));
}

/* The plain matrix's steps from row to row and from column to column. */
static void strides(int32_t rows, int32_t columns, int32_t transposed, size_t *row, size_t *column) {
    *row = transposed ? 1 : (size_t)columns;
    *column = transposed ? (size_t)rows : 1;
}

static void pack(const float *plain, int32_t rows, int32_t columns, int32_t transposed,
                 float *panels) {
    const shape all = shape_of(rows, columns);
    size_t down, across;
    strides(rows, columns, transposed, &down, &across);
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < p.width; j++)
                panels[p.start + (size_t)r * p.width + j] =
                    p.column + j < columns ? plain[r * down + (p.column + j) * across] : 0.0f;
    }
}

static void unpack(const float *panels, int32_t rows, int32_t columns, int32_t transposed,
                   float *plain) {
    const shape all = shape_of(rows, columns);
    size_t down, across;
    strides(rows, columns, transposed, &down, &across);
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < p.width && p.column + j < columns; j++)
                plain[r * down + (p.column + j) * across] = panels[p.start + (size_t)r * p.width + j];
    }
}
