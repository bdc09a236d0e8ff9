"""A plugin: the method ``norms``, every ranking of the study at every reduction level.

    python -m evojax_prune sweep configs/sweeps/norms.yaml --plugin experiments/pnorm/method.py

The dense head's units are ranked by local sensitivities under every p-norm, and by what they are
held against; the lowest are dropped at every level, and every pruned head is trained again, all of
them as one population. ``norms.json`` has the rows, which ``experiments.pnorm`` reports on.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from evojax_prune.baselines import (
    activation_means,
    activation_variances,
    gradient_times_input,
    outgoing_norms,
    random_scores,
)
from evojax_prune.core.errors import UserError
from evojax_prune.core.files import write_file
from evojax_prune.core.head import Params
from evojax_prune.core.masks import count_parameters
from evojax_prune.core.objective import Objective
from evojax_prune.core.options import Options
from evojax_prune.core.outcome import Outcome
from evojax_prune.core.ranking import (
    REDUCTION_LEVELS,
    jaccard,
    rank_correlation,
    smallest_within_error,
)
from evojax_prune.engine import Fits, fit_population
from evojax_prune.methods import METHODS, Method
from evojax_prune.methods.dense import dense_head
from evojax_prune.methods.found import Effort, Found, Session, Trials
from evojax_prune.methods.observer import Observer
from evojax_prune.methods.problem import Problem, best_outcome, first_params, random_genomes
from evojax_prune.report.pruned import Pruned
from evojax_prune.report.writers import WRITERS
from evojax_prune.search.archive import digests, pack
from evojax_prune.sensitivity import LayerScores, mean_over_folds, norm_name, sensitivity_scores

RANDOM_MASKS = 10
"""Random masks that the run's head is compared with."""

Baseline = Literal[
    "weights", "activation-mean", "activation-variance", "gradient-input", "random", "highest"
]
"""Rankings that sensitivities are held against; ``highest`` drops the most sensitive units first,
which should do the most harm."""

BASELINES: tuple[Baseline, ...] = (
    "weights",
    "activation-mean",
    "activation-variance",
    "gradient-input",
    "random",
    "highest",
)

Norm = Annotated[float, Field(ge=1, allow_inf_nan=True)]


class NormsOptions(Options):
    """Options of the method.

    Attributes:
        p: exponents over the patterns, at least 1, or inf.
        p_outputs: exponent over the outputs; the same as over the patterns if not given.
        levels: fractions of the units that are dropped, in [0, 0.99].
        baselines: other rankings to hold the norms against.
        of: outputs that are derived.
        weighting: what sensitivities are multiplied by: nothing, or each unit's deviation.
        fine_tune: go on from the dense head's weights instead of training from scratch.
    """

    p: tuple[Norm, ...] = Field((1.0, 2.0, float("inf")), min_length=1)
    p_outputs: Norm | None = None
    levels: tuple[Annotated[float, Field(ge=0, le=0.99)], ...] = Field(
        REDUCTION_LEVELS, min_length=1
    )
    baselines: tuple[Baseline, ...] = BASELINES
    of: Literal["probabilities", "logits"] = "probabilities"
    weighting: Literal["none", "std"] = "none"
    fine_tune: bool = False


@dataclasses.dataclass(frozen=True)
class FoundByNorms(Found):
    """What the method found.

    Attributes:
        study: content of ``norms.json``.
    """

    study: dict[str, Any] = dataclasses.field(default_factory=dict)


