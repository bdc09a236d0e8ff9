"""Options of the built-in methods, importable without JAX; see :mod:`evojax_prune.methods`."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_serializer

from evojax_prune.core.options import Options, metavar
from evojax_prune.core.protocol import PAPER, SEARCH, Protocol
from evojax_prune.objectives.fitness import Fitness
from evojax_prune.search.strategies.options import EveryOption

GuidedInit = Literal["random", "sensitivity"]
"""Where the bits of a search's first genomes come from."""


def _completed_by(default: Protocol) -> BeforeValidator:
    """Completes a partly given protocol by a default."""

    def complete(value: Any) -> Any:
        return dataclasses.asdict(default) | value if isinstance(value, dict) else value

    return BeforeValidator(complete)


def _assignments(value: Any, info: ValidationInfo) -> Any:
    """``("a=1", "b=2")``, as flags have it, as a mapping."""
    if not isinstance(value, tuple | list):
        return value
    pairs = [str(part).partition("=") for part in value]
    if not all(name and equals for name, equals, _ in pairs):
        given = " ".join(map(str, value))
        raise ValueError(f"{info.field_name} is {given}, expected NAME=VALUE ...")
    return {name: number for name, _, number in pairs}


def _fraction_or_auto(value: Any) -> Any:
    """``auto``, or a number in (0, 1]."""
    if value == "auto":
        return value
    try:
        fraction = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        fraction = math.nan
    if not 0 < fraction <= 1:
        raise ValueError(
            f"keep is {value}, expected auto or a fraction above 0 and at most 1, as in 0.3"
        )
    return fraction


Keep = Annotated[float | Literal["auto"], BeforeValidator(_fraction_or_auto)]
Assignments = Annotated[dict[str, Any], BeforeValidator(_assignments)]


class TrainingOptions(Options):
    """How heads are trained: cheaply in the search, wholly in the end."""

    search_protocol: Annotated[Protocol, _completed_by(SEARCH)] = Field(
        SEARCH, description="training of each genome that the search asks for"
    )
    final_protocol: Annotated[Protocol, _completed_by(PAPER)] = Field(
        PAPER, description="training of the dense head, the finalists and the best random masks"
    )
    engine: str = Field(
        "auto",
        description="how heads are trained; every way gives the same numbers, to rounding, and "
        "auto takes the fastest",
        json_schema_extra=metavar("NAME"),
    )
    member_batch: int | None = Field(
        None,
        ge=1,
        le=2**24,
        description="most heads trained side by side on an accelerator; what its memory allows if "
        "not given",
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="the same seed gives the same numbers on one machine"
    )


class SensitivityOptions(Options):
    """Pruning by sensitivities (--method sensitivity)."""

    p: float = Field(
        2.0,
        ge=1,
        allow_inf_nan=True,
        description="norm over patterns and over outputs, 1 to inf (--method sensitivity)",
        json_schema_extra=metavar("FLOAT|inf"),
    )
    keep: Keep = Field(
        "auto",
        description="fraction of the features (or of each pruned layer's units) to keep (--method "
        "sensitivity); auto tries several and takes the smallest head whose selection accuracy is "
        "within one standard error of the best one's",
        json_schema_extra=metavar("FLOAT|auto"),
    )

    @field_serializer("p", when_used="json")
    def _plain_norm(self, p: float) -> float | str:
        return "inf" if math.isinf(p) else p


class SearchOptions(EveryOption):
    """The search for the best mask (--method search)."""

    strategy: str = Field(
        "generational",
        description="generational: (mu+lambda) binary genetic algorithm; steady-state: the "
        "reference's; or any evosax algorithm by name (SimpleGA, CMA_ES, PGPE, ...) on thresholded "
        "logits",
        json_schema_extra=metavar("NAME"),
    )
    evaluations: int = Field(
        200,
        ge=1,
        le=10**9,
        description="budget: heads trained by the search protocol; a known genome is free",
    )
    init: GuidedInit = Field(  # type: ignore[assignment]  # scores are sensitivities here
        "random",
        description="first genomes: random bits, or bits drawn with probabilities that rise with "
        "the sensitivity of the dense head to them, each genome by a norm p of its own",
    )
    fitness: Fitness = Field(
        "accuracy",
        description="what is maximised on the selection split: accuracy, or cross-entropy's "
        "negative (less noisy where the split is small), nats",
    )
    size_penalty: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="taken off the fitness for each unit of active fraction: at 0.05, a head with "
        "half of the bits is worth 0.025 more than a full one",
    )
    finalists: int = Field(
        5,
        ge=1,
        le=10**6,
        description="best genomes of the search that are trained again by the final protocol",
    )
