"""How alike the best head is to its neighbour and to the dense head.

    python -m experiments.cka --dataset rps28 --protocol paper --seeds 0 1 2

The neighbour is the evaluated genome closest to the best by Hamming distance. All three heads are
trained by the final protocol from the same weights; CKA compares the weights of the pruned layers
(an input a row, pruned weights zero) and the last hidden layer's activations on the test rows. The
paper has the RBF kernel on the weights, with the biased estimator.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evojax_prune.analysis import closest, hamming, minibatch_cka
from evojax_prune.analysis.class_relevance import left_out
from evojax_prune.core.compact_head import CompactHead, compact_head
from evojax_prune.core.head import Params
from evojax_prune.core.masks import Masks, apply_mask
from evojax_prune.core.mode import MODES
from experiments import published
from experiments.harness import pictures, tables
from experiments.harness.command import Experiment, finish, parse
from experiments.harness.runs import WHOLE, Run, Variant, load
from experiments.models import TITLES

MOST_ROWS = 2048
"""Rows of a Gram matrix; more are compared in minibatches of so many."""

ESTIMATORS = {"biased": False, "unbiased": True}


def similarity(run: Run) -> list[tables.Row]:
    """Distances and CKA of a run's best head with its neighbour and with the dense head."""
    common = tables.run_columns(run)
    return [common | row for row in run.once("cka", {"rows": MOST_ROWS}, lambda: _measure(run))]


def _measure(run: Run) -> list[tables.Row]:
    problem, best, known = run.problem, run.genome, run.searched()["genomes"]
    index, near = closest(best, known)
    genomes = np.stack([best, known[index], np.ones_like(best)])
    protocol = run.config.final_protocol
    fits = problem.fit(genomes, protocol, ("test",), return_params=True)
    masks = problem.pruning.masks(genomes)
    far = float(hamming(best, genomes[2:])[0])
    folds = [
        _views(fold.params or [], masks, run.config.mode, splits.test.x)
        for fold, splits in zip(fits.folds or (fits,), problem.splits, strict=True)
    ]
    return [
        {
            "of": name,
            "kernel": kernel,
            "estimator": estimator,
            "hamming_closest": near,
            "cka_closest": _mean(folds, name, 1, kernel, unbiased),
            "hamming_dense": far,
            "cka_dense": _mean(folds, name, 2, kernel, unbiased),
        }
        for name in folds[0]
        for kernel in ("rbf", "linear")
        for estimator, unbiased in ESTIMATORS.items()
    ]


def _views(
    params: list[Params], masks: Masks, mode: str, x: np.ndarray
) -> dict[str, list[np.ndarray]]:
    """For each thing that is compared, its matrix in each of the heads."""
    pruned = [apply_mask(own, masks, i) for i, own in enumerate(params)]
    views = {
        f"weights of layer {layer + 1}": [own[f"layer_{layer}"]["kernel"] for own in pruned]
        for layer in MODES[mode].sparse
    }
    views["activations"] = [_hidden(compact_head(own, masks, i), x) for i, own in enumerate(params)]
    return views


def _hidden(head: CompactHead, x: np.ndarray) -> np.ndarray:
    """Activations of the last hidden layer ``float32 [n, active units]``."""
    x = x[:, head.features]
    for kernel, bias in head.layers[:-1]:
        x = np.maximum(x @ kernel + (0 if bias is None else bias), 0)
    return x


def _mean(
    folds: list[dict[str, list[np.ndarray]]], name: str, other: int, kernel: str, unbiased: bool
) -> float:
    """CKA of the best head with another one, mean over folds."""
    pairs = [(views[name][0], views[name][other]) for views in folds]
    return float(
        np.mean(
            [
                minibatch_cka(a, b, min(len(a), MOST_ROWS), kernel, unbiased=unbiased)
                for a, b in pairs
            ]
        )
    )


