"""What is pruned, on which data, and how its heads are trained."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.core.head import Params
from evojax_prune.core.outcome import Outcome, judge
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.splits import FeatureSplits
from evojax_prune.engine import Fits, fit_population
from evojax_prune.methods.options import TrainingOptions

Advance = Callable[[int], None]
"""Called with the number of heads just trained."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is pruned, on which data.

    Attributes:
        name: what to call the data.
        version: the data's version.
        source: where the features come from.
        splits: one element, or one per fold.
        pruning: what genomes mean.
        training: how heads are trained, and the seed.
    """

    name: str
    version: str
    source: str
    splits: Sequence[FeatureSplits]
    pruning: Pruning
    training: TrainingOptions

    @property
    def genome_length(self) -> int:
        """Bits of a genome."""
        return self.pruning.genome_length

    @property
    def folds(self) -> int:
        """Number of folds; 1 without cross-validation."""
        return len(self.splits)

    @property
    def selected_on_test(self) -> bool:
        """The selection split is the test split."""
        return self.splits[0].selected_on_test

    def fit(
        self,
        genomes: np.ndarray,
        protocol: Protocol,
        evaluate: tuple[str, ...],
        return_params: bool = False,
        advance: Advance | None = None,
    ) -> Fits:
        """Train one head per genome, ``bool [P, G]``."""
        splits = self.splits[0] if self.folds == 1 else self.splits
        return fit_population(
            self.pruning.masks(genomes),
            splits,
            protocol,
            head=self.pruning.spec,
            seed=self.training.seed,
            evaluate=evaluate,
            return_params=return_params,
            engine=self.training.engine,
            member_batch=self.training.member_batch,
            progress=advance,
        )

    def final_fits(self, genomes: np.ndarray, advance: Advance | None = None) -> Fits:
        """Train genomes ``bool [P, G]`` by the final protocol; the fits have parameters."""
        return self.fit(genomes, self.training.final_protocol, (), True, advance)

    def judged(self, fits: Fits, genomes: np.ndarray) -> list[Outcome]:
        """How heads that were fitted with parameters did, one per row of ``bool [P, G]``."""
        folds = [fold.params or [] for fold in fits.folds or (fits,)]
        return [
            judge(
                [params[member] for params in folds],
                genome,
                self.pruning,
                self.splits,
                loss=float(fits.loss[member]),
                epochs=int(fits.epochs[member]),
            )
            for member, genome in enumerate(genomes)
        ]

    def refit(self, genomes: np.ndarray, advance: Advance | None = None) -> list[Outcome]:
        """Train genomes ``bool [P, G]`` by the final protocol and judge them.

        Returns:
            One per genome; the selection accuracy is NaN where training diverged.
        """
        return self.judged(self.final_fits(genomes, advance), genomes)

    def describe(self) -> str:
        """One line on the data and what is searched."""
        first = self.splits[0]
        rows = (
            f"{len(first.train)} training, {len(first.selection)} selection, {len(first.test)} test"
        )
        return (
            f"{self.source}: {len(first.classes)} classes, {self.pruning.spec.features} features; "
            f"{rows} rows{f' in each of {self.folds} folds' if self.folds > 1 else ''}; "
            f"{self.genome_length} bits to search"
        )

    def digest(self) -> str:
        """Hex digest of the rows of every split."""
        content = hashlib.blake2b(digest_size=16)
        for part in self.splits:
            for split in (part.train, part.selection, part.test):
                content.update(np.ascontiguousarray(split.x).data)
                content.update(np.ascontiguousarray(split.y).data)
        return content.hexdigest()


def first_params(fits: Fits) -> list[Params]:
    """Full parameters of a population's first head, one per fold."""
    return [fold.params[0] for fold in fits.folds or (fits,) if fold.params]


def best_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """The best on the selection split; of equals the smaller, then the earlier.

    Raises:
        UserError: training diverged for all of them.
    """
    sound = [outcome for outcome in outcomes if not math.isnan(outcome.selection)]
    if not sound:
        raise UserError(
            "training by the final protocol diverged (its loss is not finite): lower "
            "--final-protocol.learning-rate"
        )
    return max(sound, key=lambda outcome: (outcome.selection, -outcome.parameters))


def random_genomes(active: int, length: int, count: int, seed: int) -> np.ndarray:
    """``bool [count, length]``, each with ``active`` bits at random; one if all are alike."""
    if active in (0, length):
        count = 1
    generator = np.random.default_rng([seed, 0x72616E64])
    genomes = np.zeros((count, length), bool)
    for genome in genomes:
        genome[generator.choice(length, active, replace=False)] = True
    return genomes
