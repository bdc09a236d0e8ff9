"""Options of the strategies: their defaults, and which values make sense."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from evojax_prune.core.errors import UserError
from evojax_prune.search.strategies.names import EXCLUDED, available

Init = Literal["random", "scores"]
"""Where initial bits come from."""

Parents = Literal["nam", "roulette", "tournament"]
"""How a genetic algorithm chooses a pair of parents; ``nam``: negative assortative mating."""

Crossover = Literal["uniform", "one-point"]
"""How a genetic algorithm mixes a pair's bits."""

Mutation = Literal["coin", "per-bit"]
"""How a genetic algorithm flips children's bits: one bit or none, or each bit by itself."""

COIN = 0.07
"""Probability of the reference's mutation coin."""

FLIPS = 3.0
"""Bits that the per-bit mutation flips in a child on average (DESIGN, "Cheap fidelity first")."""

SHARPNESS = 6.0
"""Logits between the lowest and the highest bit of a ranking in initial genomes: at density 0.5 the
lowest is on with probability 0.05."""

PAPER: dict[str, Any] = {
    "population": 30,
    "density": (0.0, 1.0),
    "children": 2,
    "parents": "nam",
    "crossover": "uniform",
    "mutation": "coin",
    "mutation_rate": COIN,
    "elitism": True,
    "ties": False,
}
"""Options that make ``steady-state`` what EvoPruneDeepTL's released code runs."""


@dataclasses.dataclass(frozen=True)
class Genetics:
    """Every option of a genetic algorithm, as ``make_strategy`` explains them.

    ``elitism`` and ``ties`` are the steady state's.
    """

    children: int
    parents: Parents
    crossover: Crossover
    mutation: Mutation
    mutation_rate: float
    mutation_bias: float
    tournament_size: int
    elitism: bool
    ties: bool


def genetics(name: str, population: int, genome_length: int, given: Mapping[str, Any]) -> Genetics:
    """The options of a genetic algorithm, those that are given and the defaults of the others.

    Args:
        name: one of :data:`~evojax_prune.search.strategies.names.BINARY`.
        population: genomes P.
        genome_length: bits G.
        given: option by name; None stands for the default.

    Raises:
        UserError: an option of the other algorithm, or a value that makes no sense.
    """
    given = {key: value for key, value in given.items() if value is not None}
    steady = name == "steady-state"
    if not steady:
        refuse_foreign(name, [key for key in ("elitism", "ties") if key in given], "steady-state")
    defaults: dict[str, Any] = {
        "children": 2 if steady else max(2, population // 2),
        "parents": "nam" if steady else "tournament",
        "crossover": "uniform",
        "mutation": "coin" if steady else "per-bit",
        "elitism": False,
        "ties": True,
    }
    coin = (defaults | given)["mutation"] == "coin"
    defaults["mutation_rate"] = COIN if coin else min(0.5, FLIPS / genome_length)
    options = Genetics(**(defaults | given))
    most = population if steady else math.inf
    rules = {
        "children": (2 <= options.children <= most, f"2 to {most}" if steady else "at least 2"),
        "mutation_rate": (0 <= options.mutation_rate <= 1, "in [0, 1]"),
        "mutation_bias": (0 <= options.mutation_bias <= 20, "in [0, 20]"),
        "tournament_size": (options.tournament_size >= 1, "at least 1"),
    }
    for key, words in {"parents": Parents, "crossover": Crossover, "mutation": Mutation}.items():
        rules[key] = getattr(options, key) in get_args(words), " or ".join(get_args(words))
    for key, (sound, expected) in rules.items():
        check(key, getattr(options, key), sound, expected)
    return options


def check(option: str, value: object, sound: bool, expected: str) -> None:
    """Refuse a value that is not sound."""
    if not sound:
        raise UserError(f"{option} is {value!r}, expected {expected}")


def check_name(name: str) -> None:
    """Refuse a name that is no strategy's, and say which there are."""
    if name in EXCLUDED:
        raise UserError(
            f"strategy {name} is evosax's, but cannot search masks: {EXCLUDED[name]}; choose one "
            f"of {', '.join(available())}"
        )
    if name not in available():
        near = difflib.get_close_matches(name, available(), 1, 0.5)
        guess = f", did you mean {near[0]}?" if near else ":"
        raise UserError(
            f"unknown strategy {name!r}{guess} expected one of {', '.join(available())}"
        )


def refuse_foreign(name: str, options: list[str], others: str) -> None:
    """Refuse options that a strategy would ignore."""
    if options:
        raise UserError(
            f"strategy {name} has no {' and no '.join(options)}: leave it out, or choose {others}"
        )
