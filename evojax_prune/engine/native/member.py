"""Training of one compacted member by the native kernel; NumPy arrays in and out."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from evojax_prune.core.protocol import Protocol
from evojax_prune.engine.native import panels
from evojax_prune.engine.native.library import NativeLayer, NativeMember, NativeScores, kernel

Pair = tuple[np.ndarray, np.ndarray | None]
"""Kernel ``float32 [in, out]`` and bias ``float32 [out]`` of a layer, None without a bias."""

SCORED_ROWS = 32
"""Rows scored at a time."""


@dataclasses.dataclass
class Bias:
    """A layer's bias ``float32 [out]``, its velocity and its best values."""

    now: np.ndarray
    velocity: np.ndarray
    best: np.ndarray


@dataclasses.dataclass
class LayerState:
    """One layer: weights, velocity and best weights in panels; None in the dual first layer."""

    inputs: int
    outputs: int
    now: np.ndarray | None
    velocity: np.ndarray | None
    best: np.ndarray | None
    bias: Bias | None


@dataclasses.dataclass
class DualWeights:
    """``A [N, H]`` of the dual form, in panels, in the coordinates that ``first.h`` explains."""

    rest: np.ndarray
    drift: np.ndarray
    best: np.ndarray
    scale: float = 1.0


@dataclasses.dataclass
class MemberState:
    """Training state of one member, changed in place by :func:`train_epochs`.

    Attributes:
        rows: training rows N.
        layers: buffers of each layer.
        dual: what the first layer learns in dual form, ``W1 = W1_0 + X^T A``; None in primal form.
        step: steps taken.
        epochs: epochs run.
        best_loss: lowest training loss in nats, as early stopping counts it.
        wait: epochs without an improvement.
        stopped: training is over, by early stopping or at the protocol's epochs.
        losses: mean training loss of every epoch run, in nats.
    """

    rows: int
    layers: list[LayerState]
    dual: DualWeights | None
    step: int = 0
    epochs: int = 0
    best_loss: float = float("inf")
    wait: int = 0
    stopped: bool = False
    losses: list[float] = dataclasses.field(default_factory=list)


def init_state(layers: Sequence[Pair], *, rows: int, dual: bool) -> MemberState:
    """State at rest.

    Args:
        layers: initial kernel and bias of each layer, at least two; in dual form only the width of
            the first one counts (a bias of it belongs into the Gram matrix).
        rows: training rows N.
        dual: learn the first layer in dual form.

    Raises:
        ValueError: fewer than two layers, or shapes that do not fit together.
        RuntimeError: the kernel is not available.
    """
    _check_layers(layers)
    (first, _), *later = layers
    if not dual:
        return MemberState(rows, [_layer_state(*layer) for layer in layers], None)
    outputs = first.shape[1]
    rest, drift, best = (panels.zeros(rows, outputs) for _ in range(3))
    weights = DualWeights(rest, drift, best)
    layer = LayerState(first.shape[0], outputs, None, None, None, None)
    return MemberState(rows, [layer, *(_layer_state(*pair) for pair in later)], weights)


