"""The three splits that everything downstream works on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

Images = Callable[[Sequence[int]], list[np.ndarray]]
"""Decodes the images ``uint8 [h, w, 3]`` of some rows, by their numbers, when it is called.

It raises UserError where an image cannot be read (any more).
"""


@dataclasses.dataclass(frozen=True)
class Given:
    """A split as the data were given, before train, selection and test are cut.

    Attributes:
        name: ``"train"``, ``"test"``, or ``"all"``.
        names: of each row, such as the path of its image; None where rows have no names.
        groups: of each row, ``str [n]``; None without groups.
        images: of its rows; None where the features were not made of images.
    """

    name: str
    names: Sequence[str] | None = None
    groups: np.ndarray | None = None
    images: Images | None = None


@dataclasses.dataclass(frozen=True)
class Rows:
    """Which rows of a given split a split consists of.

    Attributes:
        given: the split that they were cut from.
        numbers: ``int64 [n]``, counted from 0.
    """

    given: Given
    numbers: np.ndarray

    def take(self, places: np.ndarray) -> Rows:
        """Some of these rows."""
        return Rows(self.given, self.numbers[places])

    @property
    def groups(self) -> np.ndarray | None:
        """The group of each row, ``str [n]``; None without groups."""
        return None if self.given.groups is None else self.given.groups[self.numbers]


@dataclasses.dataclass(frozen=True)
class Split:
    """Features ``x float32 [n, F]`` and labels ``y int32 [n]`` in [0, C).

    ``rows`` says where they come from; nothing is computed from it, and it may be None.
    """

    x: np.ndarray
    y: np.ndarray
    rows: Rows | None = dataclasses.field(default=None, repr=False)

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
