/* Trains one compacted head by minibatch SGD with momentum. See __init__.py for the mathematics. */
#include "kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    float **act;   /* act[l]: inputs of layer l, [batch, in]; act[0] is unused */
    float *g, *g_next; /* gradient of the pre-activations, [batch, widest] */
} scratch;

static void affine(const float *a, int lda, const ep_layer *l, int rows, float *z) {
    for (int i = 0; i < rows; i++) {
        float *zi = z + (size_t)i * l->out;
        for (int j = 0; j < l->out; j++) zi[j] = l->b ? l->b[j] : 0.0f;
        for (int k = 0; k < l->in; k++) {
            const float x = a[(size_t)i * lda + k];
            const float *w = l->w + (size_t)k * l->out;
            for (int j = 0; j < l->out; j++) zi[j] += x * w[j];
        }
    }
}

static float momentum_scale(const ep_member *m) {
    return (float)(m->lookahead * m->scale);
}

static void first_dual(const ep_member *m, const int32_t *batch, int rows, float *z) {
    const ep_layer *l = &m->layers[0];
    const int h = l->out;
    const float c = momentum_scale(m);
    for (int i = 0; i < rows; i++) {
        float *zi = z + (size_t)i * h;
        const float *k = m->inputs + (size_t)batch[i] * m->rows;
        memcpy(zi, m->z0 + (size_t)batch[i] * h, sizeof(float) * h);
        for (int n = 0; n < m->rows; n++)
            for (int j = 0; j < h; j++)
                zi[j] += k[n] * (l->w[(size_t)n * h + j] - c * l->v[(size_t)n * h + j]);
    }
}

static void first_primal(const ep_member *m, const int32_t *batch, int rows, float *z) {
    for (int i = 0; i < rows; i++)
        affine(m->inputs + (size_t)batch[i] * m->layers[0].in, m->layers[0].in, &m->layers[0], 1,
               z + (size_t)i * m->layers[0].out);
}

/* Logits to gradient of the mean loss in place; returns the sum of the losses. */
static double softmax(float *z, int rows, int classes, const int32_t *labels, const int32_t *batch) {
    double total = 0.0;
    const float weight = 1.0f / (float)rows;
    for (int i = 0; i < rows; i++) {
        float *zi = z + (size_t)i * classes;
        const int label = labels[batch[i]];
        float top = zi[0], sum = 0.0f;
        for (int j = 1; j < classes; j++) top = zi[j] > top ? zi[j] : top;
        const float mine = zi[label];
        for (int j = 0; j < classes; j++) sum += zi[j] = expf(zi[j] - top);
        total += logf(sum) + top - mine;
        for (int j = 0; j < classes; j++) zi[j] *= weight / sum;
        zi[label] -= weight;
    }
    return total;
}

static void update(float *w, float *v, float g, float lr, const ep_member *m) {
    const float mu = (float)m->momentum;
    *v = mu * *v - lr * g;
    *w += m->nesterov ? mu * *v - lr * g : *v;
}

/* g [rows, out] -> g_in [rows, in] by the old weights, then the layer's update. */
static void backward(const ep_member *m, int index, const float *a, const int32_t *batch,
                     const float *g, float *g_in, int rows, float lr) {
    ep_layer *l = &m->layers[index];
    for (int i = 0; g_in && i < rows; i++)
        for (int k = 0; k < l->in; k++) {
            float sum = 0.0f;
            for (int j = 0; j < l->out; j++)
                sum += g[(size_t)i * l->out + j] * l->w[(size_t)k * l->out + j];
            g_in[(size_t)i * l->in + k] = a[(size_t)i * l->in + k] > 0.0f ? sum : 0.0f;
        }
    for (int k = 0; k < l->in; k++)
        for (int j = 0; j < l->out; j++) {
            float d = 0.0f;
            for (int i = 0; i < rows; i++)
                d += a[(size_t)(batch ? batch[i] : i) * l->in + k] * g[(size_t)i * l->out + j];
            update(l->w + (size_t)k * l->out + j, l->v + (size_t)k * l->out + j, d, lr, m);
        }
    for (int j = 0; l->b && j < l->out; j++) {
        float d = 0.0f;
        for (int i = 0; i < rows; i++) d += g[(size_t)i * l->out + j];
        update(l->b + j, l->vb + j, d, lr, m);
    }
}

