/* Matrices in panels: a panel is all rows of three vectors' columns, or two at the edge, so that
 * products of a few rows with it stay in registers. Panels follow one another; inside one, row
 * follows row. */
#ifndef EP_PANELS_H
#define EP_PANELS_H

#include "vector.h"

/* Vectors in a row of a panel. */
#define PANEL 3

typedef struct {
    int rows, columns, vectors, panels;
} shape;

typedef struct {
    size_t start; /* of the panel, in floats */
    int column;   /* its first one */
    int vectors;  /* of a row */
    int width;    /* of a row, in floats */
} panel;

INLINE shape shape_of(int rows, int columns) {
    const int vectors = (columns + LANES - 1) / LANES;
    return (shape){rows, columns, vectors, (vectors + PANEL - 1) / PANEL};
}

/* Panels are of even width: a single vector at the edge would leave the processor waiting. */
INLINE panel panel_of(shape s, int index) {
    const int from = (int)((int64_t)s.vectors * index / s.panels);
    const int to = (int)((int64_t)s.vectors * (index + 1) / s.panels);
    return (panel){(size_t)s.rows * from * LANES, from * LANES, to - from, (to - from) * LANES};
}

INLINE size_t floats_of(shape s) { return (size_t)s.rows * s.vectors * LANES; }

#endif
