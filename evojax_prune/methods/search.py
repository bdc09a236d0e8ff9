"""Pruning by a search over genomes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from evojax_prune.core.objective import Objective
from evojax_prune.core.outcome import Outcome
from evojax_prune.methods.choice import CHOICES, choose
from evojax_prune.methods.dense import dense_head, dense_key
from evojax_prune.methods.evaluator import COLUMNS, Evaluator
from evojax_prune.methods.finalists import finalists
from evojax_prune.methods.found import Effort, Found, Session, Trials
from evojax_prune.methods.guides import (
    NORMS,
    Rankings,
    rank,
    sensitivities_of_bits,
    start_names,
)
from evojax_prune.methods.observer import Observer, Stage
from evojax_prune.methods.options import Choice, SearchOptions
from evojax_prune.methods.problem import (
    Problem,
    best_outcome,
    first_params,
    random_genomes,
    sound_outcomes,
)
from evojax_prune.methods.shared import STARTS
from evojax_prune.search import (
    GenerationInfo,
    SearchResult,
    Strategy,
    make_strategy,
    run_search,
    selection_of,
)
from evojax_prune.search.operators.ranked import LEAST
from evojax_prune.search.warm_up import compiling

RANDOM_MASKS = 100
"""Most random masks that are tried; fewer after a shorter search."""


def find(problem: Problem, options: SearchOptions, session: Session) -> Found:
    """A search over genomes, then its finalists against rankings and random masks.

    All are trained alike: cheaply by the search protocol, and the best by the final one.

    Args:
        problem: what is pruned, on which data.
        options: of the search.
        session: its journal keeps every evaluation.

    Raises:
        UserError: training diverged, or the journal is of another run.
    """
    observer, trainings = session.observer, problem.trainings
    with _compiling(problem, options):
        fits, dense = dense_head(problem, observer)
        rankings = None
        if options.init == "rankings":
            rankings = STARTS.get(
                lambda: dense_key(problem), lambda: rank(problem, first_params(fits), observer)
            )

    evaluator = Evaluator(problem, options)
    dense_values = evaluator(problem.pruning.dense, 0).values[0]
    began = time.monotonic()
    with observer.stage("search", options.evaluations, "evaluations", problem.folds) as shown:
        watch = _Watch(shown, observer)
        evaluator.advance = shown.advance
        result = search(problem, options, evaluator, rankings, session, watch)
    seconds, reports = time.monotonic() - began, tuple(evaluator.reports)

    genomes = finalists(problem, result, options)
    session.keep()
    with observer.stage("finalists", len(genomes), "heads", trainings) as shown:
        heads = sound_outcomes(problem.refit(genomes, shown.advance))
        shown.finish()
    evolved = choose(_choice(options), dense, heads, problem.judging_rows)
    random, masks = _random(problem, options, evaluator, evolved, len(result), observer)
    ranking = None
    if rankings is not None:
        ranking = _best_ranking(problem, rankings, evolved, observer)

    return Found(
        name="evolved",
        kind="evolved",
        how=options.strategy,
        dense=dense,
        pruned=evolved,
        random=random,
        masks=masks,
        trials=_trials(result, evaluator.objectives),
        best=float(result.values[result.best, 0]),
        dense_values=dense_values,
        effort=Effort(
            seconds,
            result.stopped,
            reports,
            result.generations,
            result.cached,
            watch.resumed,
            result.evaluations,
        ),
        packed=result.packed,
        finalists=tuple(heads),
        chosen=f"of {len(heads)} finalists, {CHOICES[_choice(options)][1]}",
        ranking=ranking,
    )


def _compiling(problem: Problem, options: SearchOptions) -> AbstractContextManager[None]:
    """Compile the strategy meanwhile, if the budget lasts for more than the first generation."""
    if options.evaluations <= options.population:
        return nullcontext()

    def strategy() -> Strategy:
        names = start_names(problem.pruning) if options.init == "rankings" else NORMS
        scores = np.ones((len(names), problem.genome_length))  # only their shape is compiled in
        return search_strategy(options, problem.genome_length, scores)

    return compiling(strategy, len(options.objectives))


def _choice(options: SearchOptions) -> Choice:
    """A search of one objective has a best head; a front has to be chosen from."""
    return options.choice if len(options.objectives) > 1 and options.size is None else "best"


def _random(
    problem: Problem,
    options: SearchOptions,
    evaluator: Evaluator,
    evolved: Outcome,
    evaluations: int,
    observer: Observer,
) -> tuple[Outcome, int]:
    """Of as many random masks as the search tried, but no more than 100, the best; and how many.

    The best few by the search protocol are trained by the final one, as the search's are.
    """
    active, count = int(evolved.genome.sum()), min(evaluations, RANDOM_MASKS)
    masks = random_genomes(active, problem.genome_length, count, problem.training.seed)
    with observer.stage("random masks", len(masks), "evaluations", problem.folds) as shown:
        evaluator.advance = shown.advance
        evaluation = evaluator(masks, 0)
        shown.finish()
    selection = selection_of(evaluator.objectives)
    best = masks[selection.finalists(evaluation.values, masks.sum(1), options.finalists)]
    if not len(best):
        best = masks[:1]
    with observer.stage("best random masks", len(best), "heads", problem.trainings) as shown:
        return best_outcome(problem.refit(best, shown.advance)), len(masks)


def _best_ranking(
    problem: Problem, rankings: Rankings, evolved: Outcome, observer: Observer
) -> tuple[str, Outcome]:
    """The best by selection of the rankings that the search started from, at the same size."""
    pruning = problem.pruning
    fractions = pruning.fractions(evolved.genome)
    genomes = np.stack(
        [pruning.keep(pruning.split(scores), fractions) for scores in rankings.scores]
    )
    with observer.stage("rankings", len(genomes), "heads", problem.trainings) as shown:
        heads = problem.refit(genomes, shown.advance)
        shown.finish()
    best = best_outcome(heads)
    (name,) = (n for n, head in zip(rankings.names, heads, strict=True) if head is best)
    return name, best


class _Watch:
    """Tells the observer of each generation, and counts what came from a journal."""

    def __init__(self, shown: Stage, observer: Observer):
        self.resumed = 0
        self._shown, self._observer = shown, observer

    def __call__(self, info: GenerationInfo) -> None:
        if info.replayed:
            self.resumed = info.evaluations
        detail = (
            f"generation {info.generation}, best {info.best_fitness:.4f} with "
            f"{info.best_active_fraction:.0%} active, mean {info.mean_fitness:.4f}"
        )
        self._shown.reach(info.evaluations, detail, skipped=info.replayed)
        self._observer.on_generation(info)


_STARTS = {"random": "random", "sensitivity": "scores", "rankings": "ranked"}


def search_strategy(
    options: SearchOptions, genome_length: int, scores: np.ndarray | None = None
) -> Strategy:
    """The strategy that the options ask for.

    Args:
        options: of the search.
        genome_length: bits of a genome.
        scores: rankings of the bits ``[R, G]`` that a guided search follows.

    Raises:
        UserError: an unknown strategy, or an option that it does not have.
    """
    changes: dict[str, object] = {"init": _STARTS[options.init]}
    if options.size is not None:
        part, (low, high) = min(options.size, genome_length) / genome_length, options.density
        if len(options.objectives) == 1:
            changes["density"] = (part, part)
        elif options.size < LEAST and options.init == "rankings" and low == 0:
            changes["density"] = (min(part, high), high)  # rankings alone give no smaller ones
    return make_strategy(
        options.strategy,
        genome_length,
        options.model_copy(update=changes),
        scores=scores,
        evaluations=options.evaluations,
    )


def search(
    problem: Problem,
    options: SearchOptions,
    evaluator: Evaluator,
    rankings: Rankings | None = None,
    session: Session | None = None,
    on_generation: Callable[[GenerationInfo], None] | None = None,
) -> SearchResult:
    """Search for the genomes that are best by the objectives.

    Args:
        problem: what is pruned, on which data.
        options: of the search.
        evaluator: measures the objectives.
        rankings: to start from, with ``--init rankings``.
        session: its journal keeps every evaluation, so that an interrupted search goes on.
        on_generation: told of every generation.

    Raises:
        UserError: the journal is of another run.
    """
    session = session or Session()
    scores = None if rankings is None else rankings.scores
    if scores is None and (options.init != "random" or options.mutation_bias):
        scores = sensitivities_of_bits(problem)
    return run_search(
        search_strategy(options, problem.genome_length, scores),
        evaluator,
        objectives=evaluator.objectives,
        evaluations=options.evaluations,
        seed=problem.training.seed,
        on_generation=on_generation,
        journal=session.journal,
        journal_config=_identity(problem, options),
        columns=COLUMNS,
        resampled=problem.resampled,
    )


def _identity(problem: Problem, options: SearchOptions) -> dict[str, object]:
    """Plain data that decide a genome's values; strategy and seed are journalled apart."""
    pruning = problem.pruning
    return {
        "objectives": list(options.objectives),
        "size_penalty": options.size_penalty,
        "search_protocol": dataclasses.asdict(problem.training.search_protocol),
        "mode": pruning.mode.name,
        "grain": pruning.grain,
        "hidden": list(pruning.spec.hidden),
        "source": problem.source,
        "data": problem.digest(),
    }


def _trials(result: SearchResult, objectives: tuple[Objective, ...]) -> Trials:
    return Trials(
        objectives=objectives,
        hashes=result.hashes,
        active=result.active,
        genome_length=result.genome_length,
        values=result.values,
        generation=result.generation,
        columns=result.columns,
    )
