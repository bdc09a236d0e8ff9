"""What a study is asked to do: one typed definition for flags and YAML files."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tyro
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evojax_prune.core.errors import UserError
from evojax_prune.core.mode import ModeName
from evojax_prune.core.protocol import PAPER, Protocol
from evojax_prune.core.ranking import REDUCTION_LEVELS
from evojax_prune.data.splitting.partition import Selection
from evojax_prune.run.presets import merged

Baseline = Literal[
    "weights", "activation-mean", "activation-variance", "gradient-input", "random", "highest"
]
"""Rankings that sensitivities are held against; ``highest`` drops the most sensitive units first,
which should do the most harm."""

BASELINES: tuple[Baseline, ...] = (
    "weights",
    "activation-mean",
    "activation-variance",
    "gradient-input",
    "random",
    "highest",
)


class DatasetSettings(BaseModel):
    """How one data set is split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    selection: Selection = "holdout"
    selection_fraction: float = Field(0.2, gt=0, lt=1)
    groups: str | None = None
    allow_group_overlap: bool = False


class Study(BaseModel):
    """A grid of data sets, backbones, norms, reduction levels and seeds.

    Attributes:
        datasets: image folders, features files, ``digits`` or TensorFlow Datasets names.
        backbones: names of backbones.
        seeds: each decides splits, initial weights, minibatches and the random ranking.
        p: exponents over the patterns, at least 1, or inf.
        p_outputs: exponent over the outputs; the same as over the patterns if not given.
        levels: fractions of the units that are dropped, in [0, 0.99].
        baselines: other rankings to hold the norms against.
        of: outputs that are derived.
        weighting: what sensitivities are multiplied by: nothing, or each unit's deviation.
        mode: what is pruned: features, or units of the hidden layers.
        hidden: units of each hidden layer; 512 each if not given.
        fine_tune: go on from the dense head's weights instead of training from scratch.
        protocol: how every head is trained.
        data_dir: where TensorFlow Datasets keeps its data.
        image_size: side of the images, pixels; the backbone's own if not given.
        dataset_settings: how a data set is split, by its name; only in the YAML file.
        backbone_weights: weights file of a backbone, by its name; only in the YAML file.
        output: folder for the results; a study that was stopped goes on from there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    datasets: tuple[str, ...] = Field(("digits",), min_length=1)
    backbones: tuple[str, ...] = Field(("efficientnet-lite0",), min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0, 1, 2), min_length=1)
    p: tuple[Annotated[float, Field(ge=1)], ...] = Field((1.0, 2.0, float("inf")), min_length=1)
    p_outputs: Annotated[float, Field(ge=1)] | None = None
    levels: tuple[Annotated[float, Field(ge=0, le=0.99)], ...] = Field(
        REDUCTION_LEVELS, min_length=1
    )
    baselines: tuple[Baseline, ...] = BASELINES
    of: Literal["probabilities", "logits"] = "probabilities"
    weighting: Literal["none", "std"] = "none"
    mode: ModeName = "features"
    hidden: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    fine_tune: bool = False
    protocol: Protocol = PAPER
    data_dir: Path | None = None
    image_size: Annotated[int, Field(ge=1)] | None = None
    dataset_settings: Annotated[dict[str, DatasetSettings], tyro.conf.Suppress] = {}
    backbone_weights: Annotated[dict[str, Path], tyro.conf.Suppress] = {}
    output: Path = Path("runs/pnorm")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        kfold = [name for name, d in self.dataset_settings.items() if d.selection == "kfold"]
        if self.fine_tune and kfold:
            raise ValueError(
                f"fine_tune goes on from one dense head, but {kfold[0]} is split by kfold, which "
                "trains one per fold: choose another selection"
            )
        return self

    def split_of(self, dataset: str) -> DatasetSettings:
        """How a data set is split."""
        return self.dataset_settings.get(dataset, DatasetSettings())

    def digest(self, dataset: str, backbone: str) -> str:
        """Hex digest of what decides the numbers of one data set and backbone, seed apart."""
        settings = self.model_dump(mode="json", exclude=_NOT_A_NUMBER)
        settings["p"] = [str(p) for p in (*self.p, self.p_outputs)]  # JSON has no inf
        settings["dataset"] = dataset, self.split_of(dataset).model_dump(mode="json")
        settings["backbone"] = backbone, str(self.backbone_weights.get(backbone))
        text = json.dumps(settings, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


_NOT_A_NUMBER = {
    "datasets",
    "backbones",
    "seeds",
    "data_dir",
    "dataset_settings",
    "backbone_weights",
    "p_outputs",
    "output",
}


def parse(args: Sequence[str] | None = None) -> Study:
    """The study of a command line: defaults, then ``--config FILE.yaml``, then flags.

    Raises:
        UserError: an unreadable file, or values that are impossible.
        SystemExit: after ``--help``, or a flag that is unknown (status 2).
    """
    args = list(sys.argv[1:] if args is None else args)
    file: dict[str, Any] = {}
    if "--config" in args:
        at = args.index("--config")
        if at + 1 == len(args):
            raise UserError("--config needs a file")
        file = _read(Path(args[at + 1]))
        del args[at : at + 2]
    try:
        return tyro.cli(
            Study,
            args=args,
            default=Study.model_validate(merged(Study().model_dump(), file)),
            prog="python -m experiments.pnorm [--config FILE.yaml]",
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{where or 'the study'}: {first['msg']}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read the study {path}: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise UserError(f"the study {path} holds no 'key: value' lines")
    return settings