def find(problem: Problem, options: NormsOptions, session: Session) -> FoundByNorms:
    """Train dense, rank, drop, train again.

    The run's head is the smallest of the norms' heads whose selection accuracy is within one
    standard error of the best.

    Raises:
        UserError: selection on fresh splits, fine tuning over folds, or training diverged.
    """
    _check(problem, options)
    observer, began = session.observer, time.monotonic()
    dense_fits, dense = dense_head(problem, observer)
    orders = rank(problem, options, first_params(dense_fits))
    kept = [1 - level for level in options.levels]
    every = np.array(
        [
            problem.pruning.keep(scores, (keep,) * len(scores))
            for scores in orders.values()
            for keep in kept
        ]
    )
    start = first_params(dense_fits)[0] if options.fine_tune else None
    fits, place = _fit(problem, every, start, observer)
    rows = _rows(problem, options, list(orders), every, fits, place)
    chosen = _choose(rows, problem)
    name = rows[chosen]["ranking"]
    pruned = best_outcome(problem.refit(every[chosen][None]))
    masks = random_genomes(
        int(every[chosen].sum()), problem.genome_length, RANDOM_MASKS, problem.training.seed
    )
    own = [i for i, row in enumerate(rows) if row["ranking"] == name]
    trials = _trials([rows[i] for i in own], every[own], fits)
    return FoundByNorms(
        name=name,
        kind="pruned",
        how=f"sensitivity, {name}",
        dense=dense,
        pruned=pruned,
        random=best_outcome(problem.refit(masks)),
        masks=len(masks),
        trials=trials,
        best=float(np.nanmax(trials.values)),
        dense_values=np.array([dense.selection]),
        effort=Effort(
            time.monotonic() - began,
            f"{len(fits.loss)} heads were trained",
            (dense_fits.report, fits.report),
            evaluations=len(fits.loss),
        ),
        packed=pack(every[own]),
        finalists=(pruned,),
        chosen="the smallest of the norms' heads within one standard error of the best",
        study={
            "rows": rows,
            "overlap": overlap(orders, every.reshape(len(orders), len(kept), -1)),
            "dense": _figures(dense),
            "selection_rows": problem.judging_rows,
        },
    )


def _check(problem: Problem, options: NormsOptions) -> None:
    if problem.resampled:
        raise UserError(
            "method norms compares heads on one selection split: choose another --selection than "
            "resampled, such as holdout"
        )
    if options.fine_tune and problem.folds > 1:
        raise UserError(
            "fine_tune goes on from one dense head, but --selection kfold trains one per fold: "
            "choose another selection"
        )


def rank(
    problem: Problem, options: NormsOptions, heads: Sequence[Params]
) -> dict[str, LayerScores]:
    """Scores of every pruned layer's units under every norm and baseline, by the ranking's name."""
    train, mode = [split.train for split in problem.splits], problem.pruning.mode
    layers = sensitivity_scores(
        heads,
        train,
        mode,
        options.p,
        p_outputs=options.p_outputs,
        of=options.of,
        weighting=options.weighting,
    )
    orders = {norm_name(p): tuple(scores[i] for scores in layers) for i, p in enumerate(options.p)}
    reference = norm_name(2.0 if 2.0 in options.p else options.p[0])
    for name in options.baselines:
        if name == "highest":
            orders[name] = tuple(-scores for scores in orders[reference])
        else:
            score = _baseline(name, problem.training.seed)
            orders[name] = mean_over_folds(score, heads, train, mode)
    return orders


def _baseline(name: Baseline, seed: int) -> Callable[[Params, np.ndarray, int], np.ndarray]:
    def score(params: Params, x: np.ndarray, group: int) -> np.ndarray:
        if name == "weights":
            return outgoing_norms(params, group)
        if name == "activation-mean":
            return activation_means(params, x, group)
        if name == "activation-variance":
            return activation_variances(params, x, group)
        if name == "gradient-input":
            return gradient_times_input(params, x, group)
        (order,) = random_scores([len(params[f"layer_{group}"]["kernel"])], (seed, group))
        return order

    return score


