"""Strategies by name: one entry each, importable without JAX."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from evojax_prune.core.errors import UserError
from evojax_prune.search.strategies.names import EVOSAX, EXCLUDED
from evojax_prune.search.strategies.options import (
    GeneticOptions,
    LogitOptions,
    SteadyStateOptions,
    StrategyOptions,
)

if TYPE_CHECKING:
    from evojax_prune.search.strategies.strategy import Strategy


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a strategy is built from.

    Attributes:
        name: the strategy's.
        genome_length: bits G.
        options: of the model that its entry names.
        guide: rankings of the bits as quantiles ``float32 [R, G]``, or None
            (see :mod:`evojax_prune.search.operators.guide`).
        evaluations: budget of the search, if known.
    """

    name: str
    genome_length: int
    options: Any
    guide: np.ndarray | None = None
    evaluations: int | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """How a strategy is made.

    Attributes:
        options: model of the options that it reads.
        build: makes it.
    """

    options: type[StrategyOptions]
    build: Callable[[Plan], Strategy]


def _later(module: str) -> Callable[[Plan], Strategy]:
    """``build`` of a module beside this one, imported when it is first used."""

    def build(plan: Plan) -> Strategy:
        home = importlib.import_module(f"evojax_prune.search.strategies.{module}")
        return home.build(plan)

    return build


STRATEGIES: dict[str, Entry] = {
    "nsga2": Entry(GeneticOptions, _later("nsga2")),
    "generational": Entry(GeneticOptions, _later("generational")),
    "steady-state": Entry(SteadyStateOptions, _later("steady_state")),
    **{name: Entry(LogitOptions, _later("logits")) for name in EVOSAX},
}
"""Every strategy; one more is a file with its ``build`` and a line here."""


def available() -> tuple[str, ...]:
    """Every name that :func:`make_strategy` knows."""
    return tuple(STRATEGIES)


def make_strategy(
    name: str,
    genome_length: int,
    options: StrategyOptions | None = None,
    *,
    scores: np.ndarray | None = None,
    evaluations: int | None = None,
) -> Strategy:
    """A search strategy by its name.

    Args:
        name: one of :func:`available`.
        genome_length: bits G, at least 1.
        options: its options, or a model that holds them among others (as
            :class:`~evojax_prune.search.strategies.options.EveryOption`); the defaults if None.
        scores: ``[R, G]`` or ``[G]``, R rankings of the bits, higher for bits better kept; used
            where the options ask for them.
        evaluations: budget of the search, for evosax algorithms that follow a schedule.

    Raises:
        UserError: an unknown name, an option that the strategy does not read and that is not left
            at its default, or values that do not fit together.
    """
    entry = _entry(name)
    if genome_length < 1:
        raise UserError(f"genome_length is {genome_length}, expected at least 1")
    chosen = _options(name, entry, options or entry.options())
    guide = _guide(scores, genome_length) if chosen.guided else None
    return entry.build(Plan(name, genome_length, chosen, guide, evaluations))


def _entry(name: str) -> Entry:
    if name in STRATEGIES:
        return STRATEGIES[name]
    if name in EXCLUDED:
        raise UserError(
            f"strategy {name} is evosax's, but cannot search masks: {EXCLUDED[name]}; choose one "
            f"of {', '.join(available())}"
        )
    near = difflib.get_close_matches(name, available(), 1, 0.5)
    guess = f", did you mean {near[0]}?" if near else ":"
    raise UserError(f"unknown strategy {name!r}{guess} expected one of {', '.join(available())}")


def _options(name: str, entry: Entry, given: StrategyOptions) -> StrategyOptions:
    """The options that a strategy reads; others must be at their defaults."""
    others = {field for other in STRATEGIES.values() for field in other.options.model_fields}
    fields = type(given).model_fields
    own = entry.options.model_fields.keys()
    foreign = [
        field
        for field in fields
        if field in others - own and getattr(given, field) != fields[field].default
    ]
    if foreign:
        readers = [n for n, e in STRATEGIES.items() if e.options.model_fields.keys() >= {*foreign}]
        choice = f"leave it out, or choose {_few(readers)}" if readers else "leave them out"
        raise UserError(f"strategy {name} has no {' and no '.join(foreign)}: {choice}")
    if given.init != "scores" and given.sharpness != fields["sharpness"].default:
        raise UserError("sharpness does nothing without init scores: add it, or drop sharpness")
    try:
        return entry.options(**{field: getattr(given, field) for field in own if field in fields})
    except ValidationError as error:
        raise UserError("; ".join(e["msg"] for e in error.errors())) from None


def _few(names: list[str]) -> str:
    return " or ".join(names) if len(names) < 4 else "one of evosax's algorithms"


def _guide(scores: np.ndarray | None, genome_length: int) -> np.ndarray:
    """Rankings ``float32 [R, G]`` of the scores."""
    from evojax_prune.search.operators.guide import guide_from_scores

    if scores is None:
        raise UserError(
            "init from scores and a mutation bias need scores of the bits, and there are none"
        )
    guide = guide_from_scores(scores)
    if guide.shape[1] != genome_length:
        raise UserError(
            f"the shape of scores is {np.shape(scores)}, expected [rankings, {genome_length}]"
        )
    return guide
