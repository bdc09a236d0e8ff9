"""Early stopping against Keras's rules, epoch by epoch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evojax_prune.engine.xla import stopping

MOST = 8
LOSSES = st.lists(st.sampled_from([0.5, 0.55, 1.0, 2.0, np.inf, np.nan]), min_size=1, max_size=MOST)


def keras(losses: list[float], patience: int, min_delta: float) -> tuple[int, int, float]:
    """Epochs run, the epoch whose weights are kept, and the lowest loss.

    As in ``keras.callbacks.EarlyStopping(monitor="loss", restore_best_weights=True)``.
    """
    best, kept, wait = np.inf, 1, 0
    for epoch, loss in enumerate(losses, 1):
        wait += 1
        if loss + min_delta < best:
            best, kept, wait = loss, epoch, 0
        if patience and wait >= patience and epoch > 1:
            break
    return epoch, kept, best


@jax.jit
def ours(losses: jax.Array, limits: stopping.StoppingLimits) -> stopping.StoppingState:
    state = stopping.start(jnp.int32(0))
    for epoch in range(MOST):
        state = stopping.after_epoch(state, losses[epoch], jnp.int32(epoch + 1), limits, True)
    return state


@given(LOSSES, st.integers(0, 4), st.sampled_from([0.0, 0.1]))
@example([np.nan, 1.0, 0.5], 1, 0.0)
def test_it_ends_where_keras_ends(losses: list[float], patience: int, min_delta: float) -> None:
    limits = stopping.StoppingLimits(
        np.int32(len(losses)), np.int32(patience), np.float32(min_delta)
    )
    padded = np.float32([*losses, *[0.0] * (MOST - len(losses))])  # what would be an improvement
    state = ours(padded, limits)
    epochs, kept, best = keras(losses, patience, min_delta)
    assert bool(state.done)
    assert (int(state.epoch), int(state.kept)) == (epochs, kept)
    assert float(state.best) == pytest.approx(best)
