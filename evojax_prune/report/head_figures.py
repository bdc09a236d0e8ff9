"""Pictures of the heads of a run: classes, calibration, what is kept and what it is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.cells import cell_len, set_cell_size

from evojax_prune.analysis.metrics import reliability, softmax
from evojax_prune.core.outcome import Outcome
from evojax_prune.report.examples import kept_units, scores
from evojax_prune.report.figures import GREY, axes_of, below, in_legend, literal, result_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from evojax_prune.report.pruned import Pruned
    from evojax_prune.report.result import Result

MOST_CLASSES = 40
"""Classes that :func:`plot_recall` shows, and up to which :func:`plot_confusion` names them."""

COUNTED_CLASSES = 12
"""Classes up to which :func:`plot_confusion` writes the counts into its fields."""

LONGEST = 16
"""Width of a class name in a picture, in letters; Chinese characters count twice."""

COLUMNS = 64
"""Units in each line of :func:`plot_mask`."""


BARS = 64
"""Most bars of :func:`plot_scores`."""


def plot_recall(result: Result | Pruned, ax: Axes | None = None) -> Axes:
    """Recall of each class, dense and pruned head; of many classes those with the lowest recall.

    Args:
        result: of a run.
        ax: axis to draw on; one of a new figure if None.

    Returns:
        The axis.
    """
    ax, result = axes_of(ax), result_of(result)
    dense, best = (_recall(result, head) for head in ("dense", "best"))
    order = np.argsort(best, kind="stable")[:MOST_CLASSES]
    order = np.sort(order) if len(best) > MOST_CLASSES else np.arange(len(best))
    lines = np.arange(len(order))
    ax.hlines(lines, dense[order], best[order], color=GREY, lw=1.5)
    ax.plot(dense[order], lines, "o", color=GREY, label="dense")
    ax.plot(best[order], lines, "o", color="C0", label=in_legend(result.best_name))
    names = result.dataset.class_names
    ax.set_yticks(lines, [plain(names[i]) for i in order])
    ax.set_ylim(len(order) - 0.5, -0.5)
    ax.set_xlabel("recall, test")
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small", loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return ax


def _recall(result: Result, head: str) -> np.ndarray:
    values = result.metrics[head].recall.values()
    return np.array([np.nan if value is None else value for value in values])


def plot_confusion(result: Result | Pruned, head: str = "best", ax: Axes | None = None) -> Axes:
    """Confusion matrix of the test rows; the colour is the share of the class's rows.

    Args:
        result: of a run.
        head: ``"best"`` or ``"dense"``.
        ax: axis to draw on; one of a new figure if None.

    Returns:
        The axis.
    """
    from matplotlib.colors import LinearSegmentedColormap, to_rgb
    from sklearn.metrics import ConfusionMatrixDisplay

    ax, result = axes_of(ax), result_of(result)
    counts = np.array(result.metrics[head].confusion)
    names = [plain(name) for name in result.dataset.class_names]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    blue = to_rgb("C0")
    # From transparent to blue, so that it lies on any background.
    colours = LinearSegmentedColormap.from_list("shares", [(*blue, 0.0), (*blue, 1.0)])
    shown = ConfusionMatrixDisplay(shares, display_labels=names)
    shown.plot(ax=ax, cmap=colours, colorbar=False, include_values=False,
               im_kw={"vmin": 0, "vmax": 1, "interpolation": "none"})  # fmt: skip
    ax.set_xlabel("taken for")
    ax.set_ylabel("class")
    if len(names) > MOST_CLASSES:
        ax.set_xticks([])
        ax.set_yticks([])
    else:
        ax.tick_params(axis="x", rotation=90 if max(map(cell_len, names)) > 2 else 0)
        ax.tick_params(labelsize=10 if len(names) <= COUNTED_CLASSES else 6)
    if len(names) <= COUNTED_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                text = ax.text(column, row, f"{count}", ha="center", va="center", size=9)
                if shares[row, column] > 0.5:
                    text.set_color("white")
    return ax


def plot_reliability(pruned: Pruned, ax: Axes | None = None) -> Axes:
    """Reliability diagram of dense and pruned head on the test rows (Guo et al. 2017).

    Below the diagonal a head is surer than it is right. The larger a point, the more rows it
    stands for.

    Args:
        pruned: a finished run; of several folds all predictions together.
        ax: axis to draw on; one of a new figure if None.

    Returns:
        The axis.
    """
    ax, found = axes_of(ax), pruned.found
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--")
    heads = (("dense", found.dense, GREY), (found.name, found.pruned, "C0"))
    for name, outcome, colour in heads:
        bins = reliability(*_probabilities(pruned, outcome))
        filled = bins.rows > 0
        size = 8 + 150 * bins.rows[filled] / bins.rows.sum()
        x, y = bins.confidence[filled], bins.accuracy[filled]
        label = f"{in_legend(name)}, calibration error {bins.error:.3f}"
        ax.plot(x, y, color=colour, lw=1)
        ax.scatter(x, y, s=size, color=colour, label=label, clip_on=False, zorder=3)
    ax.set_xlim(0, 1.03)
    ax.set_ylim(0, 1.03)
    ax.set_xlabel("confidence")
    ax.set_ylabel("accuracy, test")
    below(ax, columns=1)
    return ax


def _probabilities(pruned: Pruned, outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities ``[n, C]`` and labels ``[n]`` of the test rows of every fold."""
    tests = [split.test for split in pruned.problem.splits]
    logits = [head.logits(test.x) for head, test in zip(outcome.heads, tests, strict=True)]
    return softmax(np.concatenate(logits)), np.concatenate([test.y for test in tests])


