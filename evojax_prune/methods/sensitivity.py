"""Pruning by sensitivities: the dense head's most sensitive bits, at one size or several."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from evojax_prune.baselines import (
    RECURSIVE,
    elimination_protocol,
    elimination_sizes,
    recursive_elimination,
)
from evojax_prune.core.head import Params
from evojax_prune.core.objective import Objective
from evojax_prune.core.outcome import Outcome
from evojax_prune.core.ranking import REDUCTION_LEVELS, smallest_within_error
from evojax_prune.methods.dense import dense_head
from evojax_prune.methods.found import Effort, Found, Session, Trials
from evojax_prune.methods.observer import Observer
from evojax_prune.methods.options import SensitivityOptions
from evojax_prune.methods.problem import Problem, best_outcome, first_params, random_genomes
from evojax_prune.search.archive import digests, pack
from evojax_prune.sensitivity import norm_name, sensitivity_scores

ACCURACY = Objective("accuracy", "accuracy")


def find(problem: Problem, options: SensitivityOptions, session: Session) -> Found:
    """Sensitivities of the dense head, then the most sensitive bits at one size or several.

    Args:
        problem: what is pruned, on which data.
        options: the norm, and how much is kept.
        session: told of the progress; nothing is journalled.

    Raises:
        UserError: training diverged.
    """
    observer, trainings, began = session.observer, problem.trainings, time.monotonic()
    dense_fits, dense = dense_head(problem, observer)

    scores = _scores(problem, options, first_params(dense_fits), observer)
    genomes = _genomes(problem, options, scores)
    with observer.stage("pruned heads", len(genomes), "heads", trainings) as shown:
        fits = problem.final_fits(genomes, shown.advance)
        outcomes = problem.judged(fits, genomes, shown.advance)
        shown.finish()
    epochs, seconds = fits.epochs, fits.seconds
    if options.keep == "auto":  # the dense head is the first candidate
        outcomes = [dense, *outcomes]
        epochs = np.concatenate([dense_fits.epochs, epochs])
        seconds = np.concatenate([dense_fits.seconds, seconds])
    chosen = outcomes[_choose(outcomes, problem)]
    took = time.monotonic() - began

    masks = random_genomes(
        int(chosen.genome.sum()), problem.genome_length, len(outcomes), problem.training.seed
    )
    with observer.stage("random masks", len(masks), "heads", trainings) as shown:
        random = best_outcome(problem.refit(masks, shown.advance))
        shown.finish()

    name = RECURSIVE if options.recursive else f"sensitivity, {norm_name(options.p)}"
    bits = np.stack([outcome.genome for outcome in outcomes])
    trials = _trials(outcomes, {"epochs": epochs, "seconds": seconds})
    return Found(
        name=name,
        kind="pruned",
        how=name,
        dense=dense,
        pruned=chosen,
        random=random,
        masks=len(masks),
        trials=trials,
        best=float(np.nanmax(trials.values)),
        dense_values=np.array([dense.selection]),
        effort=Effort(took, _ended(options, bits), (dense_fits.report, fits.report)),
        packed=pack(bits),
        finalists=tuple(outcomes),
        chosen=_ended(options, bits),
        scores=tuple(scores),
    )


def _scores(
    problem: Problem, options: SensitivityOptions, heads: Sequence[Params], observer: Observer
) -> Sequence[np.ndarray]:
    """Scored ``float64 [bits]`` of each part of the genome; higher is more worth keeping."""
    train = [split.train for split in problem.splits]
    if not options.recursive:
        layers = sensitivity_scores(heads, train, problem.pruning.mode, [options.p])
        return [layer[0] for layer in layers]
    protocol = elimination_protocol(problem.training.final_protocol)
    steps = len(elimination_sizes(problem.pruning.parts)) - 1
    with observer.stage("recursive elimination", steps, "heads", problem.folds) as shown:
        elimination = recursive_elimination(
            lambda genomes: problem.fit(genomes, protocol, (), True, shown.advance),
            problem.pruning,
            train,
        )
        shown.finish()
    return elimination.scores


def _genomes(
    problem: Problem, options: SensitivityOptions, scores: Sequence[np.ndarray]
) -> np.ndarray:
    """Genomes ``bool [L, G]`` of each size that is to be tried, the dense head's apart."""
    levels = [1 - r for r in REDUCTION_LEVELS]
    keeps = levels if options.keep == "auto" else [float(options.keep)]
    found = np.stack([problem.pruning.keep(scores, (keep,) * len(scores)) for keep in keeps])
    if options.keep != "auto":
        return found
    # Few units have few sizes, and the largest may be the dense head: of one unit, the only one.
    sizes, first = np.unique(found.sum(1), return_index=True)
    smaller = sizes < problem.genome_length
    return found[np.sort(first[smaller if smaller.any() else sizes > 0])]


def _choose(outcomes: Sequence[Outcome], problem: Problem) -> int:
    """The smallest within one standard error of the best, by selection accuracy."""
    return smallest_within_error(
        np.array([outcome.selection for outcome in outcomes]),
        np.array([outcome.parameters for outcome in outcomes]),
        problem.judging_rows,
    )


def _ended(options: SensitivityOptions, bits: np.ndarray) -> str:
    if options.keep != "auto":
        return f"{bits.mean():.1%} of the bits are kept, as asked for"
    return (
        f"{len(bits)} sizes were tried, and the smallest within one standard error of the best "
        "was taken"
    )


def _trials(outcomes: Sequence[Outcome], columns: dict[str, np.ndarray]) -> Trials:
    """The sizes that were tried, in the order of the reduction levels."""
    bits = np.stack([outcome.genome for outcome in outcomes])
    return Trials(
        objectives=(ACCURACY,),
        hashes=tuple(digests(pack(bits))),
        active=bits.sum(1),
        genome_length=bits.shape[1],
        values=np.array([[outcome.selection] for outcome in outcomes]),
        generation=None,
        columns=columns,
    )
