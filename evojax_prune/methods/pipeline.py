"""The stages of a run, each a function that knows nothing of the command line."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from evojax_prune import baselines
from evojax_prune.cli.config import MethodOptions, RunConfig
from evojax_prune.core.errors import UserError
from evojax_prune.core.head import Params, head_spec
from evojax_prune.core.mode import MODES
from evojax_prune.core.outcome import Outcome, judge
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.ranking import quantiles
from evojax_prune.core.splits import FeatureSplits
from evojax_prune.data import FeatureTable, make_splits
from evojax_prune.engine import EngineReport, Fits, fit_population
from evojax_prune.engine.optax_steps import optimizer_names
from evojax_prune.engine.plan import ENGINES
from evojax_prune.features import load_table
from evojax_prune.objectives import fitness as objectives
from evojax_prune.search import (
    Evaluation,
    GenerationInfo,
    SearchResult,
    Strategy,
    make_strategy,
    run_search,
)
from evojax_prune.search.result import best_first
from evojax_prune.sensitivity import sensitivity_scores

GUIDES = (1.0, 2.0, 4.0, math.inf)
"""Norms whose rankings guide a search; each guided draw takes one of them at random."""

Advance = Callable[[int], None]
"""Called with the number of heads just trained."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is pruned, on which data.

    Attributes:
        config: the run's configuration.
        name: what to call the data.
        version: the data's version.
        source: where the features come from.
        splits: one element, or one a fold.
        pruning: what genomes mean.
    """

    config: RunConfig
    name: str
    version: str
    source: str
    splits: Sequence[FeatureSplits]
    pruning: Pruning

    @property
    def genome_length(self) -> int:
        """Bits of a genome."""
        return self.pruning.genome_length

    @property
    def dense(self) -> np.ndarray:
        """The genome of the whole head, as a population ``bool [1, G]``."""
        return self.pruning.dense

    @property
    def selected_on_test(self) -> bool:
        """The selection split is the test split."""
        return self.splits[0].selected_on_test

    def fit(
        self,
        genomes: np.ndarray,
        protocol: Protocol,
        evaluate: tuple[str, ...],
        return_params: bool = False,
        advance: Advance | None = None,
    ) -> Fits:
        """Train one head a genome, ``bool [P, G]``."""
        splits = self.splits[0] if len(self.splits) == 1 else self.splits
        return fit_population(
            self.pruning.masks(genomes),
            splits,
            protocol,
            head=self.pruning.spec,
            seed=self.config.seed,
            evaluate=evaluate,
            return_params=return_params,
            engine=self.config.engine,
            member_batch=self.config.member_batch,
            progress=advance,
        )

    def describe(self) -> str:
        """One line on the data and what is searched."""
        first, folds = self.splits[0], len(self.splits)
        rows = (
            f"{len(first.train)} training, {len(first.selection)} selection, {len(first.test)} test"
        )
        return (
            f"{self.source}: {len(first.classes)} classes, {self.pruning.spec.features} features; "
            f"{rows} rows{f' in each of {folds} folds' if folds > 1 else ''}; "
            f"{self.genome_length} bits to search"
        )

    def digest(self) -> str:
        """Hex digest of the rows of every split."""
        content = hashlib.blake2b(digest_size=16)
        for part in self.splits:
            for split in (part.train, part.selection, part.test):
                content.update(np.ascontiguousarray(split.x).data)
                content.update(np.ascontiguousarray(split.y).data)
        return content.hexdigest()


def load_problem(config: RunConfig) -> Problem:
    """Check the settings, get the features, cut the splits, shape the head.

    Raises:
        UserError: names that nothing has, data that cannot be used, splits that cannot be cut.
    """
    check_names(config)
    table = load_table(
        config.dataset,
        data_dir=config.data_dir,
        backbone=config.backbone,
        backbone_weights=config.backbone_weights,
        image_size=config.image_size,
        skip_unreadable=config.skip_unreadable,
        groups=config.groups,
        batch_size=config.extraction_batch,
        progress=True,
    )
    return make_problem(config, table)


def check_names(config: RunConfig) -> None:
    """Refuse what no part of the program has, before any work is done.

    Raises:
        UserError: no such strategy, strategy's option, engine or optimizer.
    """
    make_search_strategy(config, genome_length=1000, scores=np.zeros((1, 1000)))
    for option, name, valid in (
        ("engine", config.engine, ENGINES),
        ("search_protocol.optimizer", config.search_protocol.optimizer, optimizer_names()),
        ("final_protocol.optimizer", config.final_protocol.optimizer, optimizer_names()),
    ):
        if name not in valid:
            raise UserError(f"{option} is {name}, expected one of {', '.join(valid)}")


def make_problem(config: RunConfig, table: FeatureTable) -> Problem:
    """Cut the splits and shape the head.

    Raises:
        UserError: splits that cannot be cut, or fewer hidden layers than the mode prunes.
    """
    splits = make_splits(
        table,
        selection=config.selection,
        selection_fraction=config.selection_fraction,
        test_fraction=config.test_fraction,
        folds=config.folds,
        seed=config.seed,
        allow_group_overlap=config.allow_group_overlap,
    )
    features = splits[0].train.x.shape[1]
    try:
        spec = head_spec(config.mode, features, len(table.classes), config.hidden)
    except ValueError as error:
        raise UserError(f"--hidden does not suit: {error}") from None
    pruning = Pruning(spec, MODES[config.mode], config.grain)
    return Problem(config, table.name, table.version, table.source, splits, pruning)


class Evaluator:
    """Fitness of genomes by the search protocol.

    Attributes:
        reports: the trainer's report on each call.
    """

    def __init__(self, problem: Problem, advance: Advance | None = None):
        self.problem = problem
        self.advance = advance
        self.reports: list[EngineReport] = []

    def __call__(self, genomes: np.ndarray) -> Evaluation:
        """Train genomes ``bool [n, G]``; the columns are ``epochs`` and ``seconds``."""
        config = self.problem.config
        fits = self.problem.fit(
            genomes, config.search_protocol.protocol(), ("selection",), advance=self.advance
        )
        self.reports.append(fits.report)
        fitness = objectives.fitness(
            fits.accuracy["selection"],
            fits.cross_entropy["selection"],
            genomes.mean(1),
            config.fitness,
            config.size_penalty,
        )
        return Evaluation(fitness, {"epochs": fits.epochs, "seconds": fits.seconds})


def bit_scores(problem: Problem) -> np.ndarray:
    """Rankings of the genome's bits by the sensitivities of a dense head, one a norm.

    The head is trained like the genomes of the search, by the search protocol, and looked at on its
    training rows only. Sensitivities of different layers are in different units, so each layer's
    units are ranked among themselves.

    Returns:
        ``float64 [R, G]``, quantiles in (0, 1]; the higher, the more the outputs depend on the bit.
    """
    protocol = problem.config.search_protocol.protocol()
    dense = problem.fit(problem.dense, protocol, (), return_params=True)
    train = [split.train for split in problem.splits]
    layers = sensitivity_scores(first_params(dense), train, problem.pruning.mode, GUIDES)
    return np.concatenate([quantiles(scores) for scores in layers], axis=1)


def first_params(fits: Fits) -> list[Params]:
    """Full parameters of a population's first head, one a fold."""
    return [fold.params[0] for fold in fits.folds or (fits,) if fold.params]


