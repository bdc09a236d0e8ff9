"""The one definition of a run's configuration: YAML files, flags and ``--help`` all come from it.

Field names are the keys of a YAML file and, with dashes, the flags. Each class below is one group
of ``--help``; the groups of the methods stand in :mod:`evojax_prune.methods.options`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from evojax_prune.core.errors import UserError
from evojax_prune.core.mode import Grain, ModeName
from evojax_prune.core.options import (
    Layers,
    NameOrPath,
    Options,
    Unit,
    UserPath,
    metavar,
    sentences,
    shares,
    suggestion,
)
from evojax_prune.core.scaling import Scale
from evojax_prune.data.splitting.partition import Selection
from evojax_prune.methods import METHODS
from evojax_prune.methods.options import (
    Assignments,
    SearchOptions,
    SensitivityOptions,
    TrainingOptions,
)
from evojax_prune.objectives import OOD, SIZE
from evojax_prune.run.presets import Preset, merged, preset
from evojax_prune.run.trackers import known_trackers


class SourceOptions(Options):
    """Where settings come from: defaults, then --protocol, then --config, then flags."""

    protocol: Preset = Field(
        "default",
        description="a named set of settings; paper: search, training and selection exactly as "
        "EvoPruneDeepTL's released code has them (selection on the test split, so the result says "
        "'selected on test'); holdout: the paper's training and features, and a search for "
        "accuracy on one hold-out; backbone and image size stay as given",
    )
    plugin: tuple[UserPath, ...] = Field(
        (),
        description="Python files that register methods, objectives, data sources, backbones or "
        "writers of your own; they are imported first",
        json_schema_extra=metavar("FILE.py ..."),
    )


class DataOptions(Options):
    """Images or features, and how they are split into train, selection and test."""

    dataset: NameOrPath = Field(
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
        "resampled",
        description="where the selection split comes from: resampled: a stratified part of the "
        "training data, drawn anew in each generation of a search, so that no one split is "
        "overfitted; in the end heads are trained on all training data; holdout: one stratified "
        "part of the training data; test-half: a stratified half of the test data, the other half "
        "stays the test split; test: the test split itself (every table then says 'selected on "
        "test'); kfold: fitness is the mean over the folds of the training data",
    )
    selection_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="part of the training data held out for selection; a third where it is "
        "resampled, else 0.2 if not given",
    )
    test_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="part of the data cut off as test split where none is given; 0.2 if not given",
    )
    folds: int = Field(5, ge=2, le=10**4, description="folds of --selection kfold")
    groups: str | None = Field(
        None,
        max_length=1000,
        description="regular expression searched in each file's path below the image folder; what "
        "(?P<group>...) matches, or else all captures joined, names the file's group, and no group "
        "is split across train, selection and test",
        json_schema_extra=metavar("REGEX"),
    )
    allow_group_overlap: bool = Field(
        False, description="go on although the given train and test folders share groups"
    )
    ood: NameOrPath | None = Field(
        None,
        description="other data that a head should not take for its own, in any form that "
        "--dataset takes; of --objectives ood",
        json_schema_extra=metavar("NAME|DIR|FILE.npz"),
    )
    class_shares: Annotated[dict[str, Unit], BeforeValidator(shares)] | None = Field(
        None,
        description="part of a class's rows that is used, 0 to 1, in train and test alike; 0 "
        "leaves the class out; all rows of classes that are not named",
        json_schema_extra=metavar("CLASS=FLOAT ..."),
    )
    skip_unreadable: bool = Field(
        False, description="leave out files that are not images instead of stopping"
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
        None,
        ge=8,
        le=4096,
        description="side of the square images, pixels; the backbone's own if not given",
    )
    extraction_batch: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="images per step of feature extraction; chosen if not given",
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
    scale: Scale = Field(
        "standard",
        description="what is done to the features before a head sees them: standard: mean 0 and "
        "variance 1 over the training rows; l2: each row of length 1; none",
    )
    hidden: Layers | None = Field(
        None,
        max_length=100,
        description="units of each hidden layer; 512 if not given, 512 512 for fc1, fc2, both; "
        "linear: no hidden layer, so that the head is softmax regression (mode features)",
        json_schema_extra=metavar("INT [INT ...]|linear"),
    )


class MethodOptions(Options):
    """How the mask is found, and what the result is compared with."""

    method: str = Field(
        "search",
        description="search: a genetic search over masks; sensitivity: keep what the dense head's "
        "outputs depend on most, by p-norms of its local sensitivities, without a search",
        json_schema_extra=metavar("NAME"),
    )
    margin: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="test accuracy that a pruned head may lose and still be called not worse than "
        "the dense one",
    )
    method_options: Assignments | None = Field(
        None,
        description="options of a method that comes from a plugin",
        json_schema_extra=metavar("NAME=VALUE ..."),
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


class OutputOptions(Options):
    """What is written, and where."""

    output: UserPath | None = Field(
        None, description="folder for the results; runs/<dataset>-<mode>-<time> if not given"
    )
    overwrite: bool = Field(False, description="replace the results that are in the folder already")
    track: Annotated[tuple[str, ...], AfterValidator(known_trackers)] = Field(
        (),
        description="experiment trackers that follow the run: tensorboard, mlflow, wandb (offline "
        "unless WANDB_MODE says otherwise), each with the extra of its name",
        json_schema_extra=metavar("NAME [NAME ...]"),
    )


class RunConfig(
    OutputOptions,
    TrainingOptions,
    SearchOptions,
    SensitivityOptions,
    MethodOptions,
    HeadOptions,
    BackboneOptions,
    DataOptions,
    SourceOptions,
):
    """Everything that decides a run.

    Its fields are the flags of ``python -m evojax_prune --help``, with underscores for dashes:
    ``RunConfig(dataset="digits", size=32, final_protocol={"epochs": 60})``.

    Raises:
        ValidationError: unknown fields or impossible values.
    """

    @model_validator(mode="before")
    @classmethod
    def _lay_over_preset(cls, given: Any) -> Any:
        return merged(preset(given), given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.method == "search" and self.evaluations < self.population:
            raise ValueError(
                f"evaluations is {self.evaluations} and population {self.population}, but the "
                "first generation alone takes as many evaluations as the population has genomes: "
                "raise --evaluations or lower --population"
            )
        self._check_method()
        self._refuse_sensitivities_of_connections()
        self._check_other_data()
        self._refuse_what_nothing_reads()
        return self

    def options(self) -> Options:
        """What the chosen method reads."""
        model = METHODS[self.method].options
        if isinstance(self, model):
            return self
        try:
            return model.model_validate(self.method_options or {})
        except ValidationError as error:
            raise ValueError("; ".join(sentences(error, RunConfig.model_fields))) from None

    def _check_method(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}{suggestion(self.method, METHODS)}")
        if self.method_options and isinstance(self, METHODS[self.method].options):
            raise ValueError(
                f"--method-options does nothing with --method {self.method}, whose options are "
                "flags of their own: drop it"
            )
        self.options()

    def _refuse_sensitivities_of_connections(self) -> None:
        guided = self.method == "search" and (
            self.init == "sensitivity" or (self.init == "random" and self.mutation_bias)
        )
        if self.grain == "connections" and (guided or self.method == "sensitivity"):
            raise ValueError(
                "sensitivities rank features and units, not single weights: choose --grain "
                "neurons, or leave out --method sensitivity, --init sensitivity and --mutation-bias"
            )

    def _check_other_data(self) -> None:
        wanted = self.method == "search" and OOD in self.objectives
        if wanted and self.ood is None:
            raise ValueError("--objectives ood needs other data: name it by --ood, or drop ood")
        if self.method == "search" and self.objectives == (SIZE,):
            raise ValueError(
                "--objectives size alone would prune all: add cross-entropy, accuracy or another"
            )
        if self.ood is not None and os.path.realpath(self.ood) == os.path.realpath(self.dataset):
            raise ValueError("--ood is the data set itself: expected other data")
        if self.ood is not None and not wanted:
            raise ValueError("--ood does nothing without --objectives ood: add it, or drop --ood")

    def _refuse_what_nothing_reads(self) -> None:
        read = METHODS[self.method].options.model_fields
        unread = {
            f"--method {name}": [n for n in method.options.model_fields if n not in read]
            for name, method in METHODS.items()
            if isinstance(self, method.options)
        }
        unread |= {
            "--init sensitivity": ["sharpness"] if self.init == "random" else [],
            "several --objectives": ["choice"] if len(self.objectives) == 1 else [],
            "a single objective": ["size_penalty"] if len(self.objectives) > 1 else [],
            "--selection kfold": [] if self.selection == "kfold" else ["folds"],
            "--selection holdout or resampled": []
            if self.selection in ("holdout", "resampled")
            else ["selection_fraction"],
            "--compare": [] if self.compare else ["compare_fractions"],
        }
        for needed, names in unread.items():
            for name in names:
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
            settings["dataset"] = os.path.realpath(Path(self.dataset).expanduser())
        if self.ood is not None and Path(self.ood).expanduser().exists():
            settings["ood"] = os.path.realpath(Path(self.ood).expanduser())
        settings["plugin"] = [os.path.realpath(file) for file in self.plugin]
        for name in ("data_dir", "backbone_weights"):
            if settings[name] is not None:
                settings[name] = os.path.realpath(settings[name])
        return settings


GROUPS: tuple[type[Options], ...] = (
    SourceOptions,
    DataOptions,
    BackboneOptions,
    HeadOptions,
    MethodOptions,
    SearchOptions,
    SensitivityOptions,
    TrainingOptions,
    OutputOptions,
)
"""The groups in the order of ``--help``."""


def validated(settings: dict[str, Any]) -> RunConfig:
    """The configuration of settings, which may be partial.

    Raises:
        UserError: a value is impossible; every such value is named with what was expected.
    """
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise UserError("; ".join(sentences(error, RunConfig.model_fields))) from None
