"""What is pruned, on which data, and how its heads are trained."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.core.head import Params
from evojax_prune.core.outcome import Outcome, judge
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.scaling import Scaling, variance
from evojax_prune.core.splits import FeatureSplits, Split
from evojax_prune.data import ResampledSplits
from evojax_prune.engine import Fits, fit_population
from evojax_prune.methods.options import TrainingOptions

Advance = Callable[[int], None]
"""Called with the number of heads just trained."""

JUDGING = 2**32
"""The first of the occasions on which heads are judged; a search never comes so far."""

UNBALANCED = 20
"""Times the rows of the smallest class that the largest may have without a word."""

ORDINARY = (1e-2, 1e2)
"""Standard deviations of features that are not scaled, about which nothing is said."""

JUDGINGS = 5
"""Fresh splits on which a head of the final protocol is judged."""


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
        scalings: what was done to the features of each of ``splits``.
        outside: features of data that heads should not know, ``float32 [m, F]``, scaled likewise,
            one per fold; None without any.
    """

    name: str
    version: str
    source: str
    splits: Sequence[FeatureSplits]
    pruning: Pruning
    training: TrainingOptions
    scalings: Sequence[Scaling]
    outside: tuple[np.ndarray, ...] | None = None

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

    @property
    def resampled(self) -> bool:
        """Selection is on fresh splits of the rows that are not test rows."""
        return isinstance(self.splits[0], ResampledSplits)

    @property
    def judging_rows(self) -> int:
        """Rows that a selection accuracy is measured on: over folds, each once."""
        first = self.splits[0]
        if not isinstance(first, ResampledSplits):
            return sum(len(split.selection) for split in self.splits)
        _, selected = first.resampler.split(JUDGING)
        return min(JUDGINGS * len(selected), len(first.train))

    @property
    def trainings(self) -> int:
        """Trainings that :meth:`refit` makes of each head."""
        return 1 + JUDGINGS if self.resampled else self.folds

    def parts(self, occasion: int | None = None) -> Sequence[FeatureSplits]:
        """What genomes are trained and selected on, one element per fold.

        Args:
            occasion: number of the fresh split, where there are some. It comes without test rows.
        """
        first = self.splits[0]
        if occasion is None or not isinstance(first, ResampledSplits):
            return self.splits
        nothing = Split(first.test.x[:0], first.test.y[:0])
        return [dataclasses.replace(first.occasion(occasion), test=nothing)]

    def fit(
        self,
        genomes: np.ndarray,
        protocol: Protocol,
        evaluate: tuple[str, ...],
        return_params: bool = False,
        advance: Advance | None = None,
        parts: Sequence[FeatureSplits] | None = None,
    ) -> Fits:
        """Train one head per genome, ``bool [P, G]``, on ``parts``, by default the splits."""
        parts = self.splits if parts is None else parts
        return fit_population(
            self.pruning.masks(genomes),
            parts[0] if len(parts) == 1 else parts,
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
        """Train genomes ``bool [P, G]`` by the final protocol; the fits have parameters.

        Where selection is on fresh splits, on all rows that are not test rows.
        """
        return self.fit(genomes, self.training.final_protocol, (), True, advance)

    def judged(
        self, fits: Fits, genomes: np.ndarray, advance: Advance | None = None
    ) -> list[Outcome]:
        """How heads that were fitted with parameters did, one per row of ``bool [P, G]``.

        Where selection is on fresh splits, the same heads are trained on some of those, too, and
        the selection accuracy is theirs.
        """
        folds = [fold.params or [] for fold in fits.folds or (fits,)]
        fresh = None
        if self.resampled:
            fresh = self.selection_accuracy(genomes, self.training.final_protocol, advance)
        return [
            judge(
                [params[member] for params in folds],
                genome,
                self.pruning,
                self.splits,
                loss=float(fits.loss[member]),
                epochs=int(fits.epochs[member]),
                selection=None if fresh is None else float(fresh[member]),
            )
            for member, genome in enumerate(genomes)
        ]

    def selection_accuracy(
        self, genomes: np.ndarray, protocol: Protocol, advance: Advance | None = None
    ) -> np.ndarray:
        """Selection accuracy of heads of genomes ``bool [P, G]`` that are trained by a protocol.

        Returns:
            ``float64 [P]``, mean over folds or over fresh splits; NaN where training diverged.
        """
        if not self.resampled:
            return self.fit(genomes, protocol, ("selection",), False, advance).accuracy["selection"]
        each = [
            self.fit(genomes, protocol, ("selection",), False, advance, self.parts(JUDGING + i))
            for i in range(JUDGINGS)
        ]
        return np.mean([fits.accuracy["selection"] for fits in each], axis=0)

    def refit(self, genomes: np.ndarray, advance: Advance | None = None) -> list[Outcome]:
        """Train genomes ``bool [P, G]`` by the final protocol and judge them.

        Returns:
            One per genome; the selection accuracy is NaN where training diverged.
        """
        return self.judged(self.final_fits(genomes, advance), genomes, advance)

    def describe(self) -> str:
        """One line on the data and what is searched."""
        first = self.splits[0]
        rows = (
            f"{len(first.train)} training, {len(first.selection)} selection, {len(first.test)} test"
        )
        if self.resampled:
            rows = f"{len(first.train)} training and selection, {len(first.test)} test"
        return (
            f"{self.source}: {len(first.classes)} classes, {self.pruning.spec.features} features; "
            f"{rows} rows{f' in each of {self.folds} folds' if self.folds > 1 else ''}; "
            f"{self.genome_length} bits to search"
        )

    def imbalance(self) -> str | None:
        """One line where the largest class has more than :data:`UNBALANCED` times the smallest."""
        first = self.splits[0]
        parts = [first.train, first.test] + [first.selection] * (not first.selected_on_test)
        counts = np.bincount(
            np.concatenate([part.y for part in parts]), minlength=len(first.classes)
        )
        large, small = int(counts.argmax()), int(counts.argmin())
        if counts[large] <= UNBALANCED * counts[small]:
            return None
        return (
            f"{counts[large]:,} rows are of class {first.classes[large]!r} and {counts[small]:,} "
            f"of {first.classes[small]!r}: accuracy says little about small classes, so look at "
            "the balanced accuracy and the recall of each class in result.json; class_weights "
            "balanced in --search-protocol and --final-protocol let every class weigh the same"
        )

    def odd_scale(self) -> str | None:
        """One line where features are taken as they are, though they are very large or small."""
        if any(scaling.kind != "none" for scaling in self.scalings):
            return None
        spread = float(np.sqrt(variance(self.splits[0].train.x).max()))
        if ORDINARY[0] <= spread <= ORDINARY[1]:
            return None
        return (
            f"the features are not scaled, and the largest standard deviation of one is "
            f"{spread:.1e}: the rates of training are made for about 1, so use --scale standard"
        )

    def digest(self) -> str:
        """Hex digest of the rows of every split."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        content = hashlib.blake2b(digest_size=16)
        for part in self.splits:
            for split in (part.train, part.selection, part.test):
                content.update(np.ascontiguousarray(split.x).data)
                content.update(np.ascontiguousarray(split.y).data)
        return content.hexdigest()


def first_params(fits: Fits) -> list[Params]:
    """Full parameters of a population's first head, one per fold."""
    return [fold.params[0] for fold in fits.folds or (fits,) if fold.params]


def sound_outcomes(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those of which training did not diverge.

    Raises:
        UserError: it diverged for all of them.
    """
    sound = [outcome for outcome in outcomes if not math.isnan(outcome.selection)]
    if not sound:
        raise UserError(
            "training by the final protocol diverged (its loss is not finite): lower "
            "--final-protocol.learning-rate"
        )
    return sound


def best_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """The best by selection accuracy; of equals the smaller, then the earlier.

    Raises:
        UserError: training diverged for all of them.
    """
    sound = sound_outcomes(outcomes)
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