def train_epochs(
    state: MemberState,
    inputs: np.ndarray,
    z0: np.ndarray | None,
    y: np.ndarray,
    order: np.ndarray,
    protocol: Protocol,
    class_weights: np.ndarray | None = None,
) -> None:
    """Trains a member in place through some epochs, until it stops.

    Several calls give exactly what one call with all epochs gives. Thread-safe for different
    states; ``inputs``, ``z0``, ``y`` and ``order`` are only read, and not copied if they are
    contiguous arrays of the types below.

    Args:
        state: the member, from :func:`init_state`.
        inputs: features ``X float32 [N, F]``; in dual form the Gram matrix ``K float32 [N, N]``,
            which is ``X X^T``, plus 1 where the first layer has a bias.
        z0: dual form: first preactivations at the start, ``X W1_0 + b_0``, ``float32 [N, H]``.
        y: labels ``int32 [N]``.
        order: rows in the order in which each epoch visits them, ``int32 [E, N]``.
        protocol: the recipe; ``optimizer`` must be ``"sgd"`` and ``input_noise`` 0.
        class_weights: what each class's loss is multiplied by ``float32 [C]``; None for 1.

    Raises:
        ValueError: arrays that do not fit the state or each other, or an unsupported protocol.
        MemoryError: no memory for the batch's intermediate results.
    """
    _check_protocol(protocol)
    epochs = min(len(order), protocol.epochs - state.epochs)
    if state.stopped or epochs <= 0:
        state.stopped = state.stopped or state.epochs >= protocol.epochs
        return
    inputs, y = np.ascontiguousarray(inputs, np.float32), np.ascontiguousarray(y, np.int32)
    order = np.ascontiguousarray(order[:epochs], np.int32)
    z0 = None if z0 is None else np.ascontiguousarray(z0, np.float32)
    _check_arrays(state, inputs, z0, y, order)
    weights = _checked_weights(state, class_weights)  # kept here while C reads it
    losses = np.zeros(epochs, np.float64)
    layers = (NativeLayer * len(state.layers))(*map(_layer, state.layers))
    dual = state.dual
    member = NativeMember(
        inputs=panels.address(inputs),
        z0=panels.address(z0),
        labels=panels.address(y),
        order=panels.address(order),
        rows=state.rows,
        epochs=epochs,
        n_layers=len(layers),
        dual=dual is not None,
        learning_rate=protocol.learning_rate,
        momentum=protocol.momentum,
        decay=protocol.decay,
        min_delta=protocol.min_delta,
        label_smoothing=protocol.label_smoothing,
        class_weights=panels.address(weights),
        batch_size=min(protocol.batch_size, state.rows),
        nesterov=protocol.nesterov,
        patience=protocol.patience,
        restore_best=protocol.restore_best,
        layers=layers,
        rest=panels.address(dual.rest if dual else None),
        drift=panels.address(dual.drift if dual else None),
        best_a=panels.address(dual.best if dual else None),
        scale=dual.scale if dual else 1.0,
        step=state.step,
        best_loss=state.best_loss,
        wait=state.wait,
        epochs_before=state.epochs,
        losses=panels.address(losses),
    )
    if kernel().ep_train(ctypes.byref(member)) != 0:
        raise MemoryError("no memory for training a member in the native kernel")
    if dual:
        dual.scale = member.scale
    state.step, state.wait, state.best_loss = member.step, member.wait, member.best_loss
    state.epochs += member.epochs_run
    state.losses += losses[: member.epochs_run].tolist()
    state.stopped = bool(member.stopped) or state.epochs >= protocol.epochs


