"""Search over genomes: knows bits and fitness, nothing of heads or images.

The public names are imported when they are first used, so that
names and options of the strategies can be read without starting JAX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evojax_prune.core import lazily
from evojax_prune.search.strategies.options import (
    PAPER,
    EveryOption,
    GeneticOptions,
    LogitOptions,
    SteadyStateOptions,
    StrategyOptions,
)
from evojax_prune.search.strategies.registry import STRATEGIES, available, make_strategy

if TYPE_CHECKING:
    from evojax_prune.search.loop import run_search
    from evojax_prune.search.result import Evaluation, GenerationInfo, SearchResult, consensus
    from evojax_prune.search.selection import Best, Front, Selection, selection_of
    from evojax_prune.search.strategies.generational import GenerationalGA
    from evojax_prune.search.strategies.nsga2 import NSGA2
    from evojax_prune.search.strategies.steady_state import SteadyStateGA
    from evojax_prune.search.strategies.strategy import Strategy

__all__ = [
    "NSGA2",
    "PAPER",
    "STRATEGIES",
    "Best",
    "Evaluation",
    "EveryOption",
    "Front",
    "GenerationInfo",
    "GenerationalGA",
    "GeneticOptions",
    "LogitOptions",
    "SearchResult",
    "Selection",
    "SteadyStateGA",
    "SteadyStateOptions",
    "Strategy",
    "StrategyOptions",
    "available",
    "consensus",
    "make_strategy",
    "run_search",
    "selection_of",
]

_HOMES = {
    "Best": "selection",
    "Evaluation": "result",
    "Front": "selection",
    "GenerationInfo": "result",
    "GenerationalGA": "strategies.generational",
    "NSGA2": "strategies.nsga2",
    "SearchResult": "result",
    "Selection": "selection",
    "SteadyStateGA": "strategies.steady_state",
    "Strategy": "strategies.strategy",
    "consensus": "result",
    "run_search": "loop",
    "selection_of": "selection",
}


__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
