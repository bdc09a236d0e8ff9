"""Search over genomes: knows bits and fitness, nothing of heads or images.

The public names are imported when they are first used, so that
:mod:`evojax_prune.search.strategies.names` can be read without starting JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from evojax_prune.search.strategies.names import available

if TYPE_CHECKING:
    from evojax_prune.search.loop import run_search
    from evojax_prune.search.result import Evaluation, GenerationInfo, SearchResult
    from evojax_prune.search.strategies.factory import make_strategy
    from evojax_prune.search.strategies.generational import GenerationalGA
    from evojax_prune.search.strategies.options import PAPER
    from evojax_prune.search.strategies.steady_state import SteadyStateGA
    from evojax_prune.search.strategies.strategy import Strategy

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
    "PAPER": "strategies.options",
    "Evaluation": "result",
    "GenerationInfo": "result",
    "GenerationalGA": "strategies.generational",
    "SearchResult": "result",
    "SteadyStateGA": "strategies.steady_state",
    "Strategy": "strategies.strategy",
    "make_strategy": "strategies.factory",
    "run_search": "loop",
}


def __getattr__(name: str) -> object:
    """Import a public name's module on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
