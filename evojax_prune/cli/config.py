"""The one definition of a run's configuration: YAML files, flags and ``--help`` all come from it.

Field names are the keys of a YAML file and, with dashes, the flags. Each class below is one group
of ``--help``.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    model_validator,
)

from evojax_prune.core.errors import UserError
from evojax_prune.core.mode import Grain, ModeName
from evojax_prune.core.protocol import PAPER, SEARCH, Protocol
from evojax_prune.data.splitting.partition import Selection
from evojax_prune.objectives.fitness import Fitness
from evojax_prune.search.strategies import options as genetics
from evojax_prune.search.strategies.options import Crossover, Mutation, Parents

Preset = Literal["default", "paper"]

Method = Literal["search", "sensitivity"]
"""How the mask is found."""

Init = Literal["random", "sensitivity"]
"""Where the bits of a search's first genomes come from."""

UserPath = Annotated[Path, AfterValidator(Path.expanduser)]
Unit = Annotated[float, Field(ge=0, le=1)]


def _assignments(value: Any) -> Any:
    """``("a=1", "b=2")``, as flags have it, as a mapping."""
    if not isinstance(value, tuple | list):
        return value
    pairs = [str(part).partition("=") for part in value]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError(
            f"strategy_options is {' '.join(map(str, value))}, expected NAME=VALUE ..."
        )
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
StrategyOptions = Annotated[dict[str, float], BeforeValidator(_assignments)]


def metavar(name: str) -> dict[str, Any]:
    """What ``--help`` calls a flag's value."""
    return {"metavar": name}


