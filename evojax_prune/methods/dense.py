"""The whole head of a problem."""

from __future__ import annotations

from evojax_prune.core.outcome import Outcome
from evojax_prune.engine import Fits
from evojax_prune.methods.observer import Observer
from evojax_prune.methods.problem import JUDGING, JUDGINGS, Problem, best_outcome
from evojax_prune.methods.shared import DENSE_HEADS, training_key


def dense_head(problem: Problem, observer: Observer) -> tuple[Fits, Outcome]:
    """The dense head, trained by the final protocol and judged, or as another run has it.

    Args:
        problem: what is pruned, on which data.
        observer: told how far it is.

    Returns:
        Its fits, with parameters, and how it did.

    Raises:
        UserError: training diverged.
    """

    def work() -> tuple[Fits, Outcome]:
        dense = problem.pruning.dense
        with observer.stage("dense head", 1, "heads", problem.trainings) as shown:
            fits = problem.final_fits(dense, shown.advance)
            outcome = best_outcome(problem.judged(fits, dense, shown.advance))
            shown.finish()
        return fits, outcome

    return DENSE_HEADS.get(lambda: dense_key(problem), work)


def dense_key(problem: Problem) -> str:
    """Hex digest of all that the dense head's training and judging see."""
    occasions = range(JUDGING, JUDGING + JUDGINGS)
    return training_key(problem, problem.training.final_protocol, occasions)
