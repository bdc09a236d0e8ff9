"""Train, selection and test: always three, whatever splits the data were given with."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.core.splits import FeatureSplits, Rows, Split
from evojax_prune.data.splitting import stratify
from evojax_prune.data.splitting.checks import check_class_counts, warn_of_copies
from evojax_prune.data.splitting.groups import check_overlap
from evojax_prune.data.splitting.resampling import Resampler
from evojax_prune.data.table import FeatureTable

Selection = Literal["holdout", "resampled", "test-half", "test", "kfold"]
"""Where the selection split comes from."""

TEST_FRACTION = 0.2
"""Size of the test split that is cut off where none was given, of all data."""


@dataclasses.dataclass(frozen=True)
class ResampledSplits(FeatureSplits):
    """Splits of which selection is drawn anew, out of the training rows, on each occasion.

    ``train`` has all rows that are not test rows, and ``selection`` none, so that nothing is
    selected on training rows by mistake.

    Attributes:
        resampler: gives row numbers in ``train`` for each occasion.
    """

    resampler: Resampler = dataclasses.field(kw_only=True)

    def occasion(self, number: int) -> FeatureSplits:
        """Train and selection of an occasion, 0 or more, such as a generation; test stays."""
        train, selection = (
            Split(self.train.x[rows], self.train.y[rows]) for rows in self.resampler.split(number)
        )
        return FeatureSplits(train, selection, self.test, self.classes)


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Rows of one given split, or some of them."""

    x: np.ndarray
    y: np.ndarray
    rows: Rows

    @property
    def groups(self) -> np.ndarray | None:
        return self.rows.groups

    def take(self, places: np.ndarray) -> _Rows:
        return _Rows(self.x[places], self.y[places], self.rows.take(places))

    @property
    def split(self) -> Split:
        return Split(self.x, self.y, self.rows)


def make_splits(
    table: FeatureTable,
    *,
    selection: Selection,
    selection_fraction: float = 0.2,
    test_fraction: float | None = None,
    folds: int = 5,
    seed: int,
    allow_group_overlap: bool = False,
) -> list[FeatureSplits]:
    """Cut train, selection and test.

    Where no test split was given, one is cut off first. Every cut is stratified by class, the same
    for the same seed, and never splits a group; every class is in the train split.

    Args:
        table: features of the given splits.
        selection: ``holdout``: a part of the training data; ``resampled``: another part of it on
            each occasion; ``test-half``: a half of the test split, of which the other half stays
            the test split; ``test``: the test split itself, which the splits then say
            (``selected_on_test``); ``kfold``: each fold of the training data in turn.
        selection_fraction: size of the part, of the training data.
        test_fraction: size of a test split that is cut off, of all data; 0.2 if None. Refused where
            a test split was given.
        folds: folds of ``kfold``.
        seed: 0 or more.
        allow_group_overlap: go on, with a warning, where the given train and test splits share
            groups.

    Returns:
        One element, for ``resampled`` a :class:`ResampledSplits`; for ``kfold`` one per fold, all
        with the same test split.

    Raises:
        UserError: too few images or groups, shared groups, selection on a test split that a
            features file does not have, or a test fraction beside a given test split.
    """
    test_seed, selection_seed = np.random.SeedSequence(seed).generate_state(2).tolist()
    classes = table.classes
    train, test = _train_and_test(
        table, selection, test_fraction, folds, test_seed, allow_group_overlap
    )
    needed = _least(selection, folds)
    check_class_counts(train.y, classes, needed, f"in training, for selection {selection}")
    if selection == "test-half" and test.groups is None:
        _check_halves(test.y, classes)
    if selection == "resampled":
        resampler = Resampler(train.y, train.groups, selection_fraction, selection_seed)
        none = train.take(np.arange(0))
        made: list[FeatureSplits] = [
            ResampledSplits(train.split, none.split, test.split, classes, resampler=resampler)
        ]
    else:
        made = [
            FeatureSplits(a.split, b.split, c.split, classes, selected_on_test=selection == "test")
            for a, b, c in _cut(train, test, selection, selection_fraction, folds, selection_seed)
        ]
    warn_of_copies(made[0])
    return made


def _cut(
    train: _Rows, test: _Rows, selection: Selection, fraction: float, folds: int, seed: int
) -> list[tuple[_Rows, _Rows, _Rows]]:
    """Train, selection and test; one element, or one per fold."""
    if selection == "kfold":
        cuts = stratify.folds(train.y, train.groups, folds, seed)
        return [(train.take(rest), train.take(part), test) for rest, part in cuts]
    if selection == "holdout":
        rest, part = stratify.cut(train.y, train.groups, fraction, seed, what="a selection split")
        return [(train.take(rest), train.take(part), test)]
    if selection == "test-half":
        rest, part = stratify.cut(
            test.y, test.groups, 0.5, seed, keep=0, what="half of the test split"
        )
        return [(train, test.take(part), test.take(rest))]
    return [(train, test, test)]


def _least(selection: Selection, folds: int) -> int:
    """Training examples that each class needs."""
    return {"holdout": 2, "resampled": 2, "kfold": folds, "test-half": 1, "test": 1}[selection]


def _train_and_test(
    table: FeatureTable,
    selection: Selection,
    test_fraction: float | None,
    folds: int,
    seed: int,
    allow_group_overlap: bool,
) -> tuple[_Rows, _Rows]:
    rows = {
        name: _Rows(x, table.y[name], Rows(table.given(name), np.arange(len(x))))
        for name, x in table.x.items()
    }
    if "test" in rows:
        if test_fraction is not None:
            raise UserError(
                f"--test-fraction does nothing where a test split is given, as {table.source} has"
                " one: leave it out"
            )
        train, test = rows["train"], rows["test"]
        if train.groups is not None and test.groups is not None:
            check_overlap(train.groups, test.groups, allow_group_overlap)
        return train, test
    if "train" in rows and selection in ("test", "test-half"):
        raise UserError(
            f"selection {selection} needs a test split, which {table.source} does not have:"
            " add x_test and y_test, or choose holdout, resampled or kfold"
        )
    (everything,) = rows.values()
    needed = _least(selection, folds) + 1
    check_class_counts(everything.y, table.classes, needed, "to cut train, selection and test from")
    rest, part = stratify.cut(
        everything.y,
        everything.groups,
        TEST_FRACTION if test_fraction is None else test_fraction,
        seed,
        keep=1 if selection in ("test", "test-half") else 2,
        pieces=2 if selection == "test-half" else 1,
        what="a test split",
    )
    return everything.take(rest), everything.take(part)


def _check_halves(labels: np.ndarray, classes: tuple[str, ...]) -> None:
    present = np.unique(labels)
    check_class_counts(
        np.searchsorted(present, labels),
        tuple(classes[i] for i in present),
        2,
        "in the test split to halve it, or choose selection holdout",
    )
