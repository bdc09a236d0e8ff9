/* Training of one member; included once for each instruction set. */
#include "first.h"

/* Inputs up to which the first layer is updated at once: of more, weights and velocities are too many
 * for the cache, and come from memory once a step if their update waits for the next product. */
#ifndef AT_ONCE
#define AT_ONCE 64
#endif

static void forward(session *s) {
    const ep_member *m = s->m;
    if (m->dual) forward_dual(s);
    else pass_primal(s, 1);
    for (int l = 1; l < m->n_layers - (s->narrow.w ? 1 : 0); l++) forward_layer(s, l);
    if (s->narrow.w) forward_narrow(s);
}

static void backward(session *s) {
    const ep_member *m = s->m;
    if (s->narrow.w) backward_narrow(s);
    for (int l = m->n_layers - (s->narrow.w ? 2 : 1); l > 0; l--) {
        backpropagate(s, l);
        update_layer(s, l);
        mask_gradient(s, &s->layers[l - 1], m->layers[l].in);
    }
    if (m->dual) update_dual(s);
    else if (!s->at_once) put_off_update(s);
}

static sgd rule_of(const ep_member *m) {
    const float rate = (float)(m->learning_rate / (1.0 + m->decay * (double)m->step));
    return (sgd){(float)m->momentum, rate, m->nesterov};
}

/* Returns the sum of the losses. */
static double train_step(session *s, minibatch batch) {
    s->batch = batch;
    s->rule = rule_of(s->m);
    forward(s);
    const double loss = s->narrow.w ? softmax_narrow(s) : softmax(s);
    backward(s);
    s->m->step++;
    return loss;
}

static double train_epoch(session *s, const int32_t *order) {
    const int rows = s->m->rows, size = s->m->batch_size;
    double total = 0.0;
    for (int i = 0; i < rows; i += size)
        total += train_step(s, (minibatch){order + i, least(size, rows - i)});
    return total;
}

static void snapshot(session *s) {
    ep_member *m = s->m;
    if (m->dual) snapshot_dual(m);
    else pass_primal(s, 0);
    if (s->narrow.w) close_narrow(s);
    for (int l = 0; l < m->n_layers; l++) {
        const ep_layer *layer = &m->layers[l];
        if (layer->b) copy(layer->best_b, layer->b, layer->out);
        if (layer->w) copy(layer->best_w, layer->w, floats_of(shape_of(layer->in, layer->out)));
    }
}

/* Keras's EarlyStopping: the first epoch is kept whatever its loss; NaN never improves. */
static void end_epoch(session *s, double total) {
    ep_member *m = s->m;
    const float loss = (float)(total / m->rows);
    const int improved = loss + (float)m->min_delta < m->best_loss;
    m->losses[m->epochs_run++] = loss;
    m->wait = improved ? 0 : m->wait + 1;
    if (improved) m->best_loss = loss;
    const int first = m->epochs_before == 0 && m->epochs_run == 1;
    if (m->restore_best && (improved || first)) snapshot(s);
    m->stopped = m->patience > 0 && m->wait >= m->patience && !first;
}

static int train(ep_member *m) {
    session s = {.m = m, .lanes = up(m->batch_size, LANE_GROUP), .seen = m->step ? m->rows : 0};
    char *memory = reserve(&s);
    if (!memory) return -1;
    if (s.narrow.w) open_narrow(&s);
    s.scaled = s.narrow.w && m->n_layers == 2 && !m->dual && !m->layers[0].b;
    s.at_once = s.scaled && m->layers[0].in <= AT_ONCE;
    for (int e = 0; e < m->epochs && !m->stopped; e++)
        end_epoch(&s, train_epoch(&s, m->order + (size_t)e * m->rows));
    if (!m->restore_best) snapshot(&s);
    else if (!m->dual) pass_primal(&s, 0);
    if (s.narrow.w) close_narrow(&s);
    free(memory);
    return 0;
}

/* ---- scores ---- */

/* A row's cross-entropy and whether its first greatest logit is its label's; a NaN is the greatest,
 * as it is for NumPy. Its logits are `stride` floats apart. */
