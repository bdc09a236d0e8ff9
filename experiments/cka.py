"""How alike the best head is to its neighbour and to the dense head.

    python -m evojax_prune sweep configs/sweeps/classes.yaml --plugin experiments/genomes.py
    python -m experiments.cka runs/classes

Reads finished sweeps that kept every genome, by the plugin. The neighbour is the evaluated genome
closest to the best by Hamming distance. All three heads are trained by the final protocol from the
same weights; CKA compares the weights of the pruned layers (one row per input, pruned weights zero)
and the last hidden layer's activations on the test rows. The paper has the RBF kernel on the
weights, with the biased estimator. What was computed is kept in the run's folder.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evojax_prune.analysis import closest, hamming, minibatch_cka
from evojax_prune.core.compact_head import CompactHead, compact_head
from evojax_prune.core.errors import UserError
from evojax_prune.core.head import Params
from evojax_prune.core.masks import Masks, apply_mask
from evojax_prune.core.mode import MODES
from experiments import published
from experiments.harness import pictures, tables
from experiments.harness.command import read
from experiments.harness.sweeps import Run, Sweep

GENOMES = "genomes.npz"
"""What ``experiments/genomes.py`` writes."""

MOST_ROWS = 2048
"""Rows of a Gram matrix; more are compared in minibatches of so many."""

ESTIMATORS = {"biased": False, "unbiased": True}


def searched(run: Run) -> np.ndarray:
    """Every genome that a run tried, ``bool [E, G]``.

    Raises:
        UserError: the run did not keep them.
    """
    file = run.folder / GENOMES
    if not file.is_file():
        raise UserError(
            f"{run.folder} has no {GENOMES}: run the sweep in another folder, with --plugin "
            "experiments/genomes.py"
        )
    with np.load(file) as arrays:
        bits = np.unpackbits(arrays["packed"], axis=1, count=int(arrays["length"]))
    return bits.astype(bool)


def similarity(run: Run) -> list[tables.Row]:
    """Distances and CKA of a run's best head with its neighbour and with the dense head."""
    common = tables.run_columns(run)
    return [common | row for row in run.once("cka", {"rows": MOST_ROWS}, lambda: _measure(run))]


def _measure(run: Run) -> list[tables.Row]:
    best, known = run.genome, searched(run)
    problem, mode = run.problem, run.problem.pruning.mode.name
    index, near = closest(best, known)
    genomes = np.stack([best, known[index], np.ones_like(best)])
    protocol = problem.training.final_protocol
    fits = problem.fit(genomes, protocol, ("test",), return_params=True)
    masks = problem.pruning.masks(genomes)
    far = float(hamming(best, genomes[2:])[0])
    folds = [
        _views(fold.params or [], masks, mode, splits.test.x)
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


def write(sweep: Sweep) -> str:
    """Write the tables and the picture; returns what is to be shown."""
    lines = {
        labels: [row for run in runs for row in similarity(run)]
        for labels, runs in sweep.lines().items()
    }
    folder = tables.home(sweep)
    tables.write_csv(
        folder / "cka.csv",
        [
            dict(zip(sweep.columns, labels, strict=True)) | row
            for labels, rows in lines.items()
            for row in rows
        ],
    )
    _picture(folder / "cka.png", lines, sweep.folder.name)
    paper, whole = _paper_table(sweep, lines), _full_table(sweep, lines)
    written = tables.write_markdown(
        sweep,
        "cka",
        f"{sweep.folder.name}: centered kernel alignment",
        "## As the paper has it\n\nRBF kernel, biased, weights of the pruned layers.\n",
        paper,
        "## All kernels and estimators\n",
        whole,
    )
    return f"{written}\n\n{paper}"


Lines = dict[tuple[str, ...], list[tables.Row]]


def _paper_table(sweep: Sweep, lines: Lines) -> str:
    """Weights by the paper's kernel and estimator, the paper's figures beneath ours."""
    runs = sweep.lines()
    table = []
    for labels, rows in lines.items():
        own = [r for r in rows if (r["kernel"], r["estimator"]) == ("rbf", "biased")]
        for of in dict.fromkeys(r["of"] for r in own if r["of"] != "activations"):
            some = [r for r in own if r["of"] == of]
            columns = published.Similarity._fields
            figures = [tables.accuracy(tables.column(some, name)) for name in columns]
            table.append([*labels, of, *figures])
        if known := _published(runs[labels][0]):
            table.append([*[""] * len(labels), "Paper", *(f"{figure:.3f}" for figure in known)])
    header = [*map(str.capitalize, sweep.columns), "Of"]
    header += ["Hamming closest", "CKA closest", "Hamming dense", "CKA dense"]
    return tables.markdown(header, table, left=len(sweep.columns) + 1)


def _published(run: Run) -> published.Similarity | None:
    """The paper's figures: of feature selection, with one class left out."""
    name = published.paper_name([*run.labels.values(), run.settings["dataset"]])
    shares = run.settings["class_shares"] or {}
    if name is None or run.settings["mode"] != "features" or list(shares.values()) != [0]:
        return None
    return published.CKA.get(name, {}).get(next(iter(shares)).lower())


def _full_table(sweep: Sweep, lines: Lines) -> str:
    keys = ("of", "kernel", "estimator")
    table = []
    for labels, rows in lines.items():
        for key in dict.fromkeys(tuple(row[k] for k in keys) for row in rows):
            some = [row for row in rows if tuple(row[k] for k in keys) == key]
            figures = [
                tables.accuracy(tables.column(some, f"cka_{o}")) for o in ("closest", "dense")
            ]
            table.append([*labels, *key, *figures])
    header = [*map(str.capitalize, sweep.columns), "Of", "Kernel", "Estimator"]
    header += ["CKA closest", "CKA dense"]
    return tables.markdown(header, table, left=len(sweep.columns) + 3)


def _picture(path: Path, lines: Lines, title: str) -> None:
    """CKA against Hamming distance, one point per run and other head.

    A colour is a value of the last field (the mode, say) and what is compared.
    """
    figure = pictures.new_figure(9, 4.5)
    axes = figure.subplots()
    series: dict[str, list[tables.Row]] = {}
    for labels, rows in lines.items():
        for row in rows:
            if (row["kernel"], row["estimator"]) == ("rbf", "biased"):
                series.setdefault(f"{labels[-1]}, {row['of']}", []).append(row)
    for i, (name, rows) in enumerate(series.items()):
        for other, marker in (("closest", "o"), ("dense", "s")):
            axes.scatter(
                [r[f"hamming_{other}"] for r in rows],
                [r[f"cka_{other}"] for r in rows],
                color=f"C{i % 10}",
                marker=marker,
                label=f"{name}: {other}",
            )
    axes.set_xlabel("Hamming distance")
    axes.set_ylim(0, 1.02)
    pictures.finish_axes(axes, "CKA with the best head (RBF)", title)
    pictures.save(figure, path)


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    description = "How alike the best head is to its neighbour and to the dense head."
    return read("cka", description, write, args)


if __name__ == "__main__":
    sys.exit(main())
