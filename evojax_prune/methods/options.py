"""Options of the built-in methods, importable without JAX; see :mod:`evojax_prune.methods`."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_serializer

from evojax_prune.core.options import (
    Options,
    assignments,
    metavar,
    refuse_truth_for_numbers,
    suggestion,
)
from evojax_prune.core.protocol import FINAL, PROTOCOL_FIELDS, SEARCH, Protocol
from evojax_prune.objectives import OBJECTIVES
from evojax_prune.search.strategies.options import LARGEST, EveryOption

GuidedInit = Literal["rankings", "sensitivity", "random"]
"""Where the bits of a search's first genomes come from."""

Choice = Literal["smallest", "knee", "best"]
"""Which head of a front is taken."""


def _completed_by(default: Protocol) -> BeforeValidator:
    """Completes a partly given protocol by a default."""

    def complete(value: Any) -> Any:
        refuse_truth_for_numbers(value, PROTOCOL_FIELDS)
        if not isinstance(value, dict):
            return value
        # Who says how many epochs means so many, however few the rows are.
        counted = {"steps": 0} if "epochs" in value else {}
        return dataclasses.asdict(default) | counted | value

    return BeforeValidator(complete)


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
Assignments = Annotated[dict[str, Any], BeforeValidator(assignments)]


class TrainingOptions(Options):
    """How heads are trained: cheaply in the search, wholly in the end."""

    search_protocol: Annotated[Protocol, _completed_by(SEARCH)] = Field(
        SEARCH, description="training of each genome that the search asks for"
    )
    final_protocol: Annotated[Protocol, _completed_by(FINAL)] = Field(
        FINAL,
        description="training of the dense head, the finalists and what they are compared with",
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
    recursive: bool = Field(
        False,
        description="drop the least sensitive 30%, train again, and so on; sensitivities are then "
        "times the standard deviation (--method sensitivity)",
    )

    @field_serializer("p", when_used="json")
    def _plain_norm(self, p: float) -> float | str:
        return "inf" if math.isinf(p) else p


def _known_objectives(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in OBJECTIVES:
            raise ValueError(f"unknown objective {name!r}{suggestion(name, OBJECTIVES)}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"objectives is {' '.join(names)}, expected different names")
    return names


class SearchOptions(EveryOption):
    """The search for the best mask (--method search)."""

    strategy: str = Field(
        "nsga2",
        description="nsga2: of several objectives the whole front; generational: (mu+lambda) "
        "binary genetic algorithm; steady-state: the reference's; or any evosax algorithm by name "
        "(SimpleGA, CMA_ES, PGPE, ...) on thresholded logits; all but nsga2 take one objective",
        json_schema_extra=metavar("NAME"),
    )
    objectives: Annotated[tuple[str, ...], AfterValidator(_known_objectives)] = Field(
        ("cross-entropy", "size"),
        description="what is searched for, measured on the selection split: cross-entropy (less "
        "noisy than accuracy where the split is small), accuracy, size (active bits), ood (how "
        "well the head tells the rows of --ood from its own, by AUROC)",
        json_schema_extra=metavar("NAME [NAME ...]"),
    )
    evaluations: int = Field(
        3000,
        ge=1,
        le=10**9,
        description="budget: heads trained by the search protocol; a known genome is free, except "
        "on fresh splits",
    )
    population: int = Field(60, ge=2, le=LARGEST, description="genomes per generation")
    init: GuidedInit = Field(  # type: ignore[assignment]  # where the scores come from
        "rankings",
        description="first genomes: rankings: the best bits of several rankings, at many sizes; "
        "sensitivity: bits drawn with probabilities that rise with the sensitivity of the dense "
        "head to them, each genome by a norm p of its own; random: random bits",
    )
    size: int | None = Field(
        None,
        ge=1,
        le=2**40,
        description="at most so many active bits: features, or units of the pruned layers; a "
        "search of one objective keeps every genome at that size",
    )
    choice: Choice = Field(
        "smallest",
        description="which head of the front is taken: smallest: the smallest whose selection "
        "accuracy is within one standard error of the best one's, the dense head's included; knee: "
        "the one farthest above the line from the smallest head to the dense one; best: the most "
        "accurate",
    )
    size_penalty: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="makes a single objective worse for each unit of active fraction: at 0.05, a "
        "head with half of the bits is worth 0.025 more than a full one",
    )
    finalists: int = Field(
        8,
        ge=1,
        le=10**6,
        description="best genomes of the search that are trained again by the final protocol",
    )
    consensus: bool = Field(
        False,
        description="finalists are also, at the size of each, the bits that most members of the "
        "final population share",
    )
