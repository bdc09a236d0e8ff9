"""The search loop: ask, evaluate what is new, tell; until the budget is used."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.core.objective import Objective, minimised
from evojax_prune.search.archive import Archive, digests, pack
from evojax_prune.search.journal import Journal
from evojax_prune.search.result import Evaluation, GenerationInfo, SearchResult
from evojax_prune.search.selection import selection_of
from evojax_prune.search.strategies.strategy import Strategy

Evaluate = Callable[[np.ndarray], "np.ndarray | Evaluation"]

STALL = 100
"""Generations without a single new genome after which a search gives up."""


def run_search(
    strategy: Strategy,
    evaluate: Evaluate,
    *,
    objectives: Sequence[Objective],
    evaluations: int,
    seed: int,
    on_generation: Callable[[GenerationInfo], None] | None = None,
    journal: Path | None = None,
    journal_config: Mapping[str, Any] | None = None,
    stall: int = STALL,
) -> SearchResult:
    """Search for the genomes that are best by the objectives.

    A genome is evaluated once: asked for again, it has the values it had, and costs nothing. All
    new genomes of a generation are evaluated in one call. The budget is met exactly: of a last
    generation only as many genomes as the budget has left are evaluated, and the search ends there.
    The same strategy, seed and values give the same search on one machine.

    Args:
        strategy: from :func:`~evojax_prune.search.strategies.registry.make_strategy`.
        evaluate: maps distinct new genomes ``bool [n, G]`` to their values ``[n, M]`` (or ``[n]``),
            each in its objective's own direction, NaN (the worst) where it failed; or to an
            :class:`Evaluation`, which may hold more.
        objectives: what the values are, M of them.
        evaluations: budget, in genomes.
        seed: of every random choice of the search.
        on_generation: called after each generation.
        journal: file that keeps every evaluation as soon as it is made. If the file is there, the
            search resumes: it takes the way it took before without evaluating anything again,
            guided by the rankings that the journal keeps.
        journal_config: plain data that decides the values (the run's configuration, the identity
            of the data); a journal written under another one, another strategy or another seed is
            refused. Leave the budget out, and a finished search can be continued with a larger one.
        stall: end, with the budget unused, after so many generations without a new genome.

    Returns:
        Every evaluated genome.

    Raises:
        UserError: the strategy cannot search for so many objectives; the journal is of another run,
            damaged, or cannot be written.
        ValueError: no budget, or ``evaluate`` returned something else than M values per genome, or
            an infinitely good one.
    """
    if evaluations < 1:
        raise ValueError(f"evaluations is {evaluations}, expected at least 1")
    if len(objectives) != 1 and not strategy.several:
        raise UserError(
            f"strategy {strategy.plan.name} searches for one objective, and there are "
            f"{len(objectives)}: choose one objective, or another strategy"
        )
    archive = Archive(strategy.genome_length, len(objectives))
    memory = _Memory(archive, evaluate, objectives, evaluations)
    if journal is not None:
        identity = {
            "strategy": strategy.description,
            "objectives": [dataclasses.asdict(o) for o in objectives],
            "seed": seed,
            **(journal_config or {}),
        }
        memory.journal = Journal(journal, identity, len(objectives), strategy.plan.guide)
        strategy = strategy.with_guide(memory.journal.guide)
    watch = _Watch(archive, objectives)
    key = jax.random.key(seed, impl="threefry2x32")
    state: Any = None
    population = np.empty(0, np.int64)
    idle = generation = 0
    while len(archive) < evaluations and idle < stall:
        key_ask, key_tell = jax.random.split(jax.random.fold_in(key, generation))
        genomes, state = strategy.ask(key_ask, state)
        told = memory.look_up(genomes, generation)
        if told.complete:
            costs = minimised(archive.values[told.entries], objectives)
            state = strategy.tell(key_tell, genomes, costs, state)
            population = memory.places(strategy.population(state), told)
        elif not len(population):  # not even the first one could be paid for
            population = told.entries
        idle = 0 if told.new else idle + 1
        info = watch.after(generation, told, population)
        if on_generation:
            on_generation(info)
        generation += 1
    return watch.result(population, generation, evaluations, stall)


@dataclasses.dataclass(frozen=True)
class _Told:
    """What is known of one generation's genomes.

    Attributes:
        entries: their places in the archive ``int64``; where the budget cut the generation short,
            of those that are in it.
        complete: none is missing.
        new: how many were evaluated now.
        cached: how many were known, or came twice.
        replayed: the new ones came from the journal.
    """

    entries: np.ndarray
    complete: bool
    new: int
    cached: int
    replayed: bool


class _Watch:
    """Who leads, generation by generation."""

    def __init__(self, archive: Archive, objectives: Sequence[Objective]):
        self.selection = selection_of(objectives)
        self.cached = 0
        self._archive = archive
        self._leaders = np.empty(0, np.int64)
        self._seen = 0

    def after(self, generation: int, told: _Told, members: np.ndarray) -> GenerationInfo:
        """The news of a generation, of which the population ``int64 [P]`` is what is left."""
        values, active = self._archive.values, self._archive.active
        contenders = np.concatenate([self._leaders, np.arange(self._seen, len(values))])
        self._leaders = contenders[self.selection.leaders(values[contenders], active[contenders])]
        self._seen = len(values)
        self.cached += told.cached
        sound = members[~np.isnan(values[members]).any(1)]
        length = self._archive.genome_length
        return GenerationInfo(
            generation=generation,
            evaluations=len(values),
            cached=self.cached,
            leaders=values[self._leaders],
            leaders_active_fraction=active[self._leaders] / length,
            mean=values[sound].mean(0) if len(sound) else np.full(values.shape[1], np.nan),
            mean_active_fraction=float(active[members].mean() / length),
            replayed=told.replayed,
        )

    def result(
        self, population: np.ndarray, generations: int, budget: int, stall: int
    ) -> SearchResult:
        """What the search has found in the end."""
        archive = self._archive
        members = np.unique(population)
        ranked = self.selection.order(archive.values[members], archive.active[members])
        stopped = f"the budget of {budget} evaluations is used"
        if len(archive) < budget:
            known = f"{len(archive)} of {budget} evaluations"
            stopped = f"no new genome in {stall} generations, after {known}"
        return SearchResult(
            objectives=self.selection.objectives,
            **archive.fields(),
            population=members[ranked],
            cached=self.cached,
            generations=generations,
            stopped=stopped,
            exhausted=len(archive) >= budget,
        )


@dataclasses.dataclass
class _Memory:
    """Evaluates what it does not know, as far as the budget goes."""

    archive: Archive
    evaluate: Evaluate
    objectives: Sequence[Objective]
    budget: int
    journal: Journal | None = None

    def look_up(self, genomes: np.ndarray, generation: int) -> _Told:
        """Find a generation's genomes ``bool [n, G]``, all new ones evaluated in one call."""
        packed = pack(genomes)
        names = digests(packed)
        known = self.archive.find(names)
        first = {name: i for i, name in reversed(list(enumerate(names)))}
        new = sorted(i for i in first.values() if known[i] < 0)
        rows = new[: self.budget - len(self.archive)]
        replayed = False
        if rows:
            fresh = [names[i] for i in rows]
            evaluation, replayed = self._evaluated(fresh, genomes[rows])
            self.archive.add(fresh, packed[rows], generation, evaluation)
            known = self.archive.find(names)
        return _Told(
            entries=known[known >= 0],
            complete=len(rows) == len(new),
            new=len(rows),
            cached=len(names) - len(new),
            replayed=replayed,
        )

    def places(self, population: np.ndarray | None, told: _Told) -> np.ndarray:
        """Entries ``int64 [P]`` of a population; the generation's where there is none."""
        if population is None:
            return told.entries
        return self.archive.find(digests(pack(population)))

    def _evaluated(self, names: list[str], genomes: np.ndarray) -> tuple[Evaluation, bool]:
        """The evaluation of genomes, and whether all of it came from the journal."""
        if self.journal is None:
            return _checked(self.evaluate(genomes), len(names), self.objectives), False
        there, recalled = self.journal.recall(names, 0)
        if there.all():
            return recalled, True
        missing = np.flatnonzero(~there)
        evaluation = _checked(self.evaluate(genomes[missing]), len(missing), self.objectives)
        self.journal.record([names[i] for i in missing], 0, evaluation)
        return _merged(there, recalled, evaluation), False


