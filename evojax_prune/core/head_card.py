"""What ``head.safetensors`` says of itself: its metadata, key ``evojax_prune``, a JSON object.

The field descriptions below are the documentation; ``HeadCard.model_json_schema()`` gives them as
JSON Schema. The format's number rises when a field changes its meaning or goes.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from evojax_prune.core.mode import Grain, ModeName
from evojax_prune.core.scaling import Scale

FORMAT: Final = "evojax_prune/head/3"

Name = Annotated[str, Field(max_length=10_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class CardPart(BaseModel):
    """A part of the card; every field is described."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BackboneCard(CardPart):
    """The frozen network that made the features."""

    name: Name = Field(description="its name in the registry, such as efficientnet-lite0")
    weights: Name = Field(
        description="what identifies its weights: 'sha256 ' and the file's digest, the Keras "
        "release that downloads them, or the version of a backbone of one's own"
    )
    image_size: int = Field(
        ge=1, le=8192, description="side of the square images that it takes, pixels"
    )
    preprocessing: Name = Field(description="tag of how images are resized and their pixels scaled")


class DataCard(CardPart):
    """The data that the head was trained, selected and tested on."""

    name: Name = Field(description="data set")
    version: Name = Field(description="its version, or a digest of its content")
    digest: Name = Field(description="digest of the rows of every split")
    train: int = Field(ge=0, description="rows that it was trained on (first fold's)")
    selection: int = Field(ge=0, description="rows that it was selected on")
    test: int = Field(ge=0, description="rows that it was tested on")


class HeadMetrics(CardPart):
    """How one head did; over folds, means."""

    test_accuracy: Fraction = Field(description="accuracy on the test split, 0 to 1")
    test_interval: tuple[Fraction, Fraction] = Field(
        description="its 95% interval, rows taken as independent"
    )
    selection_accuracy: Fraction | None = Field(
        description="accuracy on the selection split, 0 to 1; null if there is none"
    )
    parameters: int = Field(ge=0, description="parameters that are kept")


class HeadCard(CardPart):
    """Everything that is needed to use a head, and to say what it is."""

    format: Literal["evojax_prune/head/3"] = Field(
        FORMAT, description="name and version of this layout"
    )
    backbone: BackboneCard | None = Field(
        description="what made the features; null where they came from a file"
    )
    features: int = Field(ge=1, le=10_000_000, description="raw features F that go in")
    hidden: tuple[Annotated[int, Field(ge=1, le=10_000_000)], ...] = Field(
        max_length=1000, description="units of each hidden layer of the dense head"
    )
    scaling: Scale = Field(
        "none",
        description="what is done to raw features: none; l2: each row divided by its length; "
        "standard: of those that the head reads, scaling.mean is subtracted and by scaling.scale "
        "divided, tensors of the same file",
    )
    classes: tuple[Name, ...] = Field(
        min_length=1, max_length=1_000_000, description="names, in the order of the head's outputs"
    )
    mode: ModeName = Field(description="where the mask sits")
    grain: Grain = Field(description="what one bit of the mask switches")
    groups: Name | None = Field(
        None, description="pattern that named the groups of images that no split cuts, if any"
    )
    data: DataCard = Field(description="what it was made of")
    metrics: dict[Name, HeadMetrics] = Field(
        description="pruned: this head; dense: the whole head trained likewise; random: the best "
        "of random masks of its size"
    )
    selected_on_test: bool = Field(False, description="selection was made on the test split")
    sentence: Name = Field(description="pruned against dense on test, in words")
    written_by: Name = Field(description="version of evojax_prune")
