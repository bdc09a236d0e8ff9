"""What a search calls: the objectives of genomes, by the search protocol."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np

from evojax_prune.core.objective import Objective
from evojax_prune.engine import EngineReport
from evojax_prune.methods.options import SearchOptions
from evojax_prune.methods.problem import Advance, Problem
from evojax_prune.methods.shared import EVALUATIONS, training_key
from evojax_prune.objectives import OBJECTIVES, Scored, penalised
from evojax_prune.search import Evaluation
from evojax_prune.search.archive import digests, pack

COLUMNS = {"epochs": int, "seconds": float}
"""What is remembered of each genome besides its values."""


class Evaluator:
    """Objectives of genomes by the search protocol.

    Attributes:
        advance: called with the number of heads just trained.
        reports: the trainer's report on each call.
    """

    def __init__(self, problem: Problem, options: SearchOptions, advance: Advance | None = None):
        self.problem = problem
        self.advance = advance
        self.reports: list[EngineReport] = []
        self._penalty = options.size_penalty
        self._measures = tuple(
            penalised(OBJECTIVES[name], options.size_penalty) for name in options.objectives
        )

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is measured, M of them."""
        return tuple(measure.objective for measure in self._measures)

    def __call__(self, genomes: np.ndarray, occasion: int | None = None) -> Evaluation:
        """Train genomes ``bool [n, G]``.

        Args:
            genomes: to be trained.
            occasion: number of the fresh split, where selection is on such.

        Returns:
            Values ``float64 [n, M]``; the columns are ``epochs`` and ``seconds``.
        """
        evaluation, report = EVALUATIONS.get(
            lambda: self._key(genomes, occasion), lambda: self._train(genomes, occasion)
        )
        self.reports.append(report)
        return evaluation

    def _train(self, genomes: np.ndarray, occasion: int | None) -> tuple[Evaluation, EngineReport]:
        problem = self.problem
        parts = problem.parts(occasion)
        fits = problem.fit(
            genomes,
            problem.training.search_protocol,
            ("selection",),
            any(measure.parameters for measure in self._measures),
            self.advance,
            parts,
        )
        shown = genomes.view()
        shown.flags.writeable = False  # an objective of a plugin must not change what was trained
        scores = Scored(
            shown, fits, problem.pruning, tuple(p.selection for p in parts), problem.outside
        )
        values = [measure.values(scores) for measure in self._measures]
        columns = {"epochs": fits.epochs, "seconds": fits.seconds}
        return Evaluation(np.stack(values, axis=1), columns), fits.report

    def _key(self, genomes: np.ndarray, occasion: int | None) -> str:
        """All that the values of genomes are made of."""
        problem = self.problem
        occasions = range(0) if occasion is None else range(occasion, occasion + 1)
        told = *self._measured, genomes.shape, digests(pack(genomes))
        return training_key(problem, problem.training.search_protocol, occasions, *told)

    @functools.cached_property
    def _measured(self) -> tuple[Any, ...]:
        """What is measured, and on which data besides the splits."""
        outside = [hashlib.blake2b(x.tobytes()).hexdigest() for x in self.problem.outside or ()]
        return [dataclasses.asdict(m.objective) for m in self._measures], self._penalty, outside
