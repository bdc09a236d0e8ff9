"""How features are scaled before a head sees them."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

ScalingKind = Literal["none", "standard", "l2"]
"""Nothing; each feature to mean 0 and variance 1 on the training rows; each row to length 1."""

SHORTEST = np.float32(1e-12)
"""Rows shorter than this are divided by it: a row of zeros stays one."""


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A scaling that has been fitted.

    Attributes:
        kind: ``"none"``, ``"standard"`` or ``"l2"``.
        mean: ``float32 [F]``, taken off each feature; None unless ``standard``.
        scale: ``float32 [F]``, what each is then divided by; None unless ``standard``.
    """

    kind: ScalingKind = "none"
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None

    def __post_init__(self) -> None:
        if (self.kind == "standard") != (self.mean is not None and self.scale is not None):
            raise ValueError(f"scaling {self.kind!r} does not go with its mean and scale")

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Raw features ``float32 [n, F]``, scaled."""
        if self.mean is not None and self.scale is not None:
            return (x - self.mean[None]) / self.scale[None]
        if self.kind == "l2":
            return x / np.maximum(np.sqrt(np.square(x).sum(1, keepdims=True)), SHORTEST)
        return x


RAW = Scaling()
"""Features as the backbone gives them."""
