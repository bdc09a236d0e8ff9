"""Training of one compacted member by the native kernel; NumPy arrays in and out."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Sequence

import numpy as np

from evojax_prune.engine.native.library import FLOATS, INTS, Layer, Member, kernel
from evojax_prune.protocol import Protocol

Pair = tuple[np.ndarray, np.ndarray | None]
"""Kernel ``float32 [in, out]`` and bias ``float32 [out]`` of a layer, None without a bias."""


@dataclasses.dataclass
class LayerState:
    """Buffers of one layer: weights, velocity and best weights, of its kernel and of its bias."""

    w: np.ndarray
    v: np.ndarray
    best_w: np.ndarray
    bias: np.ndarray | None
    bias_v: np.ndarray | None
    best_bias: np.ndarray | None


@dataclasses.dataclass
class MemberState:
    """Training state of one member, changed in place by :func:`train_epochs`.

    Attributes:
        dual: the first layer is learned as ``A [N, H]``: ``W1 = W1_0 + X^T A``.
        rows: training rows N.
        layers: buffers of each layer, the first one's in the kernel's own coordinates.
        scale: factor on the first layer's velocity.
        step: steps taken.
        epochs: epochs run.
        best_loss: lowest training loss in nats, as early stopping counts it.
        wait: epochs without an improvement.
        stopped: training is over, by early stopping or at the protocol's epochs.
        losses: mean training loss of every epoch run, in nats.
    """

    dual: bool
    rows: int
    layers: list[LayerState]
    scale: float = 1.0
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
    """
    _check_layers(layers)
    buffers = [_buffers(kernel, bias) for kernel, bias in layers]
    if dual:
        buffers[0] = _buffers(np.zeros((rows, layers[0][0].shape[1]), np.float32), None)
    return MemberState(dual, rows, buffers)


def train_epochs(
    state: MemberState,
    inputs: np.ndarray,
    z0: np.ndarray | None,
    y: np.ndarray,
    order: np.ndarray,
    protocol: Protocol,
) -> None:
    """Trains a member in place through some epochs, until it stops.

    Several calls give exactly what one call with all epochs gives. Thread-safe for different
    states; ``inputs``, ``z0``, ``y`` and ``order`` are only read.

    Args:
        state: the member, from :func:`init_state`.
        inputs: features ``X float32 [N, F]``; in dual form the Gram matrix ``K float32 [N, N]``,
            which is ``X X^T``, plus 1 where the first layer has a bias.
        z0: dual form: first preactivations at the start, ``X W1_0 + b_0``, ``float32 [N, H]``.
        y: labels ``int32 [N]``.
        order: rows in the order in which each epoch visits them, ``int32 [E, N]``.
        protocol: the recipe; ``optimizer`` must be ``"sgd"`` and ``input_noise`` 0.

    Raises:
        ValueError: arrays that do not fit the state or each other, or an unsupported protocol.
        MemoryError: no memory for the batch's intermediate results.
    """
    _check_protocol(protocol)
    epochs = min(len(order), protocol.epochs - state.epochs)
    if state.stopped or epochs <= 0:
        state.stopped = state.stopped or state.epochs >= protocol.epochs
        return
    inputs, y, order = _float(inputs), _int(y), _int(order[:epochs])
    z0 = _float(z0) if z0 is not None else np.zeros((0, 0), np.float32)
    _check_arrays(state, inputs, z0, y, order)
    losses = np.zeros(epochs, np.float64)
    layers = (Layer * len(state.layers))(*map(_layer, state.layers))
    m = protocol.momentum
    member = Member(
        inputs=_floats(inputs),
        z0=_floats(z0),
        labels=y.ctypes.data_as(INTS),
        order=order.ctypes.data_as(INTS),
        rows=state.rows,
        epochs=epochs,
        n_layers=len(layers),
        dual=state.dual,
        learning_rate=protocol.learning_rate,
        momentum=m,
        decay=protocol.decay,
        min_delta=protocol.min_delta,
        lookahead=(m * m if protocol.nesterov else m) / (1.0 - m),
        batch_size=min(protocol.batch_size, state.rows),
        nesterov=protocol.nesterov,
        patience=protocol.patience,
        restore_best=protocol.restore_best,
        layers=layers,
        scale=state.scale,
        step=state.step,
        best_loss=state.best_loss,
        wait=state.wait,
        epochs_before=state.epochs,
        losses=losses.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
    )
    if kernel().ep_train(ctypes.byref(member)) != 0:
        raise MemoryError("no memory for training a member in the native kernel")
    state.scale, state.step, state.wait = member.scale, member.step, member.wait
    state.best_loss = member.best_loss
    state.epochs += member.epochs_run
    state.losses += losses[: member.epochs_run].tolist()
    state.stopped = bool(member.stopped) or state.epochs >= protocol.epochs


