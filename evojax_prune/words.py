"""Words that the command line and the library share, importable without JAX."""

from __future__ import annotations

from typing import Literal

Mode = Literal["features", "fc1", "fc2", "both"]
"""Where the mask sits."""

Grain = Literal["neurons", "connections"]
"""What one bit of a genome switches: a unit, or a weight of the sparse layers."""

Method = Literal["search", "sensitivity"]
"""How the mask is found."""

Init = Literal["random", "sensitivity"]
"""Where the bits of a search's first genomes come from."""

Selection = Literal["holdout", "test-half", "test", "kfold"]
"""Where the selection split comes from."""

Fitness = Literal["accuracy", "cross-entropy"]
"""What the search maximises on the selection split (of the cross-entropy, its negative)."""

Parents = Literal["nam", "roulette", "tournament"]
"""How a genetic algorithm chooses a pair of parents; ``nam``: negative assortative mating."""

Crossover = Literal["uniform", "one-point"]
"""How a genetic algorithm mixes a pair's bits."""

Mutation = Literal["coin", "per-bit"]
"""How a genetic algorithm flips children's bits: one bit or none, or each bit by itself."""
