"""Small problems for the native kernel, and the references that it is held against."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from plain import Descent, smoothed

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


def run_float64(problem: Problem, protocol: Protocol) -> tuple[list[float], list[list[Layer]]]:
    """Losses of every epoch and the layers after each, by the plain program's derivatives."""
    params = {
        f"layer_{i}": {"kernel": kernel} | ({} if bias is None else {"bias": bias})
        for i, (kernel, bias) in enumerate(problem.layers)
    }
    classes = problem.layers[-1][0].shape[1]
    descent = Descent(params, protocol, dict.fromkeys(params, 1.0), [1.0] * (len(params) - 1))
    target, weight = smoothed(problem.y, classes, protocol.label_smoothing), np.ones(len(problem.y))
    losses, history = [], []
    for order in problem.order:
        losses.append(descent.epoch(problem.x[order], target[order], weight))
        layers = descent.params.values()
        history.append([(layer["kernel"], layer.get("bias")) for layer in layers])
    return losses, history


def assert_layers_close(got, wanted, tolerance):
    for (kernel, bias), (kernel_0, bias_0) in zip(got, wanted, strict=True):
        np.testing.assert_allclose(kernel, kernel_0, rtol=0, atol=tolerance)
        assert (bias is None) == (bias_0 is None)
        if bias is not None:
            np.testing.assert_allclose(bias, bias_0, rtol=0, atol=tolerance)