class Options(BaseModel):
    """A group of options."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class ProtocolOptions(Options):
    """How one head is trained; the fields of :class:`evojax_prune.core.protocol.Protocol`."""

    epochs: int = Field(ge=1, description="most epochs a head is trained for")
    batch_size: int = Field(ge=1, description="rows a step")
    learning_rate: float = Field(gt=0, description="rate before decay")
    momentum: float = Field(ge=0, lt=1, description="velocity kept from step to step (sgd only)")
    nesterov: bool = Field(description="look ahead along the velocity (sgd only)")
    decay: float = Field(
        ge=0, description="inverse-time decay a step: rate / (1 + decay * step number)"
    )
    patience: int = Field(
        ge=0,
        description="epochs without an improvement of the training loss before training stops; "
        "0: train all epochs",
    )
    min_delta: float = Field(
        ge=0, description="least fall of the training loss that is an improvement, nats"
    )
    restore_best: bool = Field(
        description="use the weights of the epoch with the lowest training loss, not the last"
    )
    optimizer: str = Field(
        description="sgd, or an optax optimizer by name (adam, adamw, lion, ...)",
        json_schema_extra=metavar("NAME"),
    )
    input_noise: float = Field(
        ge=0,
        description="standard deviation of Gaussian noise added to the features at each step, in "
        "units of the features",
    )

    @classmethod
    def of(cls, protocol: Protocol) -> Self:
        """The options that give this protocol."""
        return cls(**dataclasses.asdict(protocol))

    def protocol(self) -> Protocol:
        """The protocol that the trainer takes."""
        return Protocol(**self.model_dump())


class SourceOptions(Options):
    """Where settings come from: defaults, then --protocol, then --config, then flags."""

    protocol: Preset = Field(
        "default",
        description="a named set of settings; paper: search, training and selection exactly as "
        "EvoPruneDeepTL's released code has them (selection on the test split, so the result says "
        "'selected on test'); backbone and image size stay as given",
    )


class DataOptions(Options):
    """Images or features, and how they are split into train, selection and test."""

    dataset: str = Field(
        "digits",
        description="digits (built in), an image folder (DIR/train/<class>/* and "
        "DIR/test/<class>/*, or one DIR/<class>/* split by seed), a features file (.npz with "
        "x_train, y_train and optionally x_test, y_test, groups_train, groups_test), or any "
        "TensorFlow Datasets name",
        json_schema_extra=metavar("NAME|DIR|FILE.npz"),
    )
    data_dir: UserPath | None = Field(
        None, description="where TensorFlow Datasets keeps its data; its own default if not given"
    )
    selection: Selection = Field(
        "holdout",
        description="where the selection split comes from: holdout: a stratified part of the "
        "training data; test-half: a stratified half of the test data, the other half stays the "
        "test split; test: the test split itself (every table then says 'selected on test'); "
        "kfold: fitness is the mean over the folds of the training data",
    )
    selection_fraction: float = Field(
        0.2, gt=0, lt=1, description="part of the training data held out for selection"
    )
    test_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="part of the data cut off as test split where none is given; 0.2 if not given",
    )
    folds: int = Field(5, ge=2, description="folds of --selection kfold")
    groups: str | None = Field(
        None,
        description="regular expression searched in each file's path below the image folder; its "
        "captures, joined, name the file's group, and no group is split across train, selection "
        "and test",
        json_schema_extra=metavar("REGEX"),
    )
    allow_group_overlap: bool = Field(
        False, description="go on although the given train and test folders share groups"
    )
    skip_unreadable: bool = Field(
        False, description="leave out files that are no images instead of stopping"
    )


class BackboneOptions(Options):
    """The frozen network that turns images into features, once."""

    backbone: str = Field(
        "efficientnet-lite0",
        description="efficientnet-lite0, -lite1, -lite2, or an image network of keras.applications "
        "(resnet50, densenet121, vgg19, ...)",
        json_schema_extra=metavar("NAME"),
    )
    backbone_weights: UserPath | None = Field(
        None, description="weights file; the ImageNet weights if not given"
    )
    image_size: int | None = Field(
        None, ge=1, description="side of the square images, pixels; the backbone's own if not given"
    )
    extraction_batch: int | None = Field(
        None, ge=1, description="images a step of feature extraction; chosen if not given"
    )


class HeadOptions(Options):
    """The head on the features, and what may be pruned from it."""

    mode: ModeName = Field(
        "features",
        description="where the mask sits: features: inputs of the one hidden layer; fc1, fc2: "
        "units of the first or second of two hidden layers; both: units of both",
    )
    grain: Grain = Field(
        "neurons",
        description="what one bit switches: a unit (or feature), or one weight of the sparse "
        "layers",
    )
    hidden: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        None, description="units of each hidden layer; 512 if not given, 512 512 for fc1, fc2, both"
    )


class MethodOptions(Options):
    """How the mask is found, and what the result is compared with."""

    method: Method = Field(
        "search",
        description="search: a genetic search over masks; sensitivity: keep what the dense head's "
        "outputs depend on most, by p-norms of its local sensitivities, without a search",
    )
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
    compare: bool = Field(
        False,
        description="add to the table what other ways of pruning give, at the found head's active "
        "fraction and each at its own best: random masks, weight magnitudes, norms of units' "
        "weights, polynomial decay; for features also mutual information, L1 logistic regression "
        "and a random forest",
    )
    compare_fractions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.1, 0.3, 0.5, 0.7),
        description="active fractions among which --compare looks for each one's own best",
        json_schema_extra=metavar("FLOAT [FLOAT ...]"),
    )

    @field_serializer("p", when_used="json")
    def _plain_norm(self, p: float) -> float | str:
        return "inf" if math.isinf(p) else p


class SearchOptions(Options):
    """The search for the best mask."""

    strategy: str = Field(
        "generational",
        description="generational: (mu+lambda) binary genetic algorithm; steady-state: the "
        "reference's; or any evosax algorithm by name (SimpleGA, CMA_ES, PGPE, ...) on thresholded "
        "logits",
        json_schema_extra=metavar("NAME"),
    )
    evaluations: int = Field(
        200, description="budget: heads trained by the search protocol; a known genome is free"
    )
    population: int = Field(30, ge=2, description="genomes in the population")
    density: tuple[Unit, Unit] = Field(
        (0.0, 1.0),
        description="each initial genome's active fraction is drawn uniformly between these two; "
        "twice the same number fixes it",
        json_schema_extra=metavar("LOW HIGH"),
    )
    init: Init = Field(
        "random",
        description="first genomes: random bits, or bits drawn with probabilities that rise with "
        "the sensitivity of the dense head to them, each genome by a norm p of its own",
    )
    sharpness: float = Field(
        6.0,
        ge=0,
        le=80,
        description="of --init sensitivity: logits between the least sensitive bit and the most; "
        "0 is random, the larger the closer to taking the most sensitive bits",
    )
    children: int | None = Field(
        None,
        ge=2,
        description="genomes bred in a generation (generational, steady-state); if not given half "
        "the population, and 2 for steady-state",
    )
    parents: Parents | None = Field(
        None,
        description="how parents are chosen (generational, steady-state); nam: negative "
        "assortative mating; if not given tournament, and nam for steady-state",
    )
    tournament_size: int = Field(2, ge=1, description="genomes in a tournament")
    crossover: Crossover | None = Field(
        None, description="of two parents (generational, steady-state); uniform if not given"
    )
    mutation: Mutation | None = Field(
        None,
        description="coin: one bit of a child flips or none; per-bit: each bit by itself "
        "(generational, steady-state); if not given per-bit, and coin for steady-state",
    )
    mutation_rate: Unit | None = Field(
        None,
        description="probability of the coin, 0.07 if not given, or of each bit, 3 / genome length",
    )
    mutation_bias: float = Field(
        0.0,
        ge=0,
        le=20,
        description="how much mutation follows the sensitivities: with b, the least sensitive "
        "active bit is e^(2b) times as likely to be switched off as the most sensitive one, and "
        "inactive bits the other way round (generational, steady-state); 0: not at all",
    )
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
    strategy_options: StrategyOptions | None = Field(
        None,
        description="parameters of an evosax algorithm, such as learning_rate=0.05 std=1",
        json_schema_extra=metavar("NAME=VALUE ..."),
    )
    fitness: Fitness = Field(
        "accuracy",
        description="what is maximised on the selection split: accuracy, or cross-entropy's "
        "negative (less noisy where the split is small), nats",
    )
    size_penalty: float = Field(
        0.0,
        ge=0,
        description="taken off the fitness for each unit of active fraction: at 0.05, a head with "
        "half of the bits is worth 0.025 more than a full one",
    )
    finalists: int = Field(
        5,
        ge=1,
        description="best genomes of the search that are trained again by the final protocol",
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="the same seed gives the same numbers on one machine"
    )


class TrainingOptions(Options):
    """How heads are trained: cheaply in the search, wholly in the end."""

    search_protocol: ProtocolOptions = Field(
        ProtocolOptions.of(SEARCH), description="training of each genome that the search asks for"
    )
    final_protocol: ProtocolOptions = Field(
        ProtocolOptions.of(PAPER),
        description="training of the dense head, the finalists and the best random masks",
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
        description="most heads trained side by side on an accelerator; what its memory allows if "
        "not given",
    )


class OutputOptions(Options):
    """What is written, and where."""

    output: UserPath | None = Field(
        None, description="folder for the results; runs/<dataset>-<mode>-<time> if not given"
    )
    overwrite: bool = Field(False, description="replace the results that are in the folder already")


class RunConfig(
    OutputOptions,
    TrainingOptions,
    SearchOptions,
    MethodOptions,
    HeadOptions,
    BackboneOptions,
    DataOptions,
    SourceOptions,
):
    """Everything that decides a run."""

    @model_validator(mode="before")
    @classmethod
    def _lay_over_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        named = given.get("protocol", "default"), given.get("mode", "features")
        return preset(*named) | given

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.density[0] > self.density[1]:
            low, high = self.density
            raise ValueError(f"density is {low} {high}, expected the lower number first")
        if self.method == "search" and self.evaluations < self.population:
            raise ValueError(
                f"evaluations is {self.evaluations} and population {self.population}, but the "
                "first generation alone takes as many evaluations as the population has genomes: "
                "raise --evaluations or lower --population"
            )
        self._refuse_sensitivities_of_connections()
        self._refuse_what_nothing_reads()
        return self

    @property
    def guided(self) -> bool:
        """The search follows sensitivities."""
        return self.method == "search" and (self.init == "sensitivity" or self.mutation_bias > 0)

    def _refuse_sensitivities_of_connections(self) -> None:
        if self.grain == "connections" and (self.guided or self.method == "sensitivity"):
            raise ValueError(
                "sensitivities rank features and units, not single weights: choose --grain "
                "neurons, or leave out --method sensitivity, --init sensitivity and --mutation-bias"
            )

    def _refuse_what_nothing_reads(self) -> None:
        search = self.method == "search"
        without = {
            "--method sensitivity": search and ("p", "keep"),
            "--method search": not search
            and ("fitness", "size_penalty", "init", "mutation_bias", "strategy_options"),
            "--init sensitivity": self.init == "random" and ("sharpness",),
            "--compare": not self.compare and ("compare_fractions",),
        }
        for needed, options in without.items():
            for name in options or ():
                if getattr(self, name) != RunConfig.model_fields[name].default:
                    flag = f"--{name.replace('_', '-')}"
                    raise ValueError(
                        f"{flag} does nothing without {needed}: add it, or drop {flag}"
                    )

    def repeatable(self) -> dict[str, Any]:
        """What decides the numbers, as plain data: all but where the results go.

        Paths are made absolute, so that the run can be repeated from another folder.
        """
        settings = self.model_dump(mode="json", exclude=set(OutputOptions.model_fields))
        if Path(self.dataset).expanduser().exists():
            settings["dataset"] = str(Path(self.dataset).expanduser().resolve())
        for name in ("data_dir", "backbone_weights"):
            if settings[name] is not None:
                settings[name] = str(Path(settings[name]).resolve())
        return settings


GROUPS: tuple[type[Options], ...] = (
    SourceOptions,
    DataOptions,
    BackboneOptions,
    HeadOptions,
    MethodOptions,
    SearchOptions,
    TrainingOptions,
    OutputOptions,
)
"""The groups in the order of ``--help``."""


def defaults() -> dict[str, Any]:
    """Every option's default, as plain nested data."""
    return RunConfig().model_dump()


