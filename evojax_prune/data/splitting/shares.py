"""Data with fewer classes, or fewer rows of one, to see which of them a head lives on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.core.options import suggestion
from evojax_prune.data.table import FeatureTable


def with_shares(table: FeatureTable, shares: Mapping[str, float]) -> FeatureTable:
    """A table with only a share of the rows of some classes, in each given split.

    The rows of a larger share contain those of a smaller one. Classes that are left out have no
    label either: the others are numbered anew in their old order.

    Args:
        table: all of the data.
        shares: part of a class's rows that is kept, in [0, 1], by the class's name; 0 leaves the
            class out, any other share keeps at least one row. Other classes keep all rows.

    Raises:
        UserError: an unknown class, or fewer than two classes are left.
    """
    for name in shares:
        if name not in table.classes:
            raise UserError(
                f"--class-shares names the class {name[:80]!r}, which {table.name} does not have"
                f"{suggestion(name[:80], table.classes)}"
            )
    part = [shares.get(name, 1.0) for name in table.classes]
    kept = [label for label, share in enumerate(part) if share > 0]
    if len(kept) < 2:
        raise UserError(
            f"--class-shares leaves {len(kept)} of the classes of {table.name}, expected at least "
            "two: leave out fewer"
        )
    if min(part) == 1:
        return table
    renumbered = np.full(len(part), -1, np.int32)
    renumbered[kept] = np.arange(len(kept), dtype=np.int32)
    rows = {name: _rows(y, part, number) for number, (name, y) in enumerate(table.y.items())}
    groups, names, images = table.groups, table.names, table.images

    def some_images(split: str, places: Sequence[int]) -> list[np.ndarray]:
        assert images is not None, "asked for only where there are images"
        return images(split, rows[split][np.asarray(places, np.int64)].tolist())

    return dataclasses.replace(
        table,
        name=f"{table.name} ({_words(shares)})",
        classes=tuple(table.classes[label] for label in kept),
        x={split: x[rows[split]] for split, x in table.x.items()},
        y={split: renumbered[y[rows[split]]] for split, y in table.y.items()},
        groups=groups and {split: of[rows[split]] for split, of in groups.items()},
        names=names and {split: tuple(of[i] for i in rows[split]) for split, of in names.items()},
        images=images and some_images,
    )


def _words(shares: Mapping[str, float]) -> str:
    """What a data set with such shares is called, after its name."""
    gone = [name for name, share in shares.items() if share == 0]
    words = [f"without {', '.join(gone)}"] if gone else []
    words += [f"{share:.0%} of {name}" for name, share in shares.items() if 0 < share < 1]
    return "; ".join(words)


def _rows(labels: np.ndarray, part: Sequence[float], number: int) -> np.ndarray:
    """Rows ``int64 [n]`` of a split that are kept, in their order."""
    keep = np.ones(len(labels), bool)
    for label, share in enumerate(part):
        if share < 1:
            own = np.flatnonzero(labels == label)
            order = np.random.default_rng([label, number]).permutation(own)
            count = max(1, round(share * len(own))) if share > 0 else 0
            keep[order[count:]] = False
    return np.flatnonzero(keep)
