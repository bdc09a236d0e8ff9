"""Pruning by a search over genomes."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.core.objective import Objective
from evojax_prune.core.ranking import quantiles
from evojax_prune.engine import EngineReport
from evojax_prune.methods.found import Effort, Found, Session, Trials
from evojax_prune.methods.observer import Observer, Stage
from evojax_prune.methods.options import SearchOptions
from evojax_prune.methods.problem import (
    Advance,
    Problem,
    best_outcome,
    first_params,
    random_genomes,
)
from evojax_prune.objectives import fitness as objectives
from evojax_prune.search import (
    Evaluation,
    EveryOption,
    GenerationInfo,
    SearchResult,
    Strategy,
    make_strategy,
    run_search,
    selection_of,
)
from evojax_prune.sensitivity import sensitivity_scores

GUIDES = (1.0, 2.0, 4.0, math.inf)
"""Norms whose rankings guide a search; each guided draw takes one of them at random."""


def find(problem: Problem, options: SearchOptions, session: Session) -> Found:
    """A search over genomes, then its finalists against random masks by the same two protocols.

    Args:
        problem: what is pruned, on which data.
        options: of the search.
        session: its journal keeps every evaluation.

    Raises:
        UserError: training diverged, or the journal is of another run.
    """
    observer, folds = session.observer, problem.folds
    evaluator = Evaluator(problem, options)
    dense = problem.pruning.dense
    dense_values = np.atleast_1d(evaluator(dense).values[0])

    began = time.monotonic()
    with observer.stage("search", options.evaluations, "evaluations", folds) as shown:
        watch = _Watch(shown, observer)
        evaluator.advance = shown.advance
        result = search(problem, options, evaluator, session, watch)
    seconds, reports = time.monotonic() - began, tuple(evaluator.reports)

    best = result.rows(finalists(result.fitness, result.active, options.finalists))
    session.keep()
    with observer.stage("dense head and finalists", 1 + len(best), "heads", folds) as shown:
        heads = problem.refit(np.concatenate([dense, best]), shown.advance)
        shown.finish()
    whole, evolved = best_outcome(heads[:1]), best_outcome(heads[1:])

    masks = random_genomes(
        int(evolved.genome.sum()), problem.genome_length, len(result), problem.training.seed
    )
    with observer.stage("random masks", len(masks), "evaluations", folds) as shown:
        evaluator.advance = shown.advance
        fitness = evaluator(masks).values
        shown.finish()
    best = masks[finalists(fitness, masks.sum(1), options.finalists)]
    with observer.stage("best random masks", len(best), "heads", folds) as shown:
        random = best_outcome(problem.refit(best, shown.advance))
        shown.finish()

    return Found(
        name="evolved",
        kind="evolved",
        how=options.strategy,
        dense=whole,
        pruned=evolved,
        random=random,
        masks=len(masks),
        trials=_trials(result, evaluator.objective),
        best=float(result.fitness[result.best]),
        dense_values=dense_values,
        effort=Effort(
            seconds, result.stopped, reports, result.generations, result.cached, watch.resumed
        ),
        packed=result.packed,
    )


class Evaluator:
    """Fitness of genomes by the search protocol.

    Attributes:
        reports: the trainer's report on each call.
    """

    def __init__(self, problem: Problem, options: SearchOptions, advance: Advance | None = None):
        self.problem, self.options = problem, options
        self.advance = advance
        self.reports: list[EngineReport] = []

    @property
    def objective(self) -> Objective:
        """What is maximised."""
        name = "accuracy" if self.options.fitness == "accuracy" else "- cross-entropy (nats)"
        if self.options.size_penalty:
            name += f" - {self.options.size_penalty:g} x active fraction"
        return Objective("fitness", f"fitness: {name}")

    def __call__(self, genomes: np.ndarray) -> Evaluation:
        """Train genomes ``bool [n, G]``; the columns are ``epochs`` and ``seconds``."""
        protocol = self.problem.training.search_protocol
        fits = self.problem.fit(genomes, protocol, ("selection",), advance=self.advance)
        self.reports.append(fits.report)
        fitness = objectives.fitness(
            fits.accuracy["selection"],
            fits.cross_entropy["selection"],
            genomes.mean(1),
            self.options.fitness,
            self.options.size_penalty,
        )
        return Evaluation(fitness, {"epochs": fits.epochs, "seconds": fits.seconds})


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


def bit_scores(problem: Problem) -> np.ndarray:
    """Rankings of the genome's bits by the sensitivities of a dense head, one per norm.

    The head is trained like the genomes of the search, by the search protocol, and looked at on its
    training rows only. Sensitivities of different layers are in different units, so each layer's
    units are ranked among themselves.

    Returns:
        ``float64 [R, G]``, quantiles in (0, 1]; the higher, the more the outputs depend on the bit.
    """
    protocol = problem.training.search_protocol
    dense = problem.fit(problem.pruning.dense, protocol, (), return_params=True)
    train = [split.train for split in problem.splits]
    layers = sensitivity_scores(first_params(dense), train, problem.pruning.mode, GUIDES)
    return np.concatenate([quantiles(scores) for scores in layers], axis=1)


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
    own = {field: getattr(options, field) for field in EveryOption.model_fields}
    init = "scores" if options.init == "sensitivity" else "random"
    return make_strategy(
        options.strategy,
        genome_length,
        EveryOption(**own | {"init": init}),
        scores=scores,
        evaluations=options.evaluations,
    )


def is_guided(options: SearchOptions) -> bool:
    """The search follows sensitivities."""
    return options.init == "sensitivity" or options.mutation_bias > 0


def search(
    problem: Problem,
    options: SearchOptions,
    evaluator: Evaluator,
    session: Session | None = None,
    on_generation: Callable[[GenerationInfo], None] | None = None,
) -> SearchResult:
    """Search for the genome of highest fitness.

    Args:
        problem: what is pruned, on which data.
        options: of the search.
        evaluator: measures fitness.
        session: its journal keeps every evaluation, so that an interrupted search goes on.
        on_generation: told of every generation.

    Raises:
        UserError: the journal is of another run.
    """
    session = session or Session()
    scores = bit_scores(problem) if is_guided(options) else None
    return run_search(
        search_strategy(options, problem.genome_length, scores),
        evaluator,
        objectives=[evaluator.objective],
        evaluations=options.evaluations,
        seed=problem.training.seed,
        on_generation=on_generation,
        journal=session.journal,
        journal_config=_identity(problem, options),
    )


def _identity(problem: Problem, options: SearchOptions) -> dict[str, object]:
    """Plain data that decide a genome's fitness; the strategy and the seed are journalled apart."""
    pruning = problem.pruning
    return {
        "fitness": options.fitness,
        "size_penalty": options.size_penalty,
        "search_protocol": dataclasses.asdict(problem.training.search_protocol),
        "mode": pruning.mode.name,
        "grain": pruning.grain,
        "hidden": list(pruning.spec.hidden),
        "source": problem.source,
        "data": problem.digest(),
    }


def finalists(fitness: np.ndarray, active: np.ndarray, count: int) -> np.ndarray:
    """Indices of the best genomes, best first; of equal fitness, fewer active bits come first.

    Args:
        fitness: ``float64 [E]``, NaN where training diverged; such a genome is no finalist.
        active: ``int64 [E]``, active bits.
        count: most finalists.

    Raises:
        UserError: training diverged for all of them.
    """
    best = selection_of([Objective("fitness", "fitness")])
    chosen = best.finalists(fitness[:, None], active, count)
    if not len(chosen):
        raise UserError(
            "training by the search protocol diverged for every genome (its loss is not finite): "
            "lower --search-protocol.learning-rate"
        )
    return chosen


def _trials(result: SearchResult, objective: Objective) -> Trials:
    return Trials(
        objectives=(objective,),
        hashes=result.hashes,
        active=result.active,
        genome_length=result.genome_length,
        values=result.values,
        generation=result.generation,
        columns=result.columns,
    )
