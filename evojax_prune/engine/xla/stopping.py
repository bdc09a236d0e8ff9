"""Early stopping on the training loss, each member for itself, with the best weights kept."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from evojax_prune.core.protocol import Protocol


class StoppingLimits(NamedTuple):
    """When training ends, as scalars: see :class:`evojax_prune.core.protocol.Protocol`."""

    epochs: Any
    patience: Any
    min_delta: Any

    @classmethod
    def of(cls, protocol: Protocol) -> StoppingLimits:
        """The protocol's limits."""
        return cls(
            np.int32(protocol.epochs), np.int32(protocol.patience), np.float32(protocol.min_delta)
        )


class StoppingState(NamedTuple):
    """What early stopping remembers.

    Attributes:
        epoch: epochs run, ``int32``.
        best: lowest training loss so far, infinite before the first epoch.
        wait: epochs since it fell by ``min_delta``.
        done: training has ended.
        kept: weights of the best epoch (of the last one without ``restore_best``).
    """

    epoch: jax.Array
    best: jax.Array
    wait: jax.Array
    done: jax.Array
    kept: Any


def start(weights: Any) -> StoppingState:
    """Before the first epoch."""
    return StoppingState(jnp.int32(0), jnp.float32(jnp.inf), jnp.int32(0), jnp.bool(False), weights)


def after_epoch(
    progress: StoppingState,
    loss: jax.Array,
    weights: Any,
    limits: StoppingLimits,
    restore_best: bool,
) -> StoppingState:
    """Bookkeeping of Keras's ``EarlyStopping(monitor="loss", restore_best_weights=...)``.

    A member that is done ignores further epochs, so that it may go on in step with others. A loss
    that is not a number never improves; the first epoch's weights are kept whatever its loss.
    """
    improved = loss + limits.min_delta < progress.best
    wait = jnp.where(improved, 0, progress.wait + 1)
    epoch = progress.epoch + 1
    stop = (limits.patience > 0) & (wait >= limits.patience) & (epoch > 1)
    keep = (improved | (epoch == 1)) if restore_best else jnp.bool(True)
    after = StoppingState(
        epoch,
        jnp.where(improved, loss, progress.best),
        wait,
        stop | (epoch >= limits.epochs),
        None,
    )
    live = ~progress.done
    kept = jax.tree.map(lambda new, old: jnp.where(keep & live, new, old), weights, progress.kept)
    counts = jax.tree.map(
        lambda new, old: jnp.where(live, new, old), after, progress._replace(kept=None)
    )
    return counts._replace(kept=kept)
