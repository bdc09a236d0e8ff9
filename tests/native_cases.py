"""Small problems for the native kernel, and the references that it is held against."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from evojax_prune.core.protocol import Protocol
from evojax_prune.engine import native

Layer = tuple[np.ndarray, np.ndarray | None]


@dataclasses.dataclass(frozen=True)
class Problem:
    x: np.ndarray
    y: np.ndarray
    order: np.ndarray
    layers: list[tuple[np.ndarray, np.ndarray | None]]


def make_problem(widths, rows, epochs, *, seed=0, bias=None) -> Problem:
    rng = np.random.default_rng(seed)
    classes = widths[-1]
    y = rng.integers(0, classes, rows).astype(np.int32)
    centres = rng.standard_normal((classes, widths[0])) * 0.3
    x = np.maximum(centres[y] + 0.5 * rng.standard_normal((rows, widths[0])) + 0.2, 0)
    bias = bias or (True,) * (len(widths) - 1)
    layers = []
    for has_bias, (a, b) in zip(bias, itertools.pairwise(widths), strict=True):
        limit = np.sqrt(6 / max(a + b, 1))
        kernel = rng.uniform(-limit, limit, (a, b)).astype(np.float32)
        layers.append((kernel, rng.normal(0, 0.1, b).astype(np.float32) if has_bias else None))
    order = np.stack([rng.permutation(rows) for _ in range(epochs)]).astype(np.int32)
    return Problem(x.astype(np.float32), y, order, layers)


def run_native(problem: Problem, protocol: Protocol, *, dual: bool, chunks=None):
    """State after training and the best layers in ordinary coordinates."""
    kernel, bias = problem.layers[0]
    state = native.init_state(problem.layers, rows=len(problem.x), dual=dual)
    inputs, z0 = problem.x, None
    if dual:
        x64 = problem.x.astype(np.float64)
        inputs = (x64 @ x64.T + (bias is not None)).astype(np.float32)
        z0 = x64 @ kernel + (0 if bias is None else bias)
        z0 = z0.astype(np.float32)
    for order in np.split(problem.order, chunks or []):
        native.train_epochs(state, inputs, z0, problem.y, order, protocol)
    first, first_bias, rest = native.best(state)
    if dual:
        first_bias = None if bias is None else bias + first.sum(0)
        first = kernel + problem.x.T @ first
    return state, [(first, first_bias), *rest]


def forward(layers, x):
    for i, (kernel, bias) in enumerate(layers):
        x = x @ kernel
        x = x if bias is None else x + bias[None]
        x = np.maximum(x, 0) if i < len(layers) - 1 else x
    return x


def smooth_targets(problem: Problem, smoothing: float) -> np.ndarray:
    """Targets ``float64 [N, C]``."""
    classes = problem.layers[-1][0].shape[1]
    return (1 - smoothing) * np.eye(classes)[problem.y] + smoothing / classes


def run_float64(problem: Problem, protocol: Protocol) -> tuple[list[float], list[list[Layer]]]:
    """Losses of every epoch and the layers after each, by hand-written backpropagation."""
    layers = [[a.astype(np.float64) for a in layer if a is not None] for layer in problem.layers]
    velocity = [[np.zeros_like(a) for a in layer] for layer in layers]
    losses, history, t, m = [], [], 0, protocol.momentum
    targets = smooth_targets(problem, protocol.label_smoothing)
    for order in problem.order:
        total = 0.0
        for i in range(0, len(order), protocol.batch_size):
            rows = order[i : i + protocol.batch_size]
            acts = [problem.x[rows].astype(np.float64)]
            for k, layer in enumerate(layers):
                z = acts[-1] @ layer[0] + (layer[1] if len(layer) > 1 else 0.0)
                acts.append(np.maximum(z, 0.0) if k < len(layers) - 1 else z)
            z = acts.pop()
            top = z.max(1, keepdims=True)
            p = np.exp(z - top)
            total += (np.log(p.sum(1)) + top[:, 0] - (targets[rows] * z).sum(1)).sum()
            g = (p / p.sum(1, keepdims=True) - targets[rows]) / len(rows)
            lr = protocol.learning_rate / (1 + protocol.decay * t)
            for layer, v, a in zip(layers[::-1], velocity[::-1], acts[::-1], strict=True):
                grads = [a.T @ g, g.sum(0)][: len(layer)]
                g = (g @ layer[0].T) * (a > 0)
                for j, d in enumerate(grads):
                    v[j] = m * v[j] - lr * d
                    layer[j] = layer[j] + (m * v[j] - lr * d if protocol.nesterov else v[j])
            t += 1
        losses.append(total / len(order))
        history.append([(layer[0], layer[1] if len(layer) > 1 else None) for layer in layers])
    return losses, history


def assert_layers_close(got, wanted, tolerance):
    for (kernel, bias), (kernel_0, bias_0) in zip(got, wanted, strict=True):
        np.testing.assert_allclose(kernel, kernel_0, rtol=0, atol=tolerance)
        assert (bias is None) == (bias_0 is None)
        if bias is not None:
            np.testing.assert_allclose(bias, bias_0, rtol=0, atol=tolerance)
