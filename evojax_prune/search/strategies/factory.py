"""Strategies by name."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, get_args

import jax.numpy as jnp
import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.search.operators import crossover as crossovers
from evojax_prune.search.operators.guide import guide_from_scores
from evojax_prune.search.operators.initial import InitialGenomes
from evojax_prune.search.operators.mutation import BitMutation, CoinMutation
from evojax_prune.search.operators.parents import (
    ParentChoice,
    negative_assortative,
    roulette,
    tournament,
)
from evojax_prune.search.strategies.binary import BinaryGA
from evojax_prune.search.strategies.generational import GenerationalGA
from evojax_prune.search.strategies.logits import logit_strategy
from evojax_prune.search.strategies.names import BINARY
from evojax_prune.search.strategies.options import (
    SHARPNESS,
    Crossover,
    Genetics,
    Init,
    Mutation,
    Parents,
    check,
    check_name,
    genetics,
    refuse_foreign,
)
from evojax_prune.search.strategies.steady_state import SteadyStateGA
from evojax_prune.search.strategies.strategy import BitStrategy, Strategy


def make_strategy(
    name: str,
    *,
    population: int,
    genome_length: int,
    density: float | tuple[float, float] = (0.0, 1.0),
    scores: np.ndarray | None = None,
    init: Init = "random",
    sharpness: float = SHARPNESS,
    children: int | None = None,
    parents: Parents | None = None,
    tournament_size: int = 2,
    crossover: Crossover | None = None,
    mutation: Mutation | None = None,
    mutation_rate: float | None = None,
    mutation_bias: float = 0.0,
    elitism: bool | None = None,
    ties: bool | None = None,
    options: Mapping[str, float] | None = None,
    evaluations: int | None = None,
) -> Strategy:
    """A search strategy by its name.

    Args:
        name: ``generational``, ``steady-state``, or any of evosax's algorithms
            (:func:`~evojax_prune.search.strategies.names.available`).
        population: genomes P in the population (evosax: asked for in each generation).
        genome_length: bits G.
        density: active fraction of the initial genomes, or the two between which each genome's is
            drawn; a distribution-based algorithm starts from the middle.
        scores: ``[R, G]``, R rankings of the bits, the higher the better to keep; used by ``init``
            and ``mutation_bias``.
        init: ``random``, or ``scores``: bits drawn with probabilities from one of the rankings.
        sharpness: of ``init="scores"``, logits between the lowest bit and the highest.
        children: genomes bred in a generation, at least 2; ``generational``: half the population if
            not given; ``steady-state``: 2, at most the population.
        parents: ``nam`` (default of ``steady-state``), ``roulette``, ``tournament`` (default of
            ``generational``).
        tournament_size: members in a tournament.
        crossover: ``uniform`` (default) or ``one-point``.
        mutation: ``coin`` (default of ``steady-state``) or ``per-bit`` (of ``generational``).
        mutation_rate: the coin's probability, 0.07 if not given; or each bit's, 3 / G if not given.
        mutation_bias: how much mutation follows the scores, 0 (not at all) and up; a bias b makes
            an active bit of the lowest score ``e**(2*b)`` times as likely to be switched off as one
            of the highest.
        elitism: ``steady-state``: overwrite the worst by a copy of the best every generation.
        ties: ``steady-state``: a child of equal fitness with fewer active bits beats a member
            (default).
        options: of an evosax algorithm: ``learning_rate``, ``std``, and its own parameters.
        evaluations: budget of the search, for evosax algorithms that follow a schedule.

    Raises:
        UserError: an unknown name, an impossible value, or an option that the strategy has not.
    """
    check_name(name)
    low, high = (density, density) if isinstance(density, int | float) else density
    check("population", population, population >= 2, "at least 2")
    check("genome_length", genome_length, genome_length >= 1, "at least 1")
    check("density", density, 0 <= low <= high <= 1, "in [0, 1], the lower one first")
    check("init", init, init in get_args(Init), " or ".join(get_args(Init)))
    check("sharpness", sharpness, 0 <= sharpness <= 80, "in [0, 80]")
    given = {
        "children": children,
        "parents": parents,
        "crossover": crossover,
        "mutation": mutation,
        "mutation_rate": mutation_rate,
        "mutation_bias": mutation_bias or None,
        "elitism": elitism,
        "ties": ties,
    }
    if name in BINARY:
        refuse_foreign(name, sorted(options or {}), "one of evosax's algorithms")
    else:
        foreign = [key for key, value in given.items() if value is not None]
        refuse_foreign(name, foreign, " or ".join(BINARY))
    description: dict[str, Any] = {
        "name": name,
        "population": population,
        "genome_length": genome_length,
        "density": [float(low), float(high)],
        "init": init,
        "sharpness": float(sharpness) if init == "scores" else 0.0,
    }
    guide = _guide(scores, genome_length, needed=init == "scores" or bool(mutation_bias))
    if guide is not None:
        description["scores"] = hashlib.blake2b(guide.tobytes(), digest_size=16).hexdigest()
    initial = InitialGenomes(genome_length, (float(low), float(high)), description["sharpness"])
    rankings = None if guide is None else jnp.asarray(guide)
    if name in BINARY:
        given |= {"mutation_bias": float(mutation_bias), "tournament_size": tournament_size}
        chosen = genetics(name, population, genome_length, given)
        algorithm = _algorithm(name, population, genome_length, chosen)
        description |= dataclasses.asdict(chosen)
        return BitStrategy(algorithm, initial, rankings, description)
    return logit_strategy(
        name,
        population,
        initial,
        rankings,
        description | {"options": dict(options or {})},
        options=options or {},
        generations=None if evaluations is None else -(-evaluations // population),
    )


def _algorithm(name: str, population: int, genome_length: int, chosen: Genetics) -> BinaryGA:
    parents: dict[str, ParentChoice] = {
        "nam": negative_assortative,
        "roulette": roulette,
        "tournament": tournament(chosen.tournament_size),
    }
    mutation = CoinMutation if chosen.mutation == "coin" else BitMutation
    common: dict[str, Any] = {
        "population_size": population,
        "solution": jnp.zeros(genome_length, bool),
        "children": chosen.children,
        "parents": parents[chosen.parents],
        "crossover": crossovers.uniform if chosen.crossover == "uniform" else crossovers.one_point,
        "mutation": mutation(chosen.mutation_rate, chosen.mutation_bias),
    }
    if name == "generational":
        return GenerationalGA(**common)
    return SteadyStateGA(**common, elitism=chosen.elitism, ties=chosen.ties)


def _guide(scores: np.ndarray | None, genome_length: int, *, needed: bool) -> np.ndarray | None:
    """Rankings ``float32 [R, G]`` of the scores, or None where they are not needed."""
    if not needed:
        return None
    if scores is None:
        raise UserError(
            "init from scores and a mutation bias need scores of the bits, and there are none"
        )
    guide = guide_from_scores(scores)
    fits = guide.shape[1] == genome_length
    check("the shape of scores", scores.shape, fits, f"[rankings, {genome_length}]")
    return guide