def overlap(orders: Mapping[str, LayerScores], genomes: np.ndarray) -> dict[str, Any]:
    """How far the rankings agree.

    Args:
        orders: scores of each ranking.
        genomes: ``bool [rankings, levels, G]``, what each keeps.

    Returns:
        Names of the rankings, Spearman's correlation ``[rankings, rankings]`` (mean over pruned
        layers), and the Jaccard overlap of what is kept ``[levels, rankings, rankings]``.
    """
    layers = zip(*orders.values(), strict=True)
    correlation = np.mean([rank_correlation(scores) for scores in layers], axis=0)
    by_level = [jaccard(genomes[:, level]) for level in range(genomes.shape[1])]
    return {
        "rankings": list(orders),
        "correlation": correlation.tolist(),
        "jaccard": np.stack(by_level).tolist(),
    }


def _fit(
    problem: Problem, genomes: np.ndarray, start: Params | None, observer: Observer
) -> tuple[Fits, np.ndarray]:
    """Train genomes by the final protocol, from a head's weights if there is one.

    Rankings often keep the same units at low levels; each head is trained once.

    Returns:
        The fits, and the place ``int64 [n]`` among them of each genome.
    """
    distinct, place = np.unique(genomes, axis=0, return_inverse=True)
    splits, training = problem.splits, problem.training
    with observer.stage("pruned heads", len(distinct), "heads", problem.trainings) as shown:
        fits = fit_population(
            problem.pruning.masks(distinct),
            splits[0] if len(splits) == 1 else splits,
            training.final_protocol,
            head=problem.pruning.spec,
            seed=training.seed,
            evaluate=("selection", "test"),
            params=start,
            engine=training.engine,
            member_batch=training.member_batch,
            progress=shown.advance,
        )
        shown.finish()
    return fits, place.ravel()


def _rows(
    problem: Problem,
    options: NormsOptions,
    rankings: Sequence[str],
    genomes: np.ndarray,
    fits: Fits,
    place: np.ndarray,
) -> list[dict[str, Any]]:
    """A row per ranking and level."""
    parameters = count_parameters(problem.pruning.masks(genomes), problem.pruning.spec)
    names = [(ranking, level) for ranking in rankings for level in options.levels]
    return [
        {
            "ranking": ranking,
            "level": level,
            "kept": int(genomes[i].sum()),
            "parameters": int(parameters[i]),
            "selection_accuracy": float(fits.accuracy["selection"][place[i]]),
            "test_accuracy": float(fits.accuracy["test"][place[i]]),
            "epochs": int(fits.epochs[place[i]]),
        }
        for i, (ranking, level) in enumerate(names)
    ]


def _choose(rows: Sequence[dict[str, Any]], problem: Problem) -> int:
    """Place of the smallest of the norms' heads within one standard error of the best."""
    norms = [row for row in rows if row["ranking"].startswith("p=")]  # they come first
    accuracy = np.array([row["selection_accuracy"] for row in norms])
    sizes = np.array([row["parameters"] for row in norms])
    return smallest_within_error(accuracy, sizes, problem.judging_rows)


def _figures(dense: Outcome) -> dict[str, Any]:
    return {
        "selection_accuracy": dense.selection,
        "test_accuracy": dense.test,
        "parameters": dense.parameters,
    }


def _trials(rows: Sequence[dict[str, Any]], genomes: np.ndarray, fits: Fits) -> Trials:
    """The levels of the norm that was chosen."""
    return Trials(
        objectives=(Objective("accuracy", "accuracy"),),
        hashes=tuple(digests(pack(genomes))),
        active=genomes.sum(1),
        genome_length=genomes.shape[1],
        values=np.array([[row["selection_accuracy"]] for row in rows]),
        generation=None,
        columns={
            "epochs": np.array([row["epochs"] for row in rows]),
            "seconds": np.full(len(rows), float(np.mean(fits.seconds))),
        },
    )


def _write(path: Path, pruned: Pruned) -> None:
    """The rows, of runs by this method."""
    if isinstance(pruned.found, FoundByNorms):
        write_file(path, json.dumps(pruned.found.study) + "\n")


METHODS["norms"] = Method(NormsOptions, lambda: find)
WRITERS["norms.json"] = _write
