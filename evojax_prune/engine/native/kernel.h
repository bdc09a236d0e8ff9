/* The kernel's whole interface; library.py mirrors the structures in ctypes. */
#ifndef EP_KERNEL_H
#define EP_KERNEL_H

#include <stdint.h>

/* A layer's weights, velocity and best weights: kernels in panels (panels.h) of [in, out]. */
typedef struct {
    int32_t in, out;
    float *w, *v, *best_w;  /* dual: NULL in the first layer */
    float *b, *vb, *best_b; /* [out], or all NULL without a bias; dual: NULL in the first layer */
} ep_layer;

typedef struct {
    /* the problem, read only */
    const float *inputs;   /* [rows, in of layer 0]; dual: the Gram matrix [rows, rows] */
    const float *z0;       /* dual: first preactivations at the start [rows, out of layer 0] */
    const int32_t *labels; /* [rows], each below the last layer's out */
    const int32_t *order;  /* [epochs, rows], each row a permutation */
    int32_t rows, epochs, n_layers, dual;
    /* the recipe */
    double learning_rate, momentum, decay, min_delta, label_smoothing;
    const float *class_weights; /* [out of the last layer], or NULL for 1 */
    int32_t batch_size, nesterov, patience, restore_best;
    /* the state */
    ep_layer *layers;
    float *rest, *drift, *best_a; /* dual: panels of [rows, out of layer 0], see first.h */
    double scale;                 /* of drift */
    int64_t step;
    float best_loss;
    int32_t wait, stopped;
    /* what this call did */
    int32_t epochs_before, epochs_run;
    double *losses; /* [epochs] */
} ep_member;

typedef struct {
    double right;         /* rows classified rightly */
    double cross_entropy; /* their sum, nats */
} ep_scores;

/* Trains in place for at most `epochs` epochs; 0, or -1 when out of memory. */
int ep_train(ep_member *member);

/* Scores the weights `w` and `b` of a member in primal form, which has only a problem without an
 * order, a batch size and layers: the return value of ep_train. */
int ep_score(ep_member *member, ep_scores *scores);

/* Floats of a matrix in panels. */
int64_t ep_floats(int32_t rows, int32_t columns);

/* Between a plain matrix and panels. */
void ep_pack(const float *plain, int32_t rows, int32_t columns, float *panels);
void ep_unpack(const float *panels, int32_t rows, int32_t columns, float *plain);

/* Chosen rows of a matrix [.., columns], transposed: `to` is [columns, count]. */
void ep_choose(const float *rows, const int64_t *chosen, int32_t count, int32_t columns, float *to);

/* Counts changes of the functions. */
#define EP_VERSION 4

/* By this and the bytes of both structures a library of another version than its caller's is
 * told. */
int64_t ep_interface(void);

/* The instruction set in use, for people. */
const char *ep_instructions(void);

/* One build of the code for one instruction set. */
typedef struct {
    const char *instructions;
    int (*train)(ep_member *);
    int (*score)(ep_member *, ep_scores *);
    int64_t (*floats)(int32_t, int32_t);
    void (*pack)(const float *, int32_t, int32_t, float *);
    void (*unpack)(const float *, int32_t, int32_t, float *);
    void (*choose)(const float *, const int64_t *, int32_t, int32_t, float *);
} ep_variant;

#endif
