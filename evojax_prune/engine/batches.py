"""The minibatch order that every member of a population sees."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

TABLE_BYTES = 32 * 2**20
"""Most bytes of minibatch order held at a time."""


def epoch_order(rows: int, epoch: int, seed: int) -> np.ndarray:
    """Order ``int32 [rows]`` in which one epoch visits the training rows, the same everywhere."""
    return np.random.default_rng([seed, epoch]).permutation(rows).astype(np.int32)


def order_chunks(
    rows: int, epochs: int, seed: int, most: int | None = None
) -> Iterator[np.ndarray]:
    """The order of all epochs, ``int32 [e, rows]`` at a time.

    Args:
        rows: training rows N.
        epochs: epochs in all.
        seed: seed of the order.
        most: most epochs a chunk; by default what fits in ``TABLE_BYTES``.
    """
    chunk = max(1, TABLE_BYTES // (4 * rows))
    chunk = min(chunk, most) if most else chunk
    for start in range(0, epochs, chunk):
        yield np.stack(
            [epoch_order(rows, e, seed) for e in range(start, min(start + chunk, epochs))]
        )


def steps(order: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts epochs into minibatches; the last one is padded with row 0 at weight 0.

    Args:
        order: ``int32 [e, N]``.
        batch_size: rows a step B.

    Returns:
        Rows ``int32 [e, S, B]`` and weights ``float32 [S, B]``, which are 1 for a row and 0 for
        padding.
    """
    epochs, rows = order.shape
    count = -(-rows // batch_size)
    index = np.zeros((epochs, count * batch_size), np.int32)
    weight = np.zeros(count * batch_size, np.float32)
    index[:, :rows] = order
    weight[:rows] = 1.0
    shape = count, batch_size
    return index.reshape(epochs, *shape), weight.reshape(shape)
