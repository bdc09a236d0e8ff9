"""The search loop: ask, evaluate what is new, tell; until the budget is used."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from evojax_prune.search.archive import Archive, digests, pack
from evojax_prune.search.journal import Journal
from evojax_prune.search.result import Evaluation, GenerationInfo, SearchResult
from evojax_prune.search.strategies.strategy import Strategy

Evaluate = Callable[[np.ndarray], "np.ndarray | Evaluation"]

STALL = 100
"""Generations without a single new genome after which a search gives up."""


def run_search(
    strategy: Strategy,
    evaluate: Evaluate,
    *,
    evaluations: int,
    seed: int,
    on_generation: Callable[[GenerationInfo], None] | None = None,
    journal: Path | None = None,
    journal_config: Mapping[str, Any] | None = None,
    stall: int = STALL,
) -> SearchResult:
    """Search for the genome of highest fitness.

    A genome is evaluated once: asked for again, it has the fitness it had, and costs nothing. All
    new genomes of a generation are evaluated in one call. The budget is met exactly: of a last
    generation only as many genomes as the budget has left are evaluated, and the search ends there.
    The same strategy, seed and fitness give the same search on one machine.

    Args:
        strategy: from :func:`~evojax_prune.search.strategies.factory.make_strategy`.
        evaluate: maps distinct new genomes ``bool [n, G]`` to their fitness ``[n]``, *maximised*,
            NaN (the worst) where it failed; or to an :class:`Evaluation`, which may hold more.
        evaluations: budget, in genomes.
        seed: of every random choice of the search.
        on_generation: called after each generation.
        journal: file that keeps every evaluation as soon as it is made. If the file is there, the
            search resumes: it takes the way it took before without evaluating anything again.
        journal_config: plain data that decides the fitness (the run's configuration, the identity
            of the data); a journal written under another one, another strategy or another seed is
            refused. Leave the budget out, and a finished search can be continued with a larger one.
        stall: end, with the budget unused, after so many generations without a new genome.

    Returns:
        Every evaluated genome.

    Raises:
        UserError: the journal is of another run, or damaged.
        ValueError: no budget, or ``evaluate`` returned something else than one fitness a genome,
            or +inf.
    """
    if evaluations < 1:
        raise ValueError(f"evaluations is {evaluations}, expected at least 1")
    memory = _Memory(Archive(strategy.genome_length), evaluate, evaluations)
    if journal is not None:
        identity = {"strategy": strategy.description, "seed": seed, **(journal_config or {})}
        memory.journal = Journal(journal, identity)
    archive = memory.archive
    key = jax.random.key(seed, impl="threefry2x32")
    state: Any = None
    cached = idle = generation = 0
    while len(archive) < evaluations and idle < stall:
        key_ask, key_tell = jax.random.split(jax.random.fold_in(key, generation))
        genomes, state = strategy.ask(key_ask, state)
        told = memory.look_up(genomes, generation)
        if told.complete:
            state = strategy.tell(key_tell, genomes, archive.fitness(told.entries), state)
        cached += told.cached
        idle = 0 if told.new else idle + 1
        if on_generation:
            members = None if state is None else strategy.members(state)
            if members is None:
                members = archive.fitness(told.entries), archive.active(told.entries)
            on_generation(_info(generation, archive, cached, members, told.replayed))
        generation += 1
    exhausted = len(archive) >= evaluations
    stopped = f"the budget of {evaluations} evaluations is used"
    if not exhausted:
        known = f"{len(archive)} of {evaluations} evaluations"
        stopped = f"no new genome in {stall} generations, after {known}"
    return SearchResult(
        **archive.fields(),
        cached=cached,
        generations=generation,
        stopped=stopped,
        exhausted=exhausted,
    )


def _info(
    generation: int,
    archive: Archive,
    cached: int,
    members: tuple[np.ndarray, np.ndarray],
    replayed: bool,
) -> GenerationInfo:
    fitness, active = members
    sound = fitness[~np.isnan(fitness)]
    best = [archive.best]
    return GenerationInfo(
        generation=generation,
        evaluations=len(archive),
        cached=cached,
        best_fitness=float(archive.fitness(best)[0]),
        best_active_fraction=float(archive.active(best)[0] / archive.genome_length),
        mean_fitness=float(sound.mean()) if len(sound) else math.nan,
        mean_active_fraction=float(active.mean() / archive.genome_length),
        replayed=replayed,
    )


@dataclasses.dataclass(frozen=True)
class _Told:
    """What is known of one generation's genomes.

    Attributes:
        entries: their places in the archive; where the budget cut the generation short, of those
            that are in it.
        complete: none is missing.
        new: how many were evaluated now.
        cached: how many were known, or came twice.
        replayed: the new ones came from the journal.
    """

    entries: list[int]
    complete: bool
    new: int
    cached: int
    replayed: bool


@dataclasses.dataclass
class _Memory:
    """Evaluates what it does not know, as far as the budget goes."""

    archive: Archive
    evaluate: Evaluate
    budget: int
    journal: Journal | None = None

    def look_up(self, genomes: np.ndarray, generation: int) -> _Told:
        """Find a generation's genomes ``bool [n, G]``, all new ones evaluated in one call."""
        packed = pack(genomes)
        names = digests(packed)
        places = {name: i for i, name in reversed(list(enumerate(names)))}  # the first of each
        new = sorted(i for name, i in places.items() if name not in self.archive.entries)
        rows = new[: self.budget - len(self.archive)]
        replayed = False
        if rows:
            fresh = [names[i] for i in rows]
            recalled = None if self.journal is None else self.journal.recall(fresh)
            replayed = recalled is not None
            evaluation = recalled or _checked(self.evaluate(genomes[rows]), len(rows))
            if self.journal is not None and not replayed:
                self.journal.record(fresh, evaluation)
            self.archive.add(fresh, packed[rows], generation, evaluation)
        known = self.archive.entries
        return _Told(
            entries=[known[name] for name in names if name in known],
            complete=len(rows) == len(new),
            new=len(rows),
            cached=len(names) - len(new),
            replayed=replayed,
        )


def _checked(returned: np.ndarray | Evaluation, count: int) -> Evaluation:
    """What ``evaluate`` gave, if it is one sound value for each of ``count`` genomes."""
    evaluation = returned if isinstance(returned, Evaluation) else Evaluation(returned)
    fitness = np.asarray(evaluation.fitness, np.float64)
    columns = {name: np.asarray(values) for name, values in evaluation.columns.items()}
    for name, values in {"fitness": fitness, **columns}.items():
        if values.shape != (count,):
            raise ValueError(f"evaluate gave {name} of shape {values.shape}, expected ({count},)")
    if np.isposinf(fitness).any():
        raise ValueError("evaluate gave a fitness of +inf, which no genome could ever beat")
    return Evaluation(fitness, columns)
