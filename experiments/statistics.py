"""Is the evolved head better than other heads, or one level of a sweep better than another?

    python -m evojax_prune sweep configs/sweeps/baselines.yaml
    python -m experiments.statistics runs/baselines

Reads finished sweeps; several are pooled. For each prune mode, and apart for runs that were
selected on test, the evolved head's test accuracy is compared with every other head's, which are
those that the runs compared with (``compare: true``). With ``--levels AXIS`` the evolved heads of
each level of an axis of the sweep are compared with those of its first level instead, and so is
the fitness that the searches came to::

    python -m evojax_prune sweep configs/sweeps/bridge.yaml
    python -m experiments.statistics runs/bridge --levels guidance

The tests are Wilcoxon's signed-rank test (Holm-corrected over the lines of a mode) and the Bayesian
sign and signed-rank tests with a region of practical equivalence (Benavoli et al. 2017).

``--pairs runs``: a pair per run. Runs on the same data are not independent, which makes p values
too small. ``--pairs datasets``: a pair per data set, means over its runs, as Demšar (2006) has
it; that needs many data sets.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from evojax_prune.analysis import (
    ROPE,
    bayesian_sign_test,
    bayesian_signed_rank_test,
    holm,
    summarise,
    wilcoxon,
)
from evojax_prune.core.errors import UserError
from experiments.harness import pictures, tables
from experiments.harness.command import finish, reader_parser, sweeps_of
from experiments.harness.sweeps import TITLES, Run, Sweep
from experiments.harness.tables import EVOLVED

Key = tuple[str, ...]
Scores = dict[str, dict[Key, float]]
"""Figures by the line of the table, then by what is paired; a key begins with the data set."""

Part = tuple[bool, str, str]
"""Whether selected on test, prune mode, and what is measured."""

TEST_ACCURACY = "test accuracy"
FITNESS = "best fitness"


def heads_of(sweeps: Iterable[Sweep]) -> dict[Part, Scores]:
    """Test accuracies of all heads, the evolved ones first."""
    found: dict[Part, Scores] = defaultdict(lambda: defaultdict(dict))
    for sweep in sweeps:
        for run in sweep.runs:
            part = run.result["selected_on_test"], run.settings["mode"], TEST_ACCURACY
            found[part][EVOLVED]  # the first line
            for row in tables.head_rows(run):
                at = "" if row["head"] == EVOLVED else f" ({row['at']})"
                scores = found[part][f"{row['head']}{at}"]
                scores[*_data(run), run.folder.name] = float(row["test_accuracy"])
    return found


def levels_of(sweeps: Iterable[Sweep], axis: str) -> dict[Part, Scores]:
    """Figures of the evolved heads by their level of an axis, paired by all else that varies.

    Raises:
        UserError: an axis that a sweep does not have.
    """
    found: dict[Part, Scores] = defaultdict(lambda: defaultdict(dict))
    for sweep in sweeps:
        if axis not in sweep.columns:
            raise UserError(
                f"--levels is {axis}, and in {sweep.folder} vary {', '.join(sweep.columns)}: name "
                "one of them"
            )
        others = [name for name in sweep.columns if name != axis]
        for run in sweep.runs:
            key = *_data(run), *(run.labels[name] for name in others), str(run.settings["seed"])
            fitness = float(run.result["search"]["best_fitness"])
            figures = {
                FITNESS: fitness if run.objective.maximised else -fitness,
                TEST_ACCURACY: float(run.result["best"]["test_accuracy"]),
            }
            for measure, figure in figures.items():
                part = run.result["selected_on_test"], run.settings["mode"], measure
                found[part][run.labels[axis]][key] = figure
    return found


def _data(run: Run) -> Key:
    data = run.result["dataset"]
    return data["name"], data["source"], run.settings["selection"]


def paired(
    first: Mapping[Key, float], second: Mapping[Key, float], pairs: str
) -> tuple[np.ndarray, np.ndarray]:
    """Figures of both for the same runs, or their means over each data set's runs."""
    groups: dict[Key, list[Key]] = defaultdict(list)
    for key in sorted(first):
        if key in second and not np.isnan([first[key], second[key]]).any():
            groups[key if pairs == "runs" else key[:3]].append(key)
    both = [
        np.array([np.mean([scores[key] for key in own]) for own in groups.values()])
        for scores in (first, second)
    ]
    return both[0], both[1]


