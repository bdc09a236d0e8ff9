"""Polynomial-decay pruning against a NumPy program and the plain program."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from plain import fit_plain
from test_baselines import splits

from evojax_prune.baselines import Ramp, prune_gradually
from evojax_prune.core.head import HeadSpec, head_spec, init_params
from evojax_prune.core.masks import dense_masks
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.splits import Split
from evojax_prune.engine.batches import epoch_order

DATA = splits()


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 9, 40, 600])
def test_the_ramp_is_zhu_and_guptas_and_leaves_half_of_the_epochs(epochs: int) -> None:
    ramp = Ramp().within(epochs)
    assert ramp.epochs <= epochs / 2
    assert ramp.sparsity(ramp.updates, 0.8) == pytest.approx(0.8)
    if epochs >= 50:
        assert ramp == Ramp()
        steps = [Ramp().sparsity(i, 0.8) for i in range(6)]
        np.testing.assert_allclose(steps, [0.8 - 0.7 * (1 - 5 * i / 25) ** 3 for i in range(6)])
    assert ramp.sparsity(0, 0.05) <= 0.05


def test_nothing_pruned_is_the_dense_head() -> None:
    """With weighted classes, of which one is rare."""
    head = head_spec("both", 8, 3, (6, 5))
    protocol = Protocol(
        epochs=6, batch_size=8, learning_rate=0.05, patience=0, class_weights="balanced"
    )
    rows = np.flatnonzero((DATA.train.y != 2) | (np.arange(len(DATA.train)) < 6))
    data = dataclasses.replace(DATA, train=Split(DATA.train.x[rows], DATA.train.y[rows]))
    ours = prune_gradually(data.train, head, protocol, {0: 1.0, 1: 1.0}, seed=1)
    plain = fit_plain(dense_masks(head), 0, data, protocol, head, seed=1)
    assert ours.epochs == 6
    assert ours.loss == pytest.approx(plain.best_loss, rel=1e-5)
    for name, layer in plain.params.items():
        np.testing.assert_allclose(ours.params[name]["kernel"], layer["kernel"], atol=1e-5)
    assert ours.masks.connections[0].all()


def numpy_program(
    head: HeadSpec, protocol: Protocol, keep: dict[int, float], ramp: Ramp, seed: int
) -> list[dict[str, np.ndarray]]:
    """Keras's Nesterov SGD with polynomial decay, in float64, no early stopping."""
    x, y = DATA.train.x.astype(np.float64), DATA.train.y
    initial = init_params(head, seed)
    layers = [
        {k: v.astype(np.float64) for k, v in initial[f"layer_{i}"].items()}
        for i in range(len(head.hidden) + 1)
    ]
    velocity = [{k: np.zeros_like(v) for k, v in layer.items()} for layer in layers]
    pruned = {i: np.zeros(layers[i]["kernel"].shape, bool) for i in keep}
    for epoch in range(protocol.epochs):
        update, rest = divmod(epoch, ramp.every)
        if not rest and update <= ramp.updates:
            for i, fraction in keep.items():
                final = 1 - fraction
                sparsity = (
                    final + (min(ramp.initial, final) - final) * (1 - update / ramp.updates) ** 3
                )
                size = np.abs(layers[i]["kernel"])
                count = size.size - round((1 - sparsity) * size.size)
                pruned[i] = np.zeros(size.shape, bool)
                pruned[i].ravel()[np.argsort(size, axis=None)[:count]] = True
                layers[i]["kernel"][pruned[i]] = 0
                velocity[i]["kernel"][pruned[i]] = 0
        order = epoch_order(len(y), epoch, seed)
        for begin in range(0, len(y), protocol.batch_size):
            rows = order[begin : begin + protocol.batch_size]
            inputs, z = [], x[rows]
            for i, layer in enumerate(layers):
                inputs.append(z)
                z = z @ layer["kernel"] + layer.get("bias", 0.0)
                z = np.maximum(z, 0) if i < len(layers) - 1 else z
            p = np.exp(z - z.max(1, keepdims=True))
            g = (p / p.sum(1, keepdims=True) - np.eye(3)[y[rows]]) / len(rows)
            for i in reversed(range(len(layers))):
                gradient = {"kernel": inputs[i].T @ g, "bias": g.sum(0)}
                g = (g @ layers[i]["kernel"].T) * (inputs[i] > 0)
                if i in pruned:
                    gradient["kernel"][pruned[i]] = 0
                for k in layers[i]:
                    push = protocol.learning_rate * gradient[k]
                    velocity[i][k] = protocol.momentum * velocity[i][k] - push
                    layers[i][k] = layers[i][k] + protocol.momentum * velocity[i][k] - push
    return layers


@pytest.mark.parametrize(("mode", "keep"), [("features", {0: 0.3}), ("both", {0: 0.5, 1: 0.25})])
def test_it_equals_a_numpy_program(mode: str, keep: dict[int, float]) -> None:
    head = head_spec(mode, 8, 3, (6,) if mode == "features" else (6, 5))
    protocol = Protocol(
        epochs=12, batch_size=8, learning_rate=0.05, decay=0.0, patience=0, restore_best=False
    )
    ramp = Ramp(0.1, updates=3, every=2)
    assert ramp.within(12) == ramp
    ours = prune_gradually(DATA.train, head, protocol, keep, seed=2, ramp=ramp)
    theirs = numpy_program(head, protocol, keep, ramp, seed=2)
    for i, layer in enumerate(theirs):
        np.testing.assert_allclose(ours.params[f"layer_{i}"]["kernel"], layer["kernel"], atol=1e-4)
    for i, fraction in keep.items():
        kept = ours.masks.connections[i][0]
        assert kept.sum() == round(fraction * kept.size)
        assert (ours.params[f"layer_{i}"]["kernel"][~kept] == 0).all()


def test_early_stopping_begins_at_the_final_sparsity() -> None:
    head = head_spec("features", 8, 3, (6,))
    protocol = Protocol(epochs=80, batch_size=8, learning_rate=1e-9, patience=2)
    ours = prune_gradually(DATA.train, head, protocol, {0: 0.5})
    # The loss never falls by min_delta: one epoch sets the mark, then patience runs out.
    assert ours.epochs == Ramp().epochs + 3


@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_a_pruned_weight_stays_zero_under_any_optimizer(optimizer: str) -> None:
    head = head_spec("features", 8, 3, (6,))
    protocol = Protocol(epochs=8, batch_size=8, learning_rate=0.01, optimizer=optimizer)
    with jax.numpy_dtype_promotion("standard"):  # optax relies on it
        ours = prune_gradually(DATA.train, head, protocol, {0: 0.25})
    kernel = ours.params["layer_0"]["kernel"]
    assert (kernel != 0).sum() == 12
    assert (kernel[~ours.masks.connections[0][0]] == 0).all()
