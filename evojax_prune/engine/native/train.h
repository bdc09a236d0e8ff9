/* Training of one member; included once for each instruction set. */
#include "first.h"
#include "later.h"

static void forward(session *s, const float *z, size_t stride) {
    const ep_member *m = s->m;
    for (int l = 1; l < m->n_layers; l++) {
        layer_scratch *before = &s->layers[l - 1];
        const int units = m->layers[l].in;
        if (l > 1) {
            transpose(before->rows, before->stride, up(s->batch.count, LANES), up(units, LANES),
                      before->gradient, s->lanes);
            z = before->gradient;
            stride = s->lanes;
        }
        activate(s, &s->layers[l], z, stride, units);
        later_forward(s, l);
    }
}

static void backward(session *s) {
    const ep_member *m = s->m;
    const int last = m->n_layers - 1;
    transpose(s->layers[last].rows, s->layers[last].stride, up(s->batch.count, LANES),
              up(m->layers[last].out, LANES), s->layers[last].gradient, s->lanes);
    for (int l = last; l > 0; l--) {
        backpropagate(s, l);
        update_later(s, l);
    }
}

static sgd rule_of(const ep_member *m) {
    const float rate = (float)(m->learning_rate / (1.0 + m->decay * (double)m->step));
    const float momentum = (float)m->momentum;
    if (m->nesterov) return (sgd){momentum, rate, momentum, rate};
    return (sgd){momentum, rate, 1.0f, 0.0f};
}

/* One step but for the first layer's update, which is left pending; the sum of the losses. */
static double train_step(session *s, const float *z, size_t stride) {
    ep_member *m = s->m;
    push_later *step = &s->pending[s->n_pending];
    s->rule = rule_of(m);
    s->layers[0].gradient = step->gradient;
    forward(s, z, stride);
    const double loss = softmax(s);
    backward(s);
    step->batch = s->batch;
    step->rule = s->rule;
    if (m->layers[1].in)
        memcpy(step->masks, s->layers[1].unit_masks,
               sizeof(uint32_t) * s->words * m->layers[1].in);
    update_bias(s, &m->layers[0], step->gradient);
    m->step++;
    s->n_pending++;
    return loss;
}

static int steps_an_epoch(const ep_member *m) {
    return (m->rows + m->batch_size - 1) / m->batch_size;
}

/* The minibatch of a step, counted from the start of the order. */
static minibatch batch_at(const ep_member *m, int64_t step) {
    const int64_t epoch = step / steps_an_epoch(m), from = step % steps_an_epoch(m) * m->batch_size;
    return (minibatch){m->order + epoch * m->rows + from, least(m->batch_size, m->rows - (int)from)};
}

/* The minibatches of the steps from `from` on, as many as `near` has room for. */
static int find_coming(session *s, int64_t from, minibatch *coming) {
    const int64_t left = (int64_t)s->m->epochs * steps_an_epoch(s->m) - from;
    const int steps = left < s->most_pending ? (int)left : s->most_pending;
    for (int t = 0; t < steps; t++) coming[t] = batch_at(s->m, from + t);
    return steps;
}

static double step_dual(session *s, int64_t number) {
    if (s->n_pending == s->near_steps) {
        s->near_steps = find_coming(s, number, s->coming);
        pass_dual(s, s->coming, s->near_steps);
    }
    const int t = s->n_pending;
    s->batch = s->coming[t];
    const size_t stride = (size_t)s->most_pending * s->lanes;
    const double loss = train_step(s, s->near + t * s->lanes, stride);
    push_near(s, s->coming, t, s->near_steps);
    update_dual_weights(s, &s->pending[t]);
    return loss;
}

static double step_primal(session *s, int64_t number) {
    s->batch = batch_at(s->m, number);
    pass_primal(s, 1);
    return train_step(s, s->near, s->lanes);
}

static void copy(float *to, const float *from, size_t count) {
    if (count) memcpy(to, from, count * sizeof(float));
}

static void snapshot(session *s) {
    ep_member *m = s->m;
    if (m->dual) snapshot_dual(m);
    else pass_primal(s, 0);
    for (int l = 0; l < m->n_layers; l++) {
        const ep_layer *layer = &m->layers[l];
        if (layer->b) copy(layer->best_b, layer->b, layer->out);
        if (l) copy(layer->best_w, layer->w, floats_of(shape_of(layer->in, layer->out)));
        else if (!m->dual) copy(layer->best_w, layer->w, floats_of(shape_of(layer->out, layer->in)));
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
    session s = {.m = m, .words = up(m->batch_size, WORD) / WORD};
    s.lanes = s.words * WORD;
    s.most_pending = steps_near(m, s.lanes);
    char *memory = reserve(&s);
    if (!memory) return -1;
    int64_t number = 0;
    for (int e = 0; e < m->epochs && !m->stopped; e++) {
        double total = 0.0;
        for (int i = 0; i < steps_an_epoch(m); i++, number++)
            total += m->dual ? step_dual(&s, number) : step_primal(&s, number);
        end_epoch(&s, total);
    }
    if (!m->restore_best) snapshot(&s);
    if (m->dual && !m->stopped) pass_dual(&s, NULL, 0);
    if (!m->dual) pass_primal(&s, 0);
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
