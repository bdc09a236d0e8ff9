"""Features brought to one scale, by what the training rows are like."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from evojax_prune.core.splits import FeatureSplits, Split

Scale = Literal["standard", "none", "l2"]
"""``standard``: mean 0 and variance 1; ``none``: as they are; ``l2``: each row of length 1."""

_ROUNDING = 2 * np.finfo(np.float32).eps
"""A spread below this part of a feature's size is the rounding of float32, and says nothing."""

_LARGEST = float(np.finfo(np.float32).max)
_ROWS = 4096
"""Rows that are scaled at a time in float64, which bounds the memory that it takes."""


@dataclasses.dataclass(frozen=True)
class Scaling:
    """What is done to features before a head sees them.

    Attributes:
        kind: see :data:`Scale`; the next two are 0 and 1 but for ``standard``.
        mean: ``float32 [F]``, of the training rows.
        scale: ``float32 [F]``, their standard deviation, by which is divided; infinite for a
            feature that is constant but for rounding, so that it becomes 0 whatever its value.
    """

    kind: Scale
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, kind: Scale, x: np.ndarray) -> Scaling:
        """The scaling by training rows ``x float32 [n, F]``."""
        mean, scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
        if kind == "standard":
            mean = x.mean(0, np.float64)
            scale = np.sqrt(variance(x))
            noise = scale <= _ROUNDING * np.abs(x).max(0).astype(np.float64)
            scale[noise | (scale < np.finfo(np.float32).tiny)] = np.inf
        return cls(kind, mean.astype(np.float32), scale.astype(np.float32))

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Features ``float32 [n, F]``, scaled, always finite; rows of zeros stay so."""
        if self.kind == "none":
            return x
        scaled = np.empty(x.shape, np.float32)
        mean, scale = self.mean.astype(np.float64), self.scale.astype(np.float64)
        for start in range(0, len(x), _ROWS):
            rows = x[start : start + _ROWS].astype(np.float64)
            if self.kind == "l2":
                length = np.sqrt(np.square(rows).sum(1, keepdims=True))
                rows /= np.where(length == 0, 1.0, length)
            else:
                rows = np.clip((rows - mean[None]) / scale[None], -_LARGEST, _LARGEST)
            scaled[start : start + _ROWS] = rows
        return scaled

    def take(self, features: np.ndarray) -> Scaling:
        """The scaling of some of the features: their numbers, or ``bool [F]``."""
        return Scaling(self.kind, self.mean[features], self.scale[features])

    def fold_into(
        self, kernel: np.ndarray, bias: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first layer that does on raw features what this one does on scaled ones.

        ``(x - mean) / scale @ kernel + bias == x @ kernel' + bias'``

        Args:
            kernel: ``float32 [F, H]``.
            bias: ``float32 [H]``; zeros if None.

        Returns:
            ``kernel' float32 [F, H]`` and ``bias' float32 [H]``.

        Raises:
            ValueError: for ``l2``, which is not linear.
        """
        if self.kind == "l2":
            raise ValueError("rows scaled to length 1 cannot be folded into a layer")
        folded = (kernel / self.scale.astype(np.float64)[:, None]).astype(np.float32)
        # Of the rounded kernel: else its rounding, times the mean, would stay in the sum.
        shift = self.mean.astype(np.float64) @ folded.astype(np.float64)
        start = np.zeros(kernel.shape[1]) if bias is None else bias.astype(np.float64)
        return folded, (start - shift).astype(np.float32)


def scale_splits(splits: FeatureSplits, kind: Scale) -> tuple[FeatureSplits, Scaling]:
    """Scale train, selection and test, by the training rows alone.

    Args:
        splits: the splits; other attributes than these three stay.
        kind: see :data:`Scale`.
    """
    scaling = Scaling.fit(kind, splits.train.x)

    def scaled(split: Split) -> Split:
        return dataclasses.replace(split, x=scaling.apply(split.x))

    test = scaled(splits.test)
    selection = test if splits.selected_on_test else scaled(splits.selection)
    train = scaled(splits.train)
    return dataclasses.replace(splits, train=train, selection=selection, test=test), scaling


def variance(x: np.ndarray) -> np.ndarray:
    """Of each feature ``float64 [F]``, in two passes, so that a large mean costs no digits."""
    mean, total = x.mean(0, np.float64), np.zeros(x.shape[1])
    for start in range(0, len(x), _ROWS):
        total += np.square(x[start : start + _ROWS] - mean[None]).sum(0)
    return total / len(x)