static void scatter(ep_member *m, const int32_t *batch, const float *g, int rows, float lr) {
    ep_layer *l = &m->layers[0];
    if (m->momentum > 0.0) m->scale *= m->momentum;
    const float to_w = (float)(lr / (1.0 - m->momentum)), to_v = (float)(lr / m->scale);
    for (int i = 0; i < rows; i++) {
        float *w = l->w + (size_t)batch[i] * l->out, *v = l->v + (size_t)batch[i] * l->out;
        for (int j = 0; j < l->out; j++) {
            w[j] -= to_w * g[(size_t)i * l->out + j];
            v[j] -= to_v * g[(size_t)i * l->out + j];
        }
    }
    if (m->scale < 1e-18) {
        for (size_t i = 0; i < (size_t)m->rows * l->out; i++) l->v[i] *= (float)m->scale;
        m->scale = 1.0;
    }
}

static double step(ep_member *m, const int32_t *batch, int rows, scratch *s) {
    const int last = m->n_layers - 1;
    const float lr = (float)(m->learning_rate / (1.0 + m->decay * (double)m->step));
    float *z = last ? s->act[1] : s->g;
    if (m->dual) first_dual(m, batch, rows, z);
    else first_primal(m, batch, rows, z);
    for (int l = 1; l <= last; l++) {
        for (size_t i = 0; i < (size_t)rows * m->layers[l].in; i++)
            s->act[l][i] = s->act[l][i] < 0.0f ? 0.0f : s->act[l][i];
        affine(s->act[l], m->layers[l].in, &m->layers[l], rows, l < last ? s->act[l + 1] : s->g);
    }
    const double loss = softmax(s->g, rows, m->layers[last].out, m->labels, batch);
    for (int l = last; l > 0; l--) {
        backward(m, l, s->act[l], NULL, s->g, s->g_next, rows, lr);
        float *swap = s->g;
        s->g = s->g_next;
        s->g_next = swap;
    }
    if (m->dual) scatter(m, batch, s->g, rows, lr);
    else backward(m, 0, m->inputs, batch, s->g, NULL, rows, lr);
    m->step++;
    return loss;
}

static void snapshot(ep_member *m) {
    for (int i = 0; i < m->n_layers; i++) {
        ep_layer *l = &m->layers[i];
        const size_t size = (size_t)l->in * l->out;
        if (i == 0 && m->dual) {
            const float c = momentum_scale(m);
            for (size_t k = 0; k < size; k++) l->best_w[k] = l->w[k] - c * l->v[k];
        } else if (size) {
            memcpy(l->best_w, l->w, size * sizeof(float));
        }
        if (l->b && l->out) memcpy(l->best_b, l->b, l->out * sizeof(float));
    }
}

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

static void release(scratch *s, int n_layers) {
    for (int i = 0; s->act && i < n_layers; i++) free(s->act[i]);
    free(s->act);
    free(s->g);
    free(s->g_next);
}

static int reserve(scratch *s, const ep_member *m) {
    size_t widest = 1;
    for (int i = 0; i < m->n_layers; i++)
        if ((size_t)m->layers[i].out > widest) widest = m->layers[i].out;
    widest *= sizeof(float) * m->batch_size;
    s->act = calloc(m->n_layers, sizeof(float *));
    if (!s->act) return 0;
    int fine = (s->g = malloc(widest)) && (s->g_next = malloc(widest));
    for (int i = 1; fine && i < m->n_layers; i++) fine = (s->act[i] = malloc(widest)) != NULL;
    return fine;
}

int ep_train(ep_member *m) {
    scratch s = {0};
    if (!reserve(&s, m)) {
        release(&s, m->n_layers);
        return -1;
    }
    for (int e = 0; e < m->epochs && !m->stopped; e++) {
        double total = 0.0;
        const int32_t *order = m->order + (size_t)e * m->rows;
        for (int i = 0; i < m->rows; i += m->batch_size)
            total += step(m, order + i, m->rows - i < m->batch_size ? m->rows - i : m->batch_size, &s);
        end_epoch(m, total);
    }
    if (!m->restore_best) snapshot(m);
    release(&s, m->n_layers);
    return 0;
}
