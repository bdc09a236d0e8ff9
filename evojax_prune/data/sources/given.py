"""Which of the splits that the data come with is used as what."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable

log = logging.getLogger("evojax_prune")

_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def canonical(name: str) -> str | None:
    """``"train"``, ``"validation"`` or ``"test"`` for the usual spellings, else None."""
    return _ALIASES.get(name.lower())


def assign_splits(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parts of the data that make up each given split.

    Validation images beside a test split are joined to the training images, since the selection
    split is cut from these by seed (or by group); without a test split they are the test split.
    One part alone becomes ``"all"``, from which a test split is cut by seed.

    Args:
        names: names of the parts, such as folders or TensorFlow Datasets' splits.

    Returns:
        ``{"train": parts, "test": parts}`` or ``{"all": parts}``; empty where none of several parts
        is known as training, or two parts claim the same use.
    """
    names = list(names)
    known = [(use, name) for name in names if (use := canonical(name))]
    uses = dict(known)
    if len(uses) != len(known):
        return {}
    if len(names) == 1 or set(uses) == {"train"}:
        return {"all": (uses.get("train", names[0]),)}
    if "train" not in uses:
        return {}
    if "test" not in uses:
        return {"train": (uses["train"],), "test": (uses["validation"],)}
    train = (uses["train"], *([uses["validation"]] if "validation" in uses else []))
    return {"train": train, "test": (uses["test"],)}


@functools.cache
def tell_once(level: int, message: str) -> None:
    """Log what is seen again whenever the data are looked at, once in a process."""
    log.log(level, "%s", message)


def describe(assigned: dict[str, tuple[str, ...]], names: Iterable[str], where: str) -> None:
    """Log what is not plain to see: validation used as something, parts left out."""
    if len(assigned.get("train", ())) > 1:
        joined = assigned["train"][1]
        tell_once(
            logging.INFO,
            f"{where}: {joined} joins the training images, from which selection is cut",
        )
    for name in assigned.get("test", ()):
        if canonical(name) == "validation":
            tell_once(logging.INFO, f"{where}: there is no test split, so {name} is used as one")
    used = {part for parts in assigned.values() for part in parts}
    if left := sorted(set(names) - used):
        tell_once(logging.WARNING, f"{where}: not used: {', '.join(left)}")
