"""Which parts of the heads of a population are active."""

from __future__ import annotations

import dataclasses

import numpy as np

from evojax_prune.core.head import HeadSpec, Params


@dataclasses.dataclass(frozen=True)
class Masks:
    """Active parts of P heads of one shape.

    Attributes:
        features: ``bool [P, F]``, the inputs that are used.
        units: for each hidden layer ``bool [P, H]``, the units that are used.
        connections: for each layer ``bool [P, in, out]`` or None where every weight between active
            units is used.
    """

    features: np.ndarray
    units: tuple[np.ndarray, ...]
    connections: tuple[np.ndarray | None, ...]

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: slice | np.ndarray | list[int]) -> Masks:
        """The masks of some members, kept as a population."""
        return Masks(
            self.features[rows],
            tuple(u[rows] for u in self.units),
            tuple(None if c is None else c[rows] for c in self.connections),
        )


def dense_masks(spec: HeadSpec, members: int = 1) -> Masks:
    """Masks of ``members`` heads with everything active."""
    return Masks(
        np.ones((members, spec.features), bool),
        tuple(np.ones((members, h), bool) for h in spec.hidden),
        (None,) * (len(spec.hidden) + 1),
    )


def concatenate(*masks: Masks) -> Masks:
    """One population of the members of several; all of one head shape and grain."""

    def join(parts: list[np.ndarray | None]) -> np.ndarray | None:
        present = [p for p in parts if p is not None]
        if present and len(present) != len(parts):
            raise ValueError("cannot join masks with and without connections in the same layer")
        return np.concatenate(present) if present else None

    return Masks(
        np.concatenate([m.features for m in masks]),
        tuple(np.concatenate(u) for u in zip(*(m.units for m in masks), strict=True)),
        tuple(join(list(c)) for c in zip(*(m.connections for m in masks), strict=True)),
    )


def kernel_masks(masks: Masks, member: int) -> list[np.ndarray]:
    """For each layer the weights of one member that are used, ``bool [in, out]``.

    The last layer's mask is ``[in, 1]`` where it has no connections switched: its outputs are the
    classes, and none is ever off.
    """
    inputs = [masks.features[member], *(u[member] for u in masks.units)]
    outputs = [*(u[member] for u in masks.units), None]
    kernels = []
    for rows, columns, extra in zip(inputs, outputs, masks.connections, strict=True):
        kernel = rows[:, None] if columns is None else rows[:, None] & columns[None, :]
        if extra is not None:
            kernel = kernel & extra[member]
        kernels.append(kernel)
    return kernels


def apply_mask(params: Params, masks: Masks, member: int) -> Params:
    """Parameters of one member with every pruned weight and every pruned unit's bias zeroed."""
    masked = {}
    for i, kernel_mask in enumerate(kernel_masks(masks, member)):
        layer, zero = params[f"layer_{i}"], np.float32(0)
        masked[f"layer_{i}"] = {"kernel": np.where(kernel_mask, layer["kernel"], zero)}
        if "bias" in layer:
            units = masks.units[i][member] if i < len(masks.units) else True
            masked[f"layer_{i}"]["bias"] = np.where(units, layer["bias"], zero)
    return masked


def count_parameters(masks: Masks, spec: HeadSpec) -> np.ndarray:
    """Parameters each member keeps, ``int64 [P]``: active weights, and biases of active units."""
    members = len(masks)
    active = [masks.features.sum(1), *(u.sum(1) for u in masks.units)]
    active.append(np.full(members, spec.classes))
    total = np.zeros(members, np.int64)
    for i, connections in enumerate(masks.connections):
        if connections is None:
            total += active[i] * active[i + 1]
        else:
            total += [int(kernel_masks(masks, m)[i].sum()) for m in range(members)]
        if spec.bias[i]:
            total += active[i + 1]
    return total


def count_units(masks: Masks) -> np.ndarray:
    """Active features and hidden units ``int64 [P, 1 + hidden layers]`` of each member."""
    return np.stack([masks.features.sum(1), *(u.sum(1) for u in masks.units)], 1)
