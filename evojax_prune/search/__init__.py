"""Search over genomes: knows bits and fitness, nothing of heads or images.

The public names are imported when they are first used, so that
:mod:`evojax_prune.search.names` can be read without starting JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from evojax_prune.search.names import available

if TYPE_CHECKING:
    from evojax_prune.search.factory import make_strategy
    from evojax_prune.search.generational import GenerationalGA
    from evojax_prune.search.loop import run_search
    from evojax_prune.search.options import PAPER
    from evojax_prune.search.result import Evaluation, GenerationInfo, SearchResult
    from evojax_prune.search.steady_state import SteadyStateGA
    from evojax_prune.search.strategy import Strategy

__all__ = [
    "PAPER",
    "Evaluation",
    "GenerationInfo",
    "GenerationalGA",
    "SearchResult",
    "SteadyStateGA",
    "Strategy",
    "available",
    "make_strategy",
    "run_search",
]

_HOMES = {
    "PAPER": "options",
    "Evaluation": "result",
    "GenerationInfo": "result",
    "GenerationalGA": "generational",
    "SearchResult": "result",
    "SteadyStateGA": "steady_state",
    "Strategy": "strategy",
    "make_strategy": "factory",
    "run_search": "loop",
}


def __getattr__(name: str) -> object:
    """Import a public name's module on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