def plot_scores(pruned: Pruned, group: int | None = None, ax: Axes | None = None) -> Axes:
    """What each feature or unit is worth to the dense head, sorted, and how many are kept.

    Each bar is a few neighbours in rank, of which the coloured part is kept.

    Args:
        pruned: a finished run.
        group: 0 for the features, i for the i-th hidden layer; the first that is pruned if None.
        ax: axis to draw on; one of a new figure if None.

    Returns:
        The axis.
    """
    ax, group = axes_of(ax), _group(pruned, group)
    worth, kept = scores(pruned, group), kept_units(pruned, group)
    order = np.argsort(-worth, kind="stable")
    bars = np.array_split(order, min(BARS, len(order)))
    left = np.cumsum([0, *map(len, bars)])[:-1] + 0.5
    width = np.array([len(bar) for bar in bars])
    height = np.array([worth[bar].mean() for bar in bars])
    share = np.array([kept[bar].mean() for bar in bars])
    for name, size, start, colour in (
        (f"kept ({kept.sum():,})", share * height, 0, "C0"),
        (f"dropped ({(~kept).sum():,})", (1 - share) * height, share * height, GREY),
    ):
        alpha = 1.0 if colour == "C0" else 0.4
        ax.bar(left, size, width, start, align="edge", color=colour, alpha=alpha, label=name)
    ax.set_ylim(0, 1.05 * height.max() or 1)
    ax.set_xlabel(f"rank of the {unit_name(group)}")
    ax.set_ylabel("sensitivity" if pruned.found.scores is None else literal(pruned.found.how))
    below(ax)
    return ax


def plot_mask(pruned: Pruned, group: int | None = None, ax: Axes | None = None) -> Axes:
    """Which features or units are kept: each a field, counted along the lines.

    Args:
        pruned: a finished run.
        group: 0 for the features, i for the i-th hidden layer; the first that is pruned if None.
        ax: axis to draw on; one of a new figure if None.

    Returns:
        The axis.
    """
    from matplotlib.colors import to_rgba

    ax, group = axes_of(ax), _group(pruned, group)
    kept = kept_units(pruned, group)
    columns = min(COLUMNS, len(kept))
    lines = -(-len(kept) // columns)
    fields = np.zeros((lines * columns, 4))
    fields[: len(kept)] = np.where(kept[:, None], to_rgba("C0"), to_rgba(GREY, 0.15))
    ax.imshow(fields.reshape(lines, columns, 4), interpolation="none", aspect="auto")
    if lines == 1:
        ax.set_yticks([])
        ax.set_xticks(range(0, columns, max(1, columns // 6)))
        ax.set_xlabel(unit_name(group))
    else:
        ax.set_xticks([])
        shown = range(0, lines, max(1, lines // 5))
        ax.set_yticks(shown, [f"{line * columns:,}" for line in shown])
        ax.set_ylabel(f"first {unit_name(group)}\nof the line")
    return ax


def unit_name(group: int, number: int | None = None, *, plural: bool = False) -> str:
    """What a unit of a group is called, such as ``"unit 7 of layer 1"``."""
    name = ("unit" if group else "feature") + "s" * plural
    name += "" if number is None else f" {number}"
    return f"{name} of layer {group}" if group else name


def _group(pruned: Pruned, group: int | None) -> int:
    return pruned.problem.pruning.mode.groups[0] if group is None else group


def plain(name: str) -> str:
    """A class name as a label: short, and not read as a formula."""
    short = name if cell_len(name) <= LONGEST else f"{set_cell_size(name, LONGEST - 1).rstrip()}…"
    return literal(short)
