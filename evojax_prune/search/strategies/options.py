"""Options of the strategies: one model per kind, importable without JAX.

A strategy's model holds every option that it reads, with its default, bounds and description; the
command line shows them as they stand here. None stands for a default that depends on the strategy.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from evojax_prune.core.options import Options, Unit, assignments, metavar

InitialBits = Literal["random", "scores", "ranked"]
"""Where the bits of first genomes come from."""

ParentsKind = Literal["nam", "roulette", "tournament", "near"]
"""How a genetic algorithm chooses a pair of parents; ``nam``: negative assortative mating;
``near``: of like size."""

CrossoverKind = Literal["uniform", "one-point", "sized"]
"""How a genetic algorithm mixes the bits of a pair; ``sized``: children keep sizes in between."""

MutationKind = Literal["coin", "per-bit", "swap", "near-swap"]
"""How a genetic algorithm flips bits of a child: one bit or none, each bit by itself, or active
ones against as many inactive ones, ``near``: among those that rank about as high."""

COIN = 0.07
"""Probability of the reference's mutation coin."""

FLIPS = 3.0
"""Bits that the per-bit mutation flips in a child on average."""

SWAPPED = 0.02
"""Part of the active bits that the swap mutation exchanges on average, and at least one bit."""

BIAS, NEAR_BIAS = 8.0, 3.0
"""Bias of the mutation of a search that starts from rankings, and of near-swap."""

LARGEST = 10**6
"""Largest population; a typing error should not fill the memory."""

PAPER: dict[str, Any] = {
    "population": 30,
    "density": (0.0, 1.0),
    "children": 2,
    "parents": "nam",
    "crossover": "uniform",
    "mutation": "coin",
    "mutation_rate": COIN,
    "elitism": True,
    "ties": False,
}
"""Options that make ``steady-state`` what EvoPruneDeepTL's released code runs."""


def _both(value: Any) -> Any:
    """A single density stands for both bounds."""
    return (value, value) if isinstance(value, int | float) else value


class StrategyOptions(Options):
    """Options that every strategy reads."""

    population: int = Field(30, ge=2, le=LARGEST, description="genomes in the population")
    density: Annotated[tuple[Unit, Unit], BeforeValidator(_both)] = Field(
        (0.0, 1.0),
        description="each initial genome's active fraction is drawn uniformly between these two "
        "(on a log scale where it starts from rankings); twice the same number fixes it",
        json_schema_extra=metavar("LOW HIGH"),
    )
    init: InitialBits = Field(
        "random",
        description="first genomes: random bits; bits drawn with probabilities that rise with "
        "their scores, each genome by one of the rankings; ranked: the best bits of one of them",
    )
    sharpness: float = Field(
        6.0,
        ge=0,
        le=80,
        description="of first genomes that follow scores: logits between the bit of the lowest "
        "score and that of the highest; 0 is random, the larger the closer to taking the highest",
    )

    @property
    def guided(self) -> bool:
        """Whether the strategy follows rankings of the bits."""
        return self.init != "random"

    @model_validator(mode="after")
    def _lower_density_first(self) -> Self:
        if self.density[0] > self.density[1]:
            low, high = self.density
            raise ValueError(f"density is {low} {high}, expected the lower number first")
        return self


class GeneticOptions(StrategyOptions):
    """Options of the genetic algorithms on bits."""

    children: int | None = Field(
        None,
        ge=2,
        le=LARGEST,
        description="genomes bred per generation; if not given half the population, 2 for "
        "steady-state, and as many as the population for nsga2",
    )
    parents: ParentsKind | None = Field(
        None,
        description="how parents are chosen; nam: negative assortative mating; near: the second "
        "is the nearest of six in size; if not given tournament, nam for steady-state, and near "
        "for nsga2 that starts from rankings at many sizes",
    )
    tournament_size: int = Field(2, ge=1, le=LARGEST, description="genomes in a tournament")
    crossover: CrossoverKind | None = Field(
        None,
        description="of two parents; sized: children keep what both agree on, and sizes between "
        "theirs; if not given sized for nsga2, else uniform",
    )
    mutation: MutationKind | None = Field(
        None,
        description="coin: one bit of a child flips or none; per-bit: each bit by itself; "
        "swap: active bits are exchanged for inactive ones; near-swap: for ones that rank about as "
        "high; if not given swap for nsga2, near-swap if it starts from rankings at many sizes, "
        "coin for steady-state, else per-bit",
    )
    mutation_rate: Unit | None = Field(
        None,
        description="probability of the coin, 0.07 if not given, or of each bit, 3 / genome "
        "length, or part of the active bits that is swapped, 0.02 and at least one",
    )
    mutation_bias: float | None = Field(
        None,
        ge=0,
        le=20,
        description="how much mutation follows the scores: with b, the active bit of the lowest "
        "score is e^(2b) times as likely to be switched off as that of the highest, and inactive "
        "bits the other way round; swap draws the bits that it switches on so, with b logits; "
        "near-swap by (1 + place / active bits)^-b; 0: not at all; if not given 8 and 3 for nsga2 "
        "that starts from rankings, else 0",
    )

    @property
    def guided(self) -> bool:
        """Whether the strategy follows rankings of the bits."""
        return super().guided or bool(self.mutation_bias)

    def rate(self, mutation: MutationKind, genome_length: int) -> float:
        """The mutation rate, or its default: the coin's probability, or each bit's."""
        if self.mutation_rate is not None:
            return self.mutation_rate
        if mutation in ("swap", "near-swap"):
            return SWAPPED
        return COIN if mutation == "coin" else min(0.5, FLIPS / genome_length)


class SteadyStateOptions(GeneticOptions):
    """Options of ``steady-state``."""

    elitism: bool | None = Field(
        None,
        description="the best overwrites the worst after each generation, as the reference does "
        "(steady-state); false if not given",
    )
    ties: bool | None = Field(
        None,
        description="a child also beats a genome of its own fitness with more active bits "
        "(steady-state); true if not given",
    )


Numbers = Annotated[dict[str, float], BeforeValidator(assignments)]


class LogitOptions(StrategyOptions):
    """Options of evosax's algorithms."""

    strategy_options: Numbers | None = Field(
        None,
        description="parameters of an evosax algorithm, such as learning_rate=0.05 std=1",
        json_schema_extra=metavar("NAME=VALUE ..."),
    )


class EveryOption(SteadyStateOptions, LogitOptions):
    """Every option of every strategy, for a command line that shows them all."""