static double score_row(const float *z, size_t stride, int classes, int label, int *right) {
    float top = z[0];
    int best = 0;
    for (int c = 1; c < classes; c++) {
        const float x = z[c * stride];
        if (x > top || (x != x && top == top)) top = x, best = c;
    }
    double sum = 0.0;
    for (int c = 0; c < classes; c++) sum += expf(z[c * stride] - top);
    *right = best == label;
    return log(sum) + top - z[label * stride];
}

static void score_batch(session *s, ep_scores *scores) {
    const layer_scratch *last = &s->layers[s->m->n_layers - 1];
    forward(s);
    for (int i = 0; i < s->batch.count; i++) {
        const float *z = s->narrow.w ? s->narrow.gradient + i : last->rows + i * last->stride;
        int right;
        scores->cross_entropy += score_row(z, s->narrow.w ? s->lanes : 1, last_layer(s)->out,
                                           s->m->labels[s->batch.rows[i]], &right);
        scores->right += right;
    }
}

static int score(ep_member *m, ep_scores *scores) {
    session s = {.m = m, .lanes = up(m->batch_size, LANE_GROUP)};
    char *memory = reserve(&s);
    int32_t *order = malloc(m->batch_size * sizeof(int32_t));
    if (memory && order) {
        if (s.narrow.w) open_narrow(&s);
        for (int from = 0; from < m->rows; from += m->batch_size) {
            s.batch = (minibatch){order, least(m->batch_size, m->rows - from)};
            for (int i = 0; i < s.batch.count; i++) order[i] = from + i;
            score_batch(&s, scores);
        }
    }
    free(order);
    free(memory);
    return memory && order ? 0 : -1;
}

/* ---- layout ---- */

static int64_t floats(int32_t rows, int32_t columns) {
    return (int64_t)floats_of(shape_of(rows, columns));
}

static void pack(const float *plain, int32_t rows, int32_t columns, float *panels) {
    const shape all = shape_of(rows, columns);
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        const int whole = least(p.width, columns - p.column);
        for (int r = 0; r < rows; r++) {
            float *to = panels + p.start + (size_t)r * p.width;
            copy(to, plain + (size_t)r * columns + p.column, whole);
            for (int j = whole; j < p.width; j++) to[j] = 0.0f;
        }
    }
}

static void unpack(const float *panels, int32_t rows, int32_t columns, float *plain) {
    const shape all = shape_of(rows, columns);
    for (int i = 0; i < all.panels; i++) {
        const panel p = panel_of(all, i);
        for (int r = 0; r < rows; r++)
            copy(plain + (size_t)r * columns + p.column, panels + p.start + (size_t)r * p.width,
                 least(p.width, columns - p.column));
    }
}

/* Of a block of LANES x LANES floats the part that lies inside. */
static void transpose_part(const float *from, size_t from_stride, int rows, int columns, float *to,
                           size_t to_stride) {
    float whole[LANES * LANES];
    if (rows == LANES && columns == LANES) {
        transpose_block(from, from_stride, to, to_stride);
        return;
    }
    transpose_block(from, from_stride, whole, LANES);
    for (int c = 0; c < columns; c++) copy(to + c * to_stride, whole + c * LANES, rows);
}

/* Columns that are copied together before they are transposed. */
#define COPIED 64

static void choose_rows(const float *rows, const int64_t *chosen, int32_t count, int32_t columns,
                        float *to) {
    const size_t stride = COPIED + 16; /* or a block's rows would share cache sets */
    float copied[LANES * (COPIED + 16)] = {0};
    for (int r = 0; r < count; r += LANES)
        for (int from = 0; from < columns; from += COPIED) {
            const int some = least(LANES, count - r), wide = least(COPIED, columns - from);
            for (int i = 0; i < some; i++)
                copy(copied + i * stride, rows + (size_t)chosen[r + i] * columns + from, wide);
            for (int c = 0; c < wide; c += LANES)
                transpose_part(copied + c, stride, some, least(LANES, wide - c),
                               to + (size_t)(from + c) * count + r, count);
        }
}