def _merged(there: np.ndarray, recalled: Evaluation, evaluation: Evaluation) -> Evaluation:
    """One evaluation of two: of the rows that are there, and of the others."""
    if not there.any():
        return evaluation
    if recalled.columns.keys() != evaluation.columns.keys():
        raise ValueError(
            f"evaluate gave the columns {sorted(evaluation.columns)}, "
            f"before it gave {sorted(recalled.columns)}"
        )
    places = np.argsort(np.concatenate([np.flatnonzero(there), np.flatnonzero(~there)]))

    def both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.concatenate([one, other])[places]

    columns = {c: both(v, evaluation.columns[c]) for c, v in recalled.columns.items()}
    return Evaluation(both(recalled.values, evaluation.values), columns)


def _checked(
    returned: np.ndarray | Evaluation, count: int, objectives: Sequence[Objective]
) -> Evaluation:
    """What ``evaluate`` gave, if it is M sound values for each of ``count`` genomes."""
    evaluation = returned if isinstance(returned, Evaluation) else Evaluation(returned)
    values = np.array(evaluation.values, np.float64)
    shape = count, len(objectives)
    if values.ndim == 1 and len(objectives) == 1:
        values = values[:, None]
    if values.shape != shape:
        raise ValueError(f"evaluate gave values of shape {values.shape}, expected {shape}")
    for column, objective in zip(values.T, objectives, strict=True):
        best = np.inf if objective.maximised else -np.inf
        if (column == best).any():
            raise ValueError(
                f"evaluate gave a {objective.name} of {best}, which no genome could ever beat"
            )
        if objective.scale == "log" and (column <= 0).any():
            raise ValueError(f"evaluate gave a {objective.name} of 0 or less, on a log scale")
    # Of the types that a journal gives back: whole numbers int64, others float64.
    columns = {name: np.array(np.asarray(c).tolist()) for name, c in evaluation.columns.items()}
    for name, given in columns.items():
        if given.shape != (count,):
            raise ValueError(f"evaluate gave {name} of shape {given.shape}, expected ({count},)")
    return Evaluation(values, columns)
