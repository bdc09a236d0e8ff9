"""Members as the XLA programs take them: compacted, zero-padded to buckets, as pytrees."""

from __future__ import annotations

import dataclasses

import numpy as np

from evojax_prune.core.compaction import (
    Active,
    Layer,
    active_parts,
    compact,
    crop_layers,
    expand,
    pad_layers,
)
from evojax_prune.core.head import Params
from evojax_prune.core.masks import Masks
from evojax_prune.engine.problem import Problem
from evojax_prune.engine.sgd import Weights


@dataclasses.dataclass(frozen=True)
class Member:
    """One head ready to train.

    Attributes:
        row: its place in the population.
        active: its active features and units.
        columns: active features ``int32`` padded with F, or None for all.
        weights: initial weights, padded.
        kept: for each layer the padded mask of its connections, or None.
    """

    row: int
    active: Active
    columns: np.ndarray | None
    weights: Weights
    kept: list[np.ndarray | None]


def make_member(
    problem: Problem, row: int, active: Active, widths: tuple[int, ...], pick_columns: bool
) -> Member:
    """Compacts and pads one member.

    Args:
        problem: its fold.
        row: its place in the population.
        active: its active parts.
        widths: padded widths.
        pick_columns: name the active features; False only where all are active.
    """
    columns = None
    if pick_columns:
        columns = np.full(widths[0], problem.head.features, np.int32)
        columns[: active.widths[0]] = active.index[0]
    layers = _prune_connections(compact(problem.params, active), active)
    padded = pad_layers(layers, widths)
    kept = [
        None if mask is None else _grow(mask, kernel.shape)
        for mask, (kernel, _) in zip(active.connections, padded, strict=True)
    ]
    return Member(row, active, columns, as_weights(padded), kept)


def as_weights(layers: list[Layer]) -> Weights:
    """Layers as the programs take them; a missing first bias is zeros."""
    (first, bias), *later = layers
    stack = [{"kernel": k} if b is None else {"kernel": k, "bias": b} for k, b in later]
    return Weights(first, np.zeros(first.shape[1], np.float32) if bias is None else bias, stack)


def restore_params(member: Member, weights: Weights, problem: Problem) -> Params:
    """Full-shaped parameters of a trained member."""
    bias = weights.bias if problem.head.bias[0] else None
    layers: list[Layer] = [(np.asarray(weights.first), bias)]
    layers += [(np.asarray(s["kernel"]), s.get("bias")) for s in weights.later]
    return expand(crop_layers(layers, member.active), member.active, problem.params)


def activity(masks: Masks) -> list[Active]:
    """The active parts of every member."""
    return [active_parts(masks, row) for row in range(len(masks))]


def _prune_connections(layers: list[Layer], active: Active) -> list[Layer]:
    return [
        (kernel if mask is None else np.where(mask, kernel, np.float32(0)), bias)
        for (kernel, bias), mask in zip(layers, active.connections, strict=True)
    ]


def _grow(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    grown = np.zeros(shape, bool)
    grown[: mask.shape[0], : mask.shape[1]] = mask
    return grown