def best(state: MemberState) -> tuple[np.ndarray, np.ndarray | None, list[Pair]]:
    """What the member has learned: the best epoch's weights, or the last ones.

    Returns:
        In dual form ``A [N, H]`` and None, else the first kernel and its bias; then kernel and
        bias of each later layer.
    """
    first, *rest = state.layers
    return first.best_w, first.best_bias, [(layer.best_w, layer.best_bias) for layer in rest]


def _buffers(kernel: np.ndarray, bias: np.ndarray | None) -> LayerState:
    w = np.array(kernel, np.float32, order="C")
    if bias is None:
        return LayerState(w, np.zeros_like(w), w.copy(), None, None, None)
    b = np.array(bias, np.float32, order="C")
    return LayerState(w, np.zeros_like(w), w.copy(), b, np.zeros_like(b), b.copy())


def _layer(layer: LayerState) -> Layer:
    return Layer(
        *layer.w.shape,
        *map(_floats, (layer.w, layer.v, layer.best_w)),
        *map(_floats, (layer.bias, layer.bias_v, layer.best_bias)),
    )


def _floats(array: np.ndarray | None) -> ctypes._Pointer[ctypes.c_float] | None:
    return None if array is None else array.ctypes.data_as(FLOATS)


def _float(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)


def _int(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.int32)


def _check_layers(layers: Sequence[Pair]) -> None:
    if len(layers) < 2:
        raise ValueError(f"a head has at least two layers, got {len(layers)}")
    for i, (kernel, bias) in enumerate(layers):
        if i and kernel.shape[0] != layers[i - 1][0].shape[1]:
            raise ValueError(f"layer {i} takes {kernel.shape[0]} inputs, the one before gives"
                             f" {layers[i - 1][0].shape[1]}")
        if bias is not None and bias.shape != kernel.shape[1:]:
            raise ValueError(f"layer {i} has a bias of shape {bias.shape} and a kernel of shape"
                             f" {kernel.shape}")


def _check_protocol(protocol: Protocol) -> None:
    if protocol.optimizer != "sgd" or protocol.input_noise:
        raise ValueError("the native kernel trains by plain SGD without input noise, not by"
                         f" optimizer {protocol.optimizer!r}, noise {protocol.input_noise}")
    if not 0.0 <= protocol.momentum < 1.0 or protocol.batch_size < 1:
        raise ValueError(f"momentum {protocol.momentum} must be in [0, 1) and batch size"
                         f" {protocol.batch_size} at least 1")


def _check_arrays(
    state: MemberState, inputs: np.ndarray, z0: np.ndarray, y: np.ndarray, order: np.ndarray
) -> None:
    """The kernel trusts its pointers, so nothing may pass here that it would read past."""
    rows, first = state.rows, state.layers[0].w
    expected = {
        "inputs": (inputs.shape, (rows, rows if state.dual else first.shape[0])),
        "z0": (z0.shape, (rows, first.shape[1]) if state.dual else (0, 0)),
        "y": (y.shape, (rows,)),
        "order": (order.shape, (len(order), rows)),
    }
    for name, (shape, wanted) in expected.items():
        if shape != wanted:
            raise ValueError(f"{name} has shape {shape}, expected {wanted}")
    classes = state.layers[-1].w.shape[1]
    if rows == 0 or y.min() < 0 or y.max() >= classes:
        raise ValueError(f"labels must be in [0, {classes}) and there must be training rows")
    if order.min() < 0 or order.max() >= rows:
        raise ValueError(f"the order must name rows in [0, {rows})")
