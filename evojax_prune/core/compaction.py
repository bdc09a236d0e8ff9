"""Compaction: a masked head as a smaller dense head, and back.

A pruned feature or unit contributes nothing and its parameters get no gradient, so training only
the active rows and columns is the same SGD at less cost.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from evojax_prune.core.forward import Layer
from evojax_prune.core.head import Params
from evojax_prune.core.masks import Masks


@dataclasses.dataclass(frozen=True)
class Active:
    """Indices of the active features and hidden units of one member.

    Attributes:
        index: for the features and each hidden layer, sorted ``int64`` indices.
        connections: for each layer the ``bool [in, out]`` mask of the active block, or None.
    """

    index: tuple[np.ndarray, ...]
    connections: tuple[np.ndarray | None, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """Active features and active units of each hidden layer."""
        return tuple(len(i) for i in self.index)


def active_parts(masks: Masks, member: int) -> Active:
    """The active rows and columns of one member."""
    index = tuple(np.flatnonzero(m[member]) for m in (masks.features, *masks.units))
    ends = (*index, None)
    connections: list[np.ndarray | None] = []
    for i, mask in enumerate(masks.connections):
        if mask is None:
            connections.append(None)
            continue
        block = mask[member][ends[i]]
        connections.append(block if ends[i + 1] is None else block[:, ends[i + 1]])
    return Active(index, tuple(connections))


def compact(params: Params, active: Active) -> list[Layer]:
    """Layers of the smaller dense head, of exact size."""
    return [compact_layer(params, active, i) for i in range(len(params))]


def compact_layer(params: Params, active: Active, i: int) -> Layer:
    """One of them."""
    layer = params[f"layer_{i}"]
    kernel, bias = layer["kernel"], layer.get("bias")
    if len(active.index[i]) < len(kernel):
        kernel = kernel[active.index[i]]
    if i + 1 < len(active.index) and len(active.index[i + 1]) < kernel.shape[1]:
        kernel = kernel.take(active.index[i + 1], axis=1)
        bias = None if bias is None else bias[active.index[i + 1]]
    return np.ascontiguousarray(kernel), bias


def expand(layers: list[Layer], active: Active, initial: Params) -> Params:
    """Full-shaped parameters: the compact layers scattered into copies of the initial ones."""
    full: Params = {}
    for i, (kernel, bias) in enumerate(layers):
        start = initial[f"layer_{i}"]
        whole = np.array(start["kernel"])
        columns = active.index[i + 1] if i + 1 < len(active.index) else np.arange(whole.shape[1])
        block = np.asarray(kernel)
        mask = active.connections[i]
        if mask is not None:
            block = np.where(mask, block, start["kernel"][np.ix_(active.index[i], columns)])
        whole[np.ix_(active.index[i], columns)] = block
        full[f"layer_{i}"] = {"kernel": whole}
        if bias is not None:
            whole_bias = np.array(start["bias"])
            whole_bias[columns] = bias
            full[f"layer_{i}"]["bias"] = whole_bias
    return full


def crop_layers(layers: list[Layer], active: Active) -> list[Layer]:
    """Compact layers of layers padded with zeros.

    A padded unit has zero weights in and out, so ReLU keeps it, its gradient and its momentum at
    zero through any number of steps.
    """
    cropped: list[Layer] = []
    for i, (kernel, bias) in enumerate(layers):
        rows = active.widths[i]
        columns = active.widths[i + 1] if i + 1 < len(active.widths) else kernel.shape[1]
        cropped.append(
            (
                np.asarray(kernel)[:rows, :columns],
                None if bias is None else np.asarray(bias)[:columns],
            )
        )
    return cropped
