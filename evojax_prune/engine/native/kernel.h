/* The kernel's whole interface; __init__.py mirrors the two structures in ctypes. */
#ifndef EP_KERNEL_H
#define EP_KERNEL_H

#include <stdint.h>

typedef struct {
    int32_t in, out;
    float *w, *v, *best_w; /* [in, out] weights, velocity, best weights; dual: see ep_member.dual */
    float *b, *vb, *best_b; /* [out], or all NULL for a layer without a bias */
} ep_layer;

typedef struct {
    /* the problem, read only */
    const float *inputs;   /* [rows, features], dual: the Gram matrix [rows, rows] */
    const float *z0;       /* dual: first pre-activations at the start [rows, out of layer 0] */
    const int32_t *labels; /* [rows], each below the last layer's out */
    const int32_t *order;  /* [epochs, rows], each row a permutation */
    int32_t rows, epochs, n_layers, dual;
    /* the recipe */
    double learning_rate, momentum, decay, min_delta;
    double lookahead; /* k, where a unit left alone comes to rest at w + k v */
    int32_t batch_size, nesterov, patience, restore_best;
    /* the state */
    ep_layer *layers;
    double scale; /* dual: velocity = scale * v of layer 0 */
    int64_t step;
    float best_loss;
    int32_t wait, stopped;
    /* what this call did */
    int32_t epochs_before, epochs_run;
    double *losses; /* [epochs] */
} ep_member;

/* Trains in place for at most `epochs` epochs; 0, or -1 when out of memory. */
int ep_train(ep_member *member);

#endif
