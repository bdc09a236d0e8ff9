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
from evojax_prune.search.archive import Archive
from evojax_prune.search.journal import Journal
from evojax_prune.search.memory import Evaluate, FreshMemory, Memory, Told
from evojax_prune.search.result import GenerationInfo, SearchResult
from evojax_prune.search.selection import selection_of
from evojax_prune.search.strategies.strategy import Strategy

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
    columns: Mapping[str, type] | None = None,
    resampled: bool = False,
    stall: int = STALL,
) -> SearchResult:
    """Search for the genomes that are best by the objectives.

    A genome is evaluated once: asked for again, it has the values it had, and costs nothing. If
    ``resampled``, each generation is an occasion of its own: its genomes and the members that live
    are all looked at, and what a genome is worth is estimated from its looks. All that is looked at
    in a generation is evaluated in one call. The budget is met exactly: of a last
    generation only as many genomes as the budget has left are evaluated, and the search ends there.
    The same strategy, seed and values give the same search on one machine.

    Args:
        strategy: from :func:`~evojax_prune.search.strategies.registry.make_strategy`.
        evaluate: maps distinct new genomes ``bool [n, G]`` to their values ``[n, M]`` (or ``[n]``),
            each in its objective's own direction, NaN (the worst) where it failed; or to an
            :class:`Evaluation`, which may hold more. If ``resampled``, it is also given the
            number of the generation, which decides the split that values are measured on.
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
        columns: names and types of the columns that ``evaluate`` gives, which a journal must have;
            None for any.
        resampled: look at genomes anew in each generation.
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
    check_objectives(strategy, len(objectives))
    archive = Archive(strategy.genome_length, len(objectives))
    memory = (FreshMemory if resampled else Memory)(archive, evaluate, objectives, evaluations)
    if journal is not None:
        identity = {
            "strategy": strategy.description,
            "objectives": [dataclasses.asdict(o) for o in objectives],
            "seed": seed,
            "resampled": resampled,
            **(journal_config or {}),
        }
        memory.journal = Journal(journal, identity, objectives, strategy.plan.guide, columns)
        strategy = strategy.with_guide(memory.journal.guide)
    watch = _Leaders(memory, objectives)
    key = jax.random.key(seed, impl="threefry2x32")
    state: Any = None
    members = population = np.empty(0, np.int64)
    idle = generation = 0
    while memory.left > 0 and idle < stall:
        key_ask, key_tell = jax.random.split(jax.random.fold_in(key, generation))
        genomes, state = strategy.ask(key_ask, state)
        told = memory.look_up(genomes, generation, members)
        if told.complete:
            if resampled and len(members):
                state = strategy.reassess(minimised(archive.values[members], objectives), state)
            costs = minimised(archive.values[told.entries], objectives)
            state = strategy.tell(key_tell, genomes, costs, state)
            kept = strategy.population(state)
            members = memory.places(kept)
            population = told.entries if kept is None else members
        elif not len(population):  # not even the first one could be paid for
            population = told.entries
        idle = 0 if told.new else idle + 1
        info = watch.after(generation, told, population)
        if on_generation:
            on_generation(info)
        generation += 1
    return watch.result(population, generation, evaluations, stall)


class _Leaders:
    """Who leads, generation by generation."""

    def __init__(self, memory: Memory, objectives: Sequence[Objective]):
        self.selection = selection_of(objectives)
        self.cached = 0
        self._memory, self._archive = memory, memory.archive
        self._leaders = np.empty(0, np.int64)
        self._seen = 0

    def after(self, generation: int, told: Told, members: np.ndarray) -> GenerationInfo:
        """The news of a generation, of which the population ``int64 [P]`` is what is left."""
        values, active = self._archive.values, self._archive.active
        contenders = self._memory.contenders(self._leaders, self._seen, members)
        self._leaders = contenders[self.selection.leaders(values[contenders], active[contenders])]
        self._seen = len(values)
        self.cached += told.cached
        sound = members[~np.isnan(values[members]).any(1)]
        length = self._archive.genome_length
        return GenerationInfo(
            generation=generation,
            evaluations=self._memory.spent,
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
        archive, fields = self._archive, self._archive.fields()
        members = np.unique(population)
        ranked = self.selection.order(archive.values[members], archive.active[members])
        stopped = f"the budget of {budget} evaluations is used"
        exhausted = self._memory.left <= 0
        if not exhausted:
            known = f"{self._memory.spent} of {budget} evaluations"
            stopped = f"no new genome in {stall} generations, after {known}"
        return SearchResult(
            objectives=self.selection.objectives,
            **fields | {"columns": self._memory.columns(fields["columns"])},
            population=members[ranked],
            cached=self.cached,
            generations=generations,
            stopped=stopped,
            exhausted=exhausted,
            evaluations=self._memory.spent,
        )


def check_objectives(strategy: Strategy, count: int) -> None:
    """Refuse several objectives where a strategy searches for one.

    Raises:
        UserError: it does.
    """
    if count != 1 and not strategy.several:
        raise UserError(
            f"strategy {strategy.plan.name} searches for one objective, and there are {count}: "
            "choose one objective, or another strategy"
        )