def preset(name: str, mode: str) -> dict[str, Any]:
    """The settings of a named protocol.

    Args:
        name: ``default`` (nothing is changed) or ``paper``.
        mode: prune mode; the paper gives ``both`` a larger budget.
    """
    if name != "paper":
        return {}
    return {
        "selection": "test",
        "method": "search",
        "strategy": "steady-state",
        "init": "random",
        "mutation_bias": 0.0,
        "evaluations": 300 if mode == "both" else 200,
        "fitness": "accuracy",
        "size_penalty": 0.0,
        "finalists": 1,
        "search_protocol": dataclasses.asdict(PAPER),
        "final_protocol": dataclasses.asdict(PAPER),
        **genetics.PAPER,
    }


def validated(settings: dict[str, Any]) -> RunConfig:
    """The configuration of complete settings.

    Raises:
        UserError: a value is impossible; every such value is named with what was expected.
    """
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise UserError("; ".join(_sentence(dict(e)) for e in error.errors())) from None


_EXPECTED = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "literal_error": "one of {expected}",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "tuple_type": "a list",
    "dict_type": "names with values",
    "missing": "two numbers",
    "too_long": "at most {max_length} numbers",
}


def _sentence(error: dict[str, Any]) -> str:
    """One line for one pydantic error: which option, its value, what was expected."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    name = ".".join(str(part) for part in error["loc"] if not isinstance(part, int))
    value = error["input"]
    shown = value if isinstance(value, str) and value.strip() else repr(value)
    expected = _EXPECTED.get(error["type"])
    if expected is None:
        return f"{name} is {shown}: {error['msg']}"
    return f"{name} is {shown}, expected {expected.format(**error.get('ctx', {}))}"
