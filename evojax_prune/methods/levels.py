"""Pruning by sensitivities: the dense head's most sensitive bits, at one size or several."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from evojax_prune.cli.config import RunConfig
from evojax_prune.core.head import Params
from evojax_prune.core.outcome import Outcome
from evojax_prune.core.ranking import REDUCTION_LEVELS, smallest_within_error
from evojax_prune.engine import EngineReport, Fits
from evojax_prune.methods.pipeline import Advance, Problem, final_fits, judged
from evojax_prune.search import SearchResult
from evojax_prune.search.archive import digests, pack
from evojax_prune.sensitivity import norm_name, sensitivity_scores


def name(config: RunConfig) -> str:
    """What tables call the head."""
    return f"sensitivity, {norm_name(config.p)}"


def genomes(problem: Problem, heads: Sequence[Params]) -> np.ndarray:
    """Genomes ``bool [L, G]`` of each size that is to be tried, the dense head's apart.

    Args:
        problem: what is pruned, on which data.
        heads: the trained dense head's parameters, one a fold.
    """
    config = problem.config
    keeps = [1 - r for r in REDUCTION_LEVELS] if config.keep == "auto" else [float(config.keep)]
    train = [split.train for split in problem.splits]
    layers = sensitivity_scores(heads, train, problem.pruning.mode, [config.p])
    scores = [layer[0] for layer in layers]
    found = np.stack([problem.pruning.keep(scores, (keep,) * len(scores)) for keep in keeps])
    if config.keep != "auto":
        return found
    # Few units have few sizes, and the largest may be the dense head.
    sizes, first = np.unique(found.sum(1), return_index=True)
    return found[np.sort(first[sizes < problem.genome_length])]


@dataclasses.dataclass(frozen=True)
class Tried:
    """Heads of several sizes, trained by the final protocol.

    Attributes:
        outcomes: one a size.
        epochs: ``int64 [L]``.
        seconds: ``float64 [L]``.
        report: the trainer's.
    """

    outcomes: list[Outcome]
    epochs: np.ndarray
    seconds: np.ndarray
    report: EngineReport

    def beside(self, dense: Outcome, fits: Fits) -> Tried:
        """The same with the dense head as the first candidate, trained in a call of its own."""
        return Tried(
            [dense, *self.outcomes],
            np.concatenate([fits.epochs, self.epochs]),
            np.concatenate([fits.seconds, self.seconds]),
            self.report,
        )

    def as_search(self, config: RunConfig) -> SearchResult:
        """The sizes as evaluations, so that a report shows them as it shows a search's genomes."""
        bits = np.stack([outcome.genome for outcome in self.outcomes])
        sizes = len(bits)
        return SearchResult(
            genome_length=bits.shape[1],
            packed=pack(bits),
            hashes=tuple(digests(pack(bits))),
            active=bits.sum(1),
            fitness=np.array([outcome.selection for outcome in self.outcomes]),
            generation=np.zeros(sizes, np.int64),
            columns={"epochs": self.epochs, "seconds": self.seconds},
            cached=0,
            generations=1,
            stopped=f"{bits.mean():.1%} of the bits are kept, as asked for"
            if config.keep != "auto"
            else f"{sizes} sizes were tried, and the smallest within one standard error of the "
            "best was taken",
            exhausted=True,
        )


def train(problem: Problem, bits: np.ndarray, advance: Advance | None = None) -> Tried:
    """Train genomes ``bool [L, G]`` by the final protocol."""
    fits = final_fits(problem, bits, advance)
    return Tried(judged(problem, fits, bits), fits.epochs, fits.seconds, fits.report)


def choose(outcomes: Sequence[Outcome], problem: Problem) -> int:
    """The smallest within one standard error of the best, by selection accuracy.

    Over folds every training row is selected on once, so their rows count together.
    """
    return smallest_within_error(
        np.array([outcome.selection for outcome in outcomes]),
        np.array([outcome.parameters for outcome in outcomes]),
        sum(len(split.selection) for split in problem.splits),
    )
