"""Early stopping on the training loss, one member at a time, with the best weights kept."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Limits(NamedTuple):
    """When training ends, as scalars: see :class:`evojax_prune.core.protocol.Protocol`."""

    epochs: Any
    patience: Any
    min_delta: Any


class Progress(NamedTuple):
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


def start(weights: Any) -> Progress:
    """Before the first epoch."""
    return Progress(jnp.int32(0), jnp.float32(jnp.inf), jnp.int32(0), jnp.bool(False), weights)


def after_epoch(
    progress: Progress, loss: jax.Array, weights: Any, limits: Limits, restore_best: bool
) -> Progress:
    """Bookkeeping of Keras's ``EarlyStopping(monitor="loss", restore_best_weights=...)``.

    A member that is done ignores further epochs, so that it may go on in step with others. A loss
    that is not a number never improves; the first epoch's weights are kept whatever its loss.
    """
    improved = loss + limits.min_delta < progress.best
    wait = jnp.where(improved, 0, progress.wait + 1)
    epoch = progress.epoch + 1
    stop = (limits.patience > 0) & (wait >= limits.patience) & (epoch > 1)
    keep = (improved | (epoch == 1)) if restore_best else jnp.bool(True)
    after = Progress(
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
