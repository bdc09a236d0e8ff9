"""How a mask is found: one file per method, and the registry that knows them.

A method is a function ``find(problem, options, session) -> Found`` and the model of its options.
A method of your own is registered by one line::

    from evojax_prune.methods import METHODS, Method

    METHODS["mine"] = Method(MyOptions, lambda: my_find)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from evojax_prune.core.options import Options
from evojax_prune.methods.options import SearchOptions, SensitivityOptions

if TYPE_CHECKING:
    from evojax_prune.methods.found import Found, Session
    from evojax_prune.methods.problem import Problem

Find = Callable[["Problem", Any, "Session"], "Found"]
"""Finds a pruned head and trains what it is compared with."""


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to find a mask.

    Attributes:
        options: model of the options that it reads.
        load: imports and returns the function that does it, so that naming a method costs nothing.
        resumable: it keeps a journal, from which an interrupted run goes on.
    """

    options: type[Options]
    load: Callable[[], Find]
    resumable: bool = False


def _search() -> Find:
    from evojax_prune.methods.search import find

    return find


def _sensitivity() -> Find:
    from evojax_prune.methods.sensitivity import find

    return find


METHODS: dict[str, Method] = {
    "search": Method(SearchOptions, _search, resumable=True),
    "sensitivity": Method(SensitivityOptions, _sensitivity),
}
"""Every method by its name."""
