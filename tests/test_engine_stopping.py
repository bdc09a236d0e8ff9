"""Early stopping against Keras's rules, epoch by epoch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from plain import EarlyStopping

from evojax_prune.engine.xla import stopping

MOST = 8
LOSSES = st.lists(st.sampled_from([0.5, 0.55, 1.0, 2.0, np.inf, np.nan]), min_size=1, max_size=MOST)


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
    expected = EarlyStopping(patience, min_delta).until_it_ends(losses)
    assert bool(state.done)
    assert (int(state.epoch), int(state.kept)) == (expected.epochs, expected.kept)
    assert float(state.best) == pytest.approx(expected.best)
