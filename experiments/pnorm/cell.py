"""One data set, backbone and seed: every ranking at every reduction level, one population."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from evojax_prune.baselines import (
    activation_means,
    activation_variances,
    gradient_times_input,
    outgoing_norms,
    random_scores,
)
from evojax_prune.core.head import HeadSpec, Params, head_spec
from evojax_prune.core.masks import Masks, count_parameters, dense_masks
from evojax_prune.core.mode import MODES
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.ranking import jaccard, rank_correlation
from evojax_prune.core.splits import FeatureSplits
from evojax_prune.data import FeatureTable, make_splits
from evojax_prune.engine import Fits, fit_population
from evojax_prune.sensitivity import LayerScores, mean_over_folds, norm_name, sensitivity_scores
from experiments.pnorm.settings import Baseline, Study


def run_cell(
    study: Study, table: FeatureTable, dataset: str, backbone: str, seed: int
) -> dict[str, Any]:
    """Train dense, rank, drop, train again.

    Args:
        study: the settings.
        table: features of the data set.
        dataset: what the study calls it.
        backbone: what made the features.
        seed: decides splits, weights, minibatches and the random ranking.

    Returns:
        Plain data: ``rows``, one a ranking and level; ``overlap`` of the rankings; what they were
        measured on.

    Raises:
        UserError: splits that cannot be cut, a dense head that diverged.
    """
    how = study.split_of(dataset)
    splits = make_splits(
        table,
        selection=how.selection,
        selection_fraction=how.selection_fraction,
        seed=seed,
        allow_group_overlap=how.allow_group_overlap,
    )
    spec = head_spec(study.mode, splits[0].train.x.shape[1], len(table.classes), study.hidden)
    pruning = Pruning(spec, MODES[study.mode])
    dense = _fit(study, dense_masks(spec), splits, spec, seed, return_params=True)
    heads = [_only_member(fold) for fold in dense.folds or (dense,)]
    orders = rank(study, heads, splits, seed)
    keeps = [1 - level for level in study.levels]
    genomes = np.array(
        [
            [pruning.keep(scores, (keep,) * len(scores)) for keep in keeps]
            for scores in orders.values()
        ]
    )
    # Rankings often keep the same units at low levels; each head is trained once.
    distinct, place = np.unique(genomes.reshape(-1, genomes.shape[-1]), axis=0, return_inverse=True)
    masks = pruning.masks(distinct)
    start = heads[0] if study.fine_tune else None
    fits = _fit(study, masks, splits, spec, seed, params=start)
    parameters = count_parameters(masks, spec)
    names = list(orders)
    rows = [
        {
            "dataset": table.name,
            "backbone": backbone,
            "seed": seed,
            "ranking": names[i // len(keeps)],
            "level": study.levels[i % len(keeps)],
            "kept": int(distinct[member].sum()),
            "parameters": int(parameters[member]),
            "selection_accuracy": float(fits.accuracy["selection"][member]),
            "test_accuracy": float(fits.accuracy["test"][member]),
            "epochs": int(fits.epochs[member]),
            "dense_selection_accuracy": float(dense.accuracy["selection"][0]),
            "dense_test_accuracy": float(dense.accuracy["test"][0]),
        }
        for i, member in enumerate(place.ravel())
    ]
    return {
        "rows": rows,
        "overlap": overlap(orders, genomes),
        "dense_parameters": spec.parameters,
        "selection_rows": len(splits[0].selection),
        "test_rows": len(splits[0].test),
        "selected_on_test": splits[0].selected_on_test,
        "heads_trained": len(distinct) + 1,
        "train_seconds": dense.report.train_seconds + fits.report.train_seconds,
        "device": fits.report.device,
    }


def rank(
    study: Study, heads: Sequence[Params], splits: Sequence[FeatureSplits], seed: int
) -> dict[str, LayerScores]:
    """Scores of every pruned layer's units under every norm and baseline, by the ranking's name."""
    train, mode = [split.train for split in splits], MODES[study.mode]
    layers = sensitivity_scores(
        heads,
        train,
        mode,
        study.p,
        p_outputs=study.p_outputs,
        of=study.of,
        weighting=study.weighting,
    )
    orders = {norm_name(p): tuple(scores[i] for scores in layers) for i, p in enumerate(study.p)}
    reference = norm_name(2.0 if 2.0 in study.p else study.p[0])
    for name in study.baselines:
        if name == "highest":
            orders[name] = tuple(-scores for scores in orders[reference])
        else:
            score = _baseline(name, seed)
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


def overlap(orders: dict[str, LayerScores], genomes: np.ndarray) -> dict[str, Any]:
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
    study: Study,
    masks: Masks,
    splits: Sequence[FeatureSplits],
    spec: HeadSpec,
    seed: int,
    params: Params | None = None,
    return_params: bool = False,
) -> Fits:
    return fit_population(
        masks,
        splits[0] if len(splits) == 1 else splits,
        study.protocol,
        head=spec,
        seed=seed,
        evaluate=("selection", "test"),
        return_params=return_params,
        params=params,
    )


def _only_member(fits: Fits) -> Params:
    assert fits.params is not None, "fitted without return_params"
    return fits.params[0]
