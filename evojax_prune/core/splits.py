"""The three splits that everything downstream works on."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Split:
    """Features ``x float32 [n, F]`` and labels ``y int32 [n]`` in [0, C)."""

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


@dataclasses.dataclass(frozen=True)
class FeatureSplits:
    """What heads are trained on, selected on and at the end reported on.

    Attributes:
        train: rows that heads are trained on.
        selection: rows that fitness is measured on.
        test: rows that nothing looks at until the end, unless ``selected_on_test``.
        classes: class names, C of them.
        selected_on_test: the selection split is the test split (the ``paper`` protocol).
    """

    train: Split
    selection: Split
    test: Split
    classes: tuple[str, ...]
    selected_on_test: bool = False
