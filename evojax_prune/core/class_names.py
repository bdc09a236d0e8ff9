"""What a class may be called."""

from __future__ import annotations

import collections
import unicodedata
from collections.abc import Sequence

from evojax_prune.core.errors import UserError, shortened

LONGEST_CLASS = 1000
"""Characters of a class name."""


def check_class_names(names: Sequence[str], where: str) -> None:
    """See that tables and file names can tell the classes apart.

    Args:
        names: class names.
        where: whose they are, as the sentence begins.

    Raises:
        UserError: a name is empty, occurs twice, or cannot be written into a result.
    """
    if blank := [i for i, name in enumerate(names) if not _shows(name)]:
        raise UserError(f"{where}: the name of class {blank[0]} is empty, name every class")
    for name in names:
        if len(name) > LONGEST_CLASS or not _is_text(name):
            raise UserError(
                f"{where}: {shortened(ascii(name))} cannot be a class name, give it one of at most "
                f"{LONGEST_CLASS:,} characters of UTF-8"
            )
    name, count = collections.Counter(names).most_common(1)[0]
    if count > 1:
        raise UserError(
            f"{where}: {count} classes are named {name!r}, name every class differently"
        )


def class_name(number: int, label: str) -> str:
    """A label as tables can have it: itself, or ``class 3``."""
    try:
        check_class_names([label], "y")
    except UserError:
        return f"class {number}"
    return label


def _shows(name: str) -> bool:
    """Whether there is anything to see of it."""
    return any(not c.isspace() and unicodedata.category(c) != "Cf" for c in name)


def _is_text(name: str) -> bool:
    """Whether it can be written as UTF-8, which the name of a folder need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
