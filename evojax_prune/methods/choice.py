"""Which of several finalists is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from evojax_prune.core.outcome import Outcome
from evojax_prune.core.ranking import smallest_within_error
from evojax_prune.methods.options import Choice
from evojax_prune.methods.problem import best_outcome

Pick = Callable[[Outcome, Sequence[Outcome], int], Outcome]


def _best(dense: Outcome, heads: Sequence[Outcome], rows: int) -> Outcome:
    """The highest selection accuracy; of equals the smaller."""
    return best_outcome(heads)


def _smallest(dense: Outcome, heads: Sequence[Outcome], rows: int) -> Outcome:
    """The smallest head within one standard error of the best one, the dense head included.

    The rule of one standard error is Breiman et al.'s (Classification and Regression Trees, 1984).
    Where only the dense head is so good, the best of the others.
    """
    every = [*heads, dense]
    accuracy = np.array([head.selection for head in every])
    size = np.array([head.parameters for head in every])
    found = smallest_within_error(accuracy, size, rows)
    return heads[found] if found < len(heads) else best_outcome(heads)


def _knee(dense: Outcome, heads: Sequence[Outcome], rows: int) -> Outcome:
    """The head farthest above the line from the smallest one to the dense one.

    Sizes count on a log scale; both axes are in parts of their extent.
    """
    every = [*heads, dense]
    x = np.log([head.parameters for head in every])
    y = np.array([head.selection for head in every])
    low = int(np.lexsort((-y, x))[0])
    across, up = x[-1] - x[low], y[-1] - y[low]
    if across <= 0:
        return best_outcome(heads)
    above = (y[:-1] - y[low]) - up * (x[:-1] - x[low]) / across
    return heads[int(np.lexsort((x[:-1], -above))[0])]


CHOICES: dict[Choice, tuple[Pick, str]] = {
    "smallest": (_smallest, "the smallest within one standard error of the best"),
    "knee": (_knee, "the one farthest above the line from the smallest to the dense head"),
    "best": (_best, "the best"),
}
"""How each choice picks, and what to call the head that it takes."""


def choose(choice: Choice, dense: Outcome, heads: Sequence[Outcome], rows: int) -> Outcome:
    """The finalist that is taken, by selection accuracy.

    Args:
        choice: one of :data:`CHOICES`.
        dense: the whole head.
        heads: finalists; their selection accuracy is not NaN.
        rows: selection rows that accuracies are measured on, which decide the standard error.
    """
    pick, _ = CHOICES[choice]
    return pick(dense, heads, rows)