def compare(scores: Scores, pairs: str, rope: float, against: bool) -> list[tables.Row]:
    """The first line against every other one.

    Args:
        scores: of one mode.
        pairs: ``runs`` or ``datasets``.
        rope: difference that counts as none.
        against: take the first one off the others, instead of the others off it.
    """
    (reference, own), *others = scores.items()
    rows: list[tables.Row] = []
    for name, other in others:
        first, second = paired(other, own, pairs) if against else paired(own, other, pairs)
        if not len(first):
            continue
        test = wilcoxon(first, second)
        signs = bayesian_sign_test(first, second, rope)
        ranks = bayesian_signed_rank_test(first, second, rope)
        rows.append(
            {
                "reference": reference,
                "other": name,
                "pairs": test.pairs,
                "difference": summarise(first - second).mean,
                "sd": summarise(first - second).sd,
                "median": test.median,
                "wilcoxon_p": test.p_value,
                "sign_better": signs.first,
                "sign_equivalent": signs.rope,
                "sign_worse": signs.second,
                "signed_rank_better": ranks.first,
                "signed_rank_equivalent": ranks.rope,
                "signed_rank_worse": ranks.second,
            }
        )
    for row, p in zip(rows, holm([r["wilcoxon_p"] for r in rows]), strict=True):
        row["holm_p"] = float(p)
    return rows


def work(options: argparse.Namespace) -> None:
    """Read the sweeps, write the tests."""
    sweeps = sweeps_of(options)
    axis = options.levels
    parts = heads_of(sweeps) if axis is None else levels_of(sweeps, axis)
    rows = [
        {"selected_on_test": on_test, "mode": mode, "measure": measure} | row
        for (on_test, mode, measure), scores in sorted(parts.items())
        for row in compare(scores, options.pairs, options.rope, axis is not None)
    ]
    if not rows:
        raise UserError("there is nothing to compare: no two heads have a run in common")
    path = tables.home(sweeps[0]) / "-".join(filter(None, ["statistics", options.pairs, axis]))
    tables.write_csv(path.with_name(f"{path.name}.csv"), rows)
    name = "evolved heads" if axis is None else f"levels of {axis}"
    said = "Evolved less other" if axis is None else f"Less the first level of {axis}"
    text = [
        f"# Tests of {name}: a pair per {options.pairs.rstrip('s')}\n",
        f"{said}, mean ± standard deviation, higher is better (of a fitness that is minimised the "
        "negative is taken); p values two-sided; Bayesian probabilities of better / equivalent "
        f"within {options.rope:g} / worse.\n",
        f"Sweeps: {', '.join(str(sweep.folder) for sweep in sweeps)}.\n",
    ]
    for on_test in sorted({r["selected_on_test"] for r in rows}):
        own = [r for r in rows if r["selected_on_test"] == on_test]
        text += [f"## {'Selected on test' if on_test else 'Not selected on test'}\n", _table(own)]
        _picture(path.with_name(f"{path.name}-{'test' if on_test else 'honest'}.png"), own)
    path.with_name(f"{path.name}.md").write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


def _table(rows: list[tables.Row]) -> str:
    header = ["Mode", "Measure", "Other", "Pairs", "Difference", "Median", "Wilcoxon p", "Holm p"]
    header += ["Sign test", "Signed-rank test"]
    return tables.markdown(
        header,
        [
            [
                TITLES[r["mode"]],
                r["measure"],
                r["other"],
                str(r["pairs"]),
                f"{r['difference']:+.3f}" + ("" if np.isnan(r["sd"]) else f" ± {r['sd']:.3f}"),
                f"{r['median']:+.3f}",
                f"{r['wilcoxon_p']:.3g}",
                f"{r['holm_p']:.3g}",
                *(
                    " / ".join(f"{r[f'{t}_{side}']:.2f}" for side in SIDES)
                    for t in ("sign", "signed_rank")
                ),
            ]
            for r in rows
        ],
        left=3,
    )


SIDES = ("better", "equivalent", "worse")


def _picture(path: Path, rows: list[tables.Row]) -> None:
    """Probabilities of the signed-rank test, one stacked bar per line."""
    figure = pictures.new_figure(9, 1 + 0.22 * len(rows))
    axes = figure.subplots()
    names = [f"{TITLES[r['mode']]}, {r['measure']}: {r['other']}" for r in rows]
    left = np.zeros(len(rows))
    for side, colour in zip(SIDES, ("C0", "0.8", "C3"), strict=True):
        width = np.array([r[f"signed_rank_{side}"] for r in rows])
        axes.barh(range(len(rows)), width, left=left, color=colour, label=side)
        left = left + width
    axes.set_yticks(range(len(rows)), names, fontsize="x-small")
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    pictures.finish_axes(axes, "", "posterior probability, signed-rank test")
    pictures.save(figure, path)


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = reader_parser(
        "statistics", "Is the evolved head better than others, or one level than another?"
    )
    parser.add_argument("--pairs", choices=("runs", "datasets"), default="runs")
    parser.add_argument(
        "--rope",
        type=float,
        default=ROPE,
        metavar="FLOAT",
        help="difference that counts as none (%(default)s)",
    )
    parser.add_argument(
        "--levels", metavar="AXIS", help="compare the levels of this axis, not the heads of a run"
    )
    return finish(lambda: work(parser.parse_args(args)))


if __name__ == "__main__":
    sys.exit(main())
