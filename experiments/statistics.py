"""Is the evolved head better than each baseline, over seeds and data sets?

    python -m experiments.statistics [--tables NAME ...]

Reads every table that ``experiments.baselines`` has written, or those named. For each prune mode,
and apart for runs that were selected on test, the evolved head's test accuracy is compared with
each baseline's by Wilcoxon's signed-rank test (Holm-corrected over the baselines of the mode) and
by the Bayesian sign and signed-rank tests with a region of practical equivalence (Benavoli et al.
2017).

``--pairs runs``: a pair per run. Runs on the same data are not independent, which makes p values
too small. ``--pairs datasets``: a pair per data set, means over its runs, as Demšar (2006) has
it; that needs many data sets.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
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
from experiments.baselines import EVOLVED
from experiments.harness import pictures, tables
from experiments.harness.command import finish
from experiments.harness.written import baseline_tables, table_parser
from experiments.models import TITLES

Scores = dict[tuple[str, str], dict[tuple[str, ...], float]]
"""Test accuracy by head and ``at``, then by run."""


def by_mode(written: Iterable[list[dict[str, str]]]) -> dict[tuple[bool, str], Scores]:
    """Test accuracies of the tables, by whether they were selected on test, and mode."""
    found: dict[tuple[bool, str], Scores] = defaultdict(lambda: defaultdict(dict))
    for rows in written:
        for row in rows:
            key = row["selected_on_test"] == "True", row["mode"]
            run = (row["features"], row["selection"], row["run"])
            found[key][row["head"], row["at"]][run] = float(row["test_accuracy"])
    return found


def paired(
    evolved: dict[tuple[str, ...], float], other: dict[tuple[str, ...], float], pairs: str
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of both on the same runs, or their means over each data set's runs."""
    runs = [
        run
        for run in sorted(evolved)
        if run in other and not np.isnan(evolved[run]) and not np.isnan(other[run])
    ]
    groups: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for run in runs:
        groups[run if pairs == "runs" else run[:2]].append(run)
    first, second = (
        np.array([np.mean([scores[run] for run in own]) for own in groups.values()])
        for scores in (evolved, other)
    )
    return first, second


def compare(scores: Scores, pairs: str, rope: float) -> list[tables.Row]:
    """The evolved head against every other one of a mode."""
    evolved = scores[EVOLVED, "same"]
    rows = []
    for (head, at), other in scores.items():
        first, second = paired(evolved, other, pairs)
        if head == EVOLVED or not len(first):
            continue
        test = wilcoxon(first, second)
        signs = bayesian_sign_test(first, second, rope)
        ranks = bayesian_signed_rank_test(first, second, rope)
        rows.append(
            {
                "head": head,
                "at": at,
                "pairs": test.pairs,
                "difference": summarise(first - second).mean,
                "sd": summarise(first - second).sd,
                "median": test.median,
                "wilcoxon_p": test.p_value,
                "sign_evolved": signs.first,
                "sign_equivalent": signs.rope,
                "sign_other": signs.second,
                "signed_rank_evolved": ranks.first,
                "signed_rank_equivalent": ranks.rope,
                "signed_rank_other": ranks.second,
            }
        )
    for row, p in zip(rows, holm([r["wilcoxon_p"] for r in rows]), strict=True):
        row["holm_p"] = float(p)
    return rows


def work(options: argparse.Namespace) -> None:
    """Read the tables, write the tests."""
    written = baseline_tables(options.home, options.tables)
    rows = [
        {"selected_on_test": on_test, "mode": mode} | row
        for (on_test, mode), scores in sorted(by_mode(written.values()).items())
        for row in compare(scores, options.pairs, options.rope)
    ]
    path = options.home / "statistics" / f"{options.pairs}-{options.rope:g}"
    tables.write_csv(path.with_name(f"{path.name}.csv"), rows)
    parts = [
        f"# Evolved heads against baselines: a pair a {options.pairs.rstrip('s')}\n",
        "Differences of test accuracy, evolved less baseline, mean ± standard deviation; p values "
        "two-sided; Bayesian probabilities that the evolved head is better / equivalent within "
        f"{options.rope:g} / worse.\n",
        f"Tables: {', '.join(written)}.\n",
    ]
    for on_test in sorted({r["selected_on_test"] for r in rows}):
        own = [r for r in rows if r["selected_on_test"] == on_test]
        parts += [f"## {'Selected on test' if on_test else 'Not selected on test'}\n", _table(own)]
        name = f"{path.name}-{'test' if on_test else 'honest'}.png"
        _picture(path.with_name(name), own)
    path.with_name(f"{path.name}.md").write_text("\n".join(parts), encoding="utf-8")
    print("\n".join(parts))


def _table(rows: list[tables.Row]) -> str:
    header = ["Mode", "Baseline", "At", "Pairs", "Difference", "Wilcoxon p", "Holm p"]
    header += ["Sign test", "Signed-rank test"]
    return tables.markdown(
        header,
        [
            [
                TITLES[r["mode"]],
                r["head"],
                r["at"],
                str(r["pairs"]),
                f"{r['difference']:+.3f}" + ("" if np.isnan(r["sd"]) else f" ± {r['sd']:.3f}"),
                f"{r['wilcoxon_p']:.3g}",
                f"{r['holm_p']:.3g}",
                *(
                    " / ".join(f"{r[f'{t}_{side}']:.2f}" for side in SIDES)
                    for t in ("sign", "signed_rank")
                ),
            ]
            for r in rows
        ],
    )


SIDES = ("evolved", "equivalent", "other")


def _picture(path: Path, rows: list[tables.Row]) -> None:
    """Probabilities of the signed-rank test, one stacked bar a baseline."""
    figure = pictures.new_figure(8, 1 + 0.22 * len(rows))
    axes = figure.subplots()
    names = [f"{TITLES[r['mode']]}: {r['head']} ({r['at']})" for r in rows]
    left = np.zeros(len(rows))
    for side, colour in zip(SIDES, ("C0", "0.8", "C3"), strict=True):
        width = np.array([r[f"signed_rank_{side}"] for r in rows])
        label = {"evolved": "evolved is better", "other": "baseline is better"}.get(side, side)
        axes.barh(range(len(rows)), width, left=left, color=colour, label=label)
        left = left + width
    axes.set_yticks(range(len(rows)), names, fontsize="x-small")
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    pictures.finish_axes(axes, "", "posterior probability, signed-rank test")
    pictures.save(figure, path)


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = table_parser(
        "statistics", "Is the evolved head better than each baseline, over seeds and data sets?"
    )
    parser.add_argument("--pairs", choices=("runs", "datasets"), default="runs")
    parser.add_argument(
        "--rope",
        type=float,
        default=ROPE,
        metavar="FLOAT",
        help="difference of accuracy that counts as none (%(default)s)",
    )
    return finish(lambda: work(parser.parse_args(args)))


if __name__ == "__main__":
    sys.exit(main())