def make_search_strategy(
    config: RunConfig, genome_length: int, scores: np.ndarray | None = None
) -> Strategy:
    """The strategy that the configuration asks for.

    Args:
        config: the run's configuration.
        genome_length: bits of a genome.
        scores: rankings of the bits ``[R, G]`` that a guided search follows.

    Raises:
        UserError: an unknown strategy, or an option that it has not.
    """
    return make_strategy(
        config.strategy,
        population=config.population,
        genome_length=genome_length,
        density=config.density,
        scores=scores,
        init="scores" if config.init == "sensitivity" else "random",
        sharpness=config.sharpness,
        children=config.children,
        parents=config.parents,
        tournament_size=config.tournament_size,
        crossover=config.crossover,
        mutation=config.mutation,
        mutation_rate=config.mutation_rate,
        mutation_bias=config.mutation_bias,
        elitism=config.elitism,
        ties=config.ties,
        options=config.strategy_options,
        evaluations=config.evaluations,
    )


def search(
    problem: Problem,
    evaluator: Evaluator,
    journal: Path | None = None,
    on_generation: Callable[[GenerationInfo], None] | None = None,
) -> SearchResult:
    """Search for the genome of highest fitness.

    Args:
        problem: what is pruned, on which data.
        evaluator: measures fitness.
        journal: file that every evaluation is kept in; a search that was interrupted goes on. None:
            nothing is kept.
        on_generation: told of every generation.

    Raises:
        UserError: the journal is of another run.
    """
    config = problem.config
    scores = bit_scores(problem) if config.guided else None
    decides_nothing = {"evaluations", "finalists", "final_protocol", *MethodOptions.model_fields}
    settings = {k: v for k, v in config.repeatable().items() if k not in decides_nothing}
    return run_search(
        make_search_strategy(config, problem.genome_length, scores),
        evaluator,
        evaluations=config.evaluations,
        seed=config.seed,
        on_generation=on_generation,
        journal=journal,
        journal_config={"config": settings, "data": problem.digest()},
    )