def work(experiment: Experiment) -> None:
    """Run what is missing, then write the tables."""
    rows: list[tables.Row] = []
    runs: list[Run] = []
    for line, variant in _variants(experiment).items():
        for some in experiment.runs(variant=variant).values():
            runs += some
            rows += [{"part": line} | row for run in some for row in similarity(run)]
    path = experiment.folder / experiment.label
    tables.write_csv(path.with_name(f"{path.name}.csv"), rows)
    paper, whole = _paper_table(experiment, rows), _full_table(rows)
    written = tables.write_markdown(
        experiment,
        runs,
        "Centered kernel alignment",
        "## As the paper has it\n\nRBF kernel, biased, weights of the pruned layer.\n",
        paper,
        "## All kernels and estimators\n",
        whole,
    )
    _picture(path.with_name(f"{path.name}.png"), rows, experiment.label)
    print(f"{written}\n\n{paper}")


def _variants(experiment: Experiment) -> dict[str, Variant]:
    """All of the data or, as in the paper's table, all but each class in turn."""
    if not experiment.options.left_out:
        return {"": WHOLE}
    classes = load(experiment.base).splits[0].classes
    return {
        name: Variant(f"without {name}", lambda splits, i=i: list(left_out(splits))[i][1])
        for i, name in enumerate(classes)
    }


def _paper_table(experiment: Experiment, rows: list[tables.Row]) -> str:
    known = published.CKA.get(experiment.paper_name or "", {})
    header = ["Data", "Layer", "Hamming closest", "CKA closest", "Hamming dense", "CKA dense"]
    lines = []
    own = [r for r in rows if (r["kernel"], r["estimator"]) == ("rbf", "biased")]
    for part, mode, of in dict.fromkeys((r["part"], r["mode"], r["of"]) for r in own):
        if of == "activations":
            continue
        some = [r for r in own if (r["part"], r["mode"], r["of"]) == (part, mode, of)]
        figures = [
            tables.accuracy(tables.over_seeds(some, c)) for c in published.Similarity._fields
        ]
        name = f"without {part}" if part else "whole set"
        lines.append([name, f"{TITLES[mode]}, {of}", *figures])
        if part.lower() in known and mode == "features":
            figures = [tables.figure(f) for f in known[part.lower()]]
            lines.append(["", "Paper: feature selection", *figures])
    return tables.markdown(header, lines)


def _full_table(rows: list[tables.Row]) -> str:
    header = ["Data", "Layer", "Kernel", "Estimator", "CKA closest", "CKA dense"]
    keys = ("part", "mode", "of", "kernel", "estimator")
    lines = []
    for key in dict.fromkeys(tuple(r[k] for k in keys) for r in rows):
        some = [r for r in rows if tuple(r[k] for k in keys) == key]
        part, mode, of, kernel, estimator = key
        figures = [
            tables.accuracy(tables.over_seeds(some, c)) for c in ("cka_closest", "cka_dense")
        ]
        name = f"without {part}" if part else "whole set"
        lines.append([name, f"{TITLES[mode]}, {of}", kernel, estimator, *figures])
    return tables.markdown(header, lines)


def _picture(path: Path, rows: list[tables.Row], title: str) -> None:
    """CKA against Hamming distance, one point a run and other head."""
    figure = pictures.new_figure(6, 4)
    axes = figure.subplots()
    own = [r for r in rows if (r["kernel"], r["estimator"]) == ("rbf", "biased")]
    for i, (mode, of) in enumerate(dict.fromkeys((r["mode"], r["of"]) for r in own)):
        some = [r for r in own if (r["mode"], r["of"]) == (mode, of)]
        for other, marker in (("closest", "o"), ("dense", "s")):
            axes.scatter(
                [r[f"hamming_{other}"] for r in some],
                [r[f"cka_{other}"] for r in some],
                color=f"C{i}",
                marker=marker,
                label=f"{TITLES[mode]}, {of}: {other}",
            )
    axes.set_xlabel("Hamming distance")
    axes.set_ylim(0, 1.02)
    pictures.finish_axes(axes, "CKA with the best head (RBF)", title)
    pictures.save(figure, path)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Which data."""
    parser.add_argument(
        "--left-out", action="store_true", help="leave out each class in turn, as the paper does"
    )


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    description = "How alike the best head is to its neighbour and to the dense head."
    return finish(lambda: work(parse("cka", description, args, ("features", "both"), add_flags)))


if __name__ == "__main__":
    sys.exit(main())