def score(state: MemberState, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Scores what a member in primal form has learned, see :func:`best`.

    Args:
        state: the member, without a dual first layer.
        x: features ``float32 [n, F]``.
        y: labels ``int32 [n]``.

    Returns:
        Rows classified rightly and summed cross-entropy in nats.

    Raises:
        ValueError: arrays that do not fit the state or each other, or a member in dual form.
        MemoryError: no memory for a batch's intermediate results.
    """
    if state.dual:
        raise ValueError("a member in dual form has no first layer to score")
    x = np.ascontiguousarray(x, np.float32)
    y = np.ascontiguousarray(y, np.int32)
    _check_shapes({"x": (x.shape, (len(y), state.layers[0].inputs)), "y": (y.shape, (len(y),))})
    _check_labels(state, y)
    layers = (NativeLayer * len(state.layers))(*map(_scored_layer, state.layers))
    member = NativeMember(
        inputs=panels.address(x),
        labels=panels.address(y),
        rows=len(y),
        n_layers=len(layers),
        batch_size=SCORED_ROWS,
        layers=layers,
    )
    scores = NativeScores()
    if kernel().ep_score(ctypes.byref(member), ctypes.byref(scores)) != 0:
        raise MemoryError("no memory for scoring a member in the native kernel")
    return scores.right, scores.cross_entropy


def best(state: MemberState) -> tuple[np.ndarray, np.ndarray | None, list[Pair]]:
    """What the member has learned: the best epoch's weights, or the last ones.

    Before the first epoch these are the initial weights.

    Returns:
        In dual form ``A [N, H]`` and None, else the first kernel and its bias; then kernel and
        bias of each later layer.
    """
    first, *rest = state.layers
    later = [(_best_kernel(layer), _best_bias(layer)) for layer in rest]
    if state.dual:
        return panels.unpack(state.dual.best, (state.rows, first.outputs)), None, later
    return _best_kernel(first), _best_bias(first), later


def _layer_state(weights: np.ndarray, bias: np.ndarray | None) -> LayerState:
    now = panels.pack(weights)
    best = panels.empty(*weights.shape)
    best[:] = now
    pair = None
    if bias is not None:
        pair = Bias(bias.astype(np.float32), np.zeros(len(bias), np.float32), bias.copy())
    inputs, outputs = weights.shape
    return LayerState(inputs, outputs, now, panels.zeros(inputs, outputs), best, pair)


def _layer(layer: LayerState) -> NativeLayer:
    bias = layer.bias
    return NativeLayer(
        layer.inputs,
        layer.outputs,
        *map(panels.address, (layer.now, layer.velocity, layer.best)),
        *map(panels.address, (bias.now, bias.velocity, bias.best) if bias else (None,) * 3),
    )


def _scored_layer(layer: LayerState) -> NativeLayer:
    best, bias = panels.address(layer.best), layer.bias
    return NativeLayer(
        layer.inputs, layer.outputs, w=best, b=panels.address(bias.best if bias else None)
    )


def _best_kernel(layer: LayerState) -> np.ndarray:
    assert layer.best is not None
    return panels.unpack(layer.best, (layer.inputs, layer.outputs))


def _best_bias(layer: LayerState) -> np.ndarray | None:
    return layer.bias.best if layer.bias else None


def _check_layers(layers: Sequence[Pair]) -> None:
    if len(layers) < 2:
        raise ValueError(f"a head has at least two layers, got {len(layers)}")
    for i, (weights, bias) in enumerate(layers):
        if i and weights.shape[0] != layers[i - 1][0].shape[1]:
            raise ValueError(
                f"layer {i} takes {weights.shape[0]} inputs,"
                f" the one before gives {layers[i - 1][0].shape[1]}"
            )
        if bias is not None and bias.shape != weights.shape[1:]:
            raise ValueError(
                f"layer {i} has a bias of shape {bias.shape} and a kernel of shape {weights.shape}"
            )


def _check_protocol(protocol: Protocol) -> None:
    if protocol.optimizer != "sgd" or protocol.input_noise:
        raise ValueError(
            "the native kernel trains by plain SGD without input noise,"
            f" not by optimizer {protocol.optimizer!r} with noise {protocol.input_noise}"
        )


def _check_arrays(
    state: MemberState, inputs: np.ndarray, z0: np.ndarray | None, y: np.ndarray, order: np.ndarray
) -> None:
    """The kernel trusts its pointers, so nothing may pass here that it would read past."""
    rows, first = state.rows, state.layers[0]
    expected = {
        "inputs": (inputs.shape, (rows, rows if state.dual else first.inputs)),
        "z0": (None if z0 is None else z0.shape, (rows, first.outputs) if state.dual else None),
        "y": (y.shape, (rows,)),
        "order": (order.shape, (len(order), rows)),
    }
    _check_shapes(expected)
    if rows == 0:
        raise ValueError("there must be training rows")
    _check_labels(state, y)
    if order.min() < 0 or order.max() >= rows:
        raise ValueError(f"the order must name rows in [0, {rows})")


def _check_shapes(expected: Mapping[str, tuple[object, object]]) -> None:
    for name, (shape, wanted) in expected.items():
        if shape != wanted:
            raise ValueError(f"{name} has shape {shape}, expected {wanted}")


def _checked_weights(state: MemberState, weights: np.ndarray | None) -> np.ndarray | None:
    if weights is None:
        return None
    weights = np.ascontiguousarray(weights, np.float32)
    _check_shapes({"class_weights": (weights.shape, (state.layers[-1].outputs,))})
    return weights


def _check_labels(state: MemberState, y: np.ndarray) -> None:
    classes = state.layers[-1].outputs
    if len(y) and not 0 <= y.min() <= y.max() < classes:
        raise ValueError(f"labels must be in [0, {classes})")