def finalists(fitness: np.ndarray, active: np.ndarray, count: int) -> np.ndarray:
    """Indices of the best genomes, best first; of equal fitness, fewer active bits come first.

    Args:
        fitness: ``float64 [E]``, NaN where training diverged; such a genome is no finalist.
        active: ``int64 [E]``, active bits.
        count: most finalists.

    Raises:
        UserError: training diverged for all of them.
    """
    sound = int((~np.isnan(fitness)).sum())
    if not sound:
        raise UserError(
            "training by the search protocol diverged for every genome (its loss is not finite): "
            "lower --search-protocol.learning-rate"
        )
    return best_first(fitness, active)[: min(count, sound)]


def random_genomes(active: int, length: int, count: int, seed: int) -> np.ndarray:
    """``bool [count, length]``, each with ``active`` bits at random; one if all are alike."""
    if active in (0, length):
        count = 1
    generator = np.random.default_rng([seed, 0x72616E64])
    genomes = np.zeros((count, length), bool)
    for genome in genomes:
        genome[generator.choice(length, active, replace=False)] = True
    return genomes


def refit(problem: Problem, genomes: np.ndarray, advance: Advance | None = None) -> list[Outcome]:
    """Train genomes ``bool [P, G]`` by the final protocol and judge them.

    Args:
        problem: what is pruned, on which data.
        genomes: ``bool [P, G]``.
        advance: told of every trained head.

    Returns:
        One a genome; the selection accuracy is NaN where training diverged.
    """
    return judged(problem, final_fits(problem, genomes, advance), genomes)


def final_fits(problem: Problem, genomes: np.ndarray, advance: Advance | None = None) -> Fits:
    """Train genomes ``bool [P, G]`` by the final protocol; the fits have parameters."""
    return problem.fit(
        genomes,
        problem.config.final_protocol.protocol(),
        (),
        return_params=True,
        advance=advance,
    )


def judged(problem: Problem, fits: Fits, genomes: np.ndarray) -> list[Outcome]:
    """How heads that were fitted with parameters did, one a row of ``bool [P, G]``."""
    folds = [fold.params or [] for fold in fits.folds or (fits,)]
    return [
        judge(
            [params[member] for params in folds],
            genome,
            problem.pruning,
            problem.splits,
            loss=float(fits.loss[member]),
            epochs=int(fits.epochs[member]),
        )
        for member, genome in enumerate(genomes)
    ]


def best_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """The best on the selection split; of equals the smaller, then the earlier.

    Raises:
        UserError: training diverged for all of them.
    """
    sound = [outcome for outcome in outcomes if not math.isnan(outcome.selection)]
    if not sound:
        raise UserError(
            "training by the final protocol diverged (its loss is not finite): lower "
            "--final-protocol.learning-rate"
        )
    return max(sound, key=lambda outcome: (outcome.selection, -outcome.parameters))


def compare(
    problem: Problem,
    genome: np.ndarray,
    fractions: Sequence[float],
    *,
    methods: Sequence[str] | None = None,
    random_masks: int = 5,
    advance: Advance | None = None,
) -> list[baselines.BaselineRow]:
    """Other ways of pruning, on the terms of a head that was found.

    Args:
        problem: what is pruned, on which data.
        genome: the head's, ``bool [G]``.
        fractions: active fractions among which each one's own best is looked for.
        methods: baselines by name; all if None.
        random_masks: random masks at each fraction.
        advance: told of every trained head.
    """
    config = problem.config
    return baselines.compare(
        problem.splits,
        problem.pruning,
        config.final_protocol.protocol(),
        problem.pruning.fractions(genome),
        config.seed,
        methods=methods,
        fractions=fractions,
        random_masks=random_masks,
        engine=config.engine,
        member_batch=config.member_batch,
        progress=advance,
    )
