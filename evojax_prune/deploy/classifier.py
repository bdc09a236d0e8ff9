"""A finished run as a classifier of images and features.

Features are classified by NumPy; JAX and the backbone are imported when the first image comes.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evojax_prune.core.compact_head import CompactHead
from evojax_prune.core.errors import UserError
from evojax_prune.core.files import checked_path
from evojax_prune.core.head_card import BackboneCard, HeadCard
from evojax_prune.data.sources.arrays import holds_numbers, numbers_of
from evojax_prune.deploy.files import open_run

if TYPE_CHECKING:
    from evojax_prune.features.backbones import Extractor

log = logging.getLogger("evojax_prune")

Inputs = str | os.PathLike[str] | np.ndarray | Sequence[Any]
"""What a classifier takes: see :meth:`Classifier.predict_proba`."""

_CHUNK = 4096
"""Images whose features are in memory at a time."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes:
        probabilities: ``float32 [C]``, in the order of the classes; NaN if there is an error.
        error: why the image could not be read; None if it could.
    """

    probabilities: np.ndarray
    error: str | None = None


class Classifier:
    """The pruned head of a run, and its backbone where images are given.

    Attributes:
        classes_: class names ``str [C]``, in the order of the probabilities.
        card: what the run says of its head: data, metrics, backbone, scaling.
        heads: the head, or one per fold, whose probabilities are averaged.
    """

    def __init__(
        self, heads: tuple[CompactHead, ...], card: HeadCard, backbone_weights: Path | None = None
    ) -> None:
        self.heads = heads
        self.card = card
        self.classes_ = np.array(card.classes, dtype=np.str_)
        self._weights = backbone_weights

    def __repr__(self) -> str:
        return f"Classifier({len(self.classes_)} classes of {self.card.data.name})"

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Class name ``str [n]`` of each input; empty where an image could not be read.

        Args:
            inputs: see :meth:`predict_proba`.
        """
        probabilities = self.predict_proba(inputs)
        readable = ~np.isnan(probabilities).any(1)
        return np.append(self.classes_, "")[np.where(readable, probabilities.argmax(1), -1)]

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """Class probabilities of images or of features.

        Args:
            inputs: one image or several, each a path or ``uint8 [h, w, 3]`` (RGB) of any size; an
                array ``uint8 [n, h, w, 3]``; or raw features ``[n, F]`` of the run's backbone, any
                type of number. Files that cannot be read are named in a warning (logger
                ``evojax_prune``), and the rest goes on.

        Returns:
            ``float32 [n, C]``; NaN in the rows of files that cannot be read.

        Raises:
            UserError: inputs of another kind, features of another width or not finite, or a
                backbone that is not the run's.
        """
        images = _images(inputs)
        if images is None:
            return self._of_features(_array(inputs))
        rows = [prediction.probabilities for prediction in self.classify(images)]
        return np.stack(rows) if rows else np.empty((0, len(self.classes_)), np.float32)

    def classify(self, images: Sequence[Any]) -> Iterator[Prediction]:
        """Predictions of images, paths or ``uint8 [h, w, 3]``, one by one in their order."""
        unknown = np.full(len(self.classes_), np.nan, np.float32)
        source = iter(images)
        while chunk := list(itertools.islice(source, _CHUNK)):
            features, errors = self._features(chunk)
            known = iter(self._of_features(features))
            for image, error in zip(chunk, errors, strict=True):
                if error is not None:
                    log.warning("%s cannot be read: %s", image, error)
                yield Prediction(next(known)) if error is None else Prediction(unknown, error)

    def check_source(self, backbone: str, weights: str | None = None) -> None:
        """Refuse features that another backbone made.

        Args:
            backbone: name of the backbone that made them.
            weights: what identifies its weights, if that is known.

        Raises:
            UserError: it is not the run's backbone, or has other weights.
        """
        from evojax_prune.features import backbones

        if self.card.backbone is None:
            raise UserError(
                f"they say that {backbone} made them, but this head was made from given features "
                f"({self.card.data.name}) of an unknown backbone: leave the array backbone out"
            )
        mine, name = self.card.backbone, backbones.find(backbone).name
        if name != mine.name:
            raise UserError(
                f"the features are those of {name}, but this head reads those of {mine.name}: "
                f"compute them with --backbone {mine.name}"
            )
        if weights is not None:
            _check_weights(mine, weights, "the features were made with")

    @functools.cached_property
    def backbone(self) -> Extractor:
        """The run's backbone, loaded when it is first needed.

        Raises:
            UserError: the run has none, or its weights or this version's preprocessing differ.
        """
        from evojax_prune.features import backbones
        from evojax_prune.features.extract import backbone_card

        mine = self._backbone_card()
        if mine.name not in backbones.available():
            raise UserError(
                f"this head reads features of the backbone {mine.name!r}, which a plugin brought: "
                "give its file with --plugin, or import it before evojax_prune.load"
            )
        here = backbone_card(mine.name, self._weights, mine.image_size)
        _check_weights(mine, here.weights, "those here are")
        if mine.preprocessing != here.preprocessing:
            raise UserError(
                f"this head was made with images prepared by {mine.preprocessing}, this version of "
                f"evojax_prune prepares them by {here.preprocessing}: use version "
                f"{self.card.written_by}, which made it"
            )
        return backbones.load(here.name, self._weights, here.image_size)

    def _backbone_card(self) -> BackboneCard:
        if self.card.backbone is None:
            raise UserError(
                f"this head was made from given features ({self.card.data.name}), so its backbone "
                "for images is not known: give features, as an array in Python, or as x in an .npz "
                "file on the command line"
            )
        return self.card.backbone

    def _features(self, images: list[Any]) -> tuple[np.ndarray, list[str | None]]:
        """Features of the images that can be read, and for each image why it cannot."""
        from evojax_prune.data.decoding import UnreadableImageError, decode_image
        from evojax_prune.data.stream import map_ahead
        from evojax_prune.features import extract

        net = self.backbone
        errors: list[str | None] = []

        def decoded(image: Any) -> np.ndarray | str:
            try:
                pixels = image if isinstance(image, np.ndarray) else decode_image(Path(image))
            except UnreadableImageError as error:
                return str(error)
            return extract.resized(pixels, net.image_size)

        def readable() -> Iterator[np.ndarray]:
            for image in map_ahead(decoded, images):
                errors.append(image if isinstance(image, str) else None)
                if not isinstance(image, str):
                    yield image

        return extract.run(net, readable()), errors

    def _of_features(self, x: np.ndarray) -> np.ndarray:
        """Probabilities ``float32 [n, C]`` of raw features."""
        from evojax_prune.analysis.metrics import mean_probabilities

        if x.ndim != 2 or not holds_numbers(x):
            raise UserError(f"inputs are {x.dtype} {list(x.shape)}, {_EXPECTED}")
        if x.shape[1] != self.card.features:
            source = self.card.backbone.name if self.card.backbone else self.card.data.name
            raise UserError(
                f"the features have {x.shape[1]} columns, expected the {self.card.features} of "
                f"{source}"
            )
        with np.errstate(over="ignore"):  # what overflows float32 is infinite, and refused below
            x = np.ascontiguousarray(x, np.float32)
        if not np.isfinite(x).all():
            row = int(np.argmin(np.isfinite(x).all(1)))
            raise UserError(f"row {row} of the features holds NaN or infinity: compute it again")
        with np.errstate(over="ignore", invalid="ignore"):
            probabilities = mean_probabilities(self.heads, x).astype(np.float32)
        if not np.isfinite(probabilities).all():
            row = int(np.argmin(np.isfinite(probabilities).all(1)))
            raise UserError(
                f"row {row} of the features is too large for this head, whose outputs overflow: "
                "give features of the scale that it was made with"
            )
        return probabilities


def load(run: str | Path, *, backbone_weights: str | Path | None = None) -> Classifier:
    """The classifier that a run found.

    The folder may come from anywhere: nothing in it is executed, and what it holds is checked.

    Args:
        run: the run's folder, or a ``head.safetensors``.
        backbone_weights: file with the backbone's weights; its own if not given. They must be those
            that the run had.

    Raises:
        UserError: the folder is missing, not a finished run, or damaged.
    """
    heads, card = open_run(checked_path(run, "run"))
    weights = None
    if backbone_weights is not None:
        weights = checked_path(backbone_weights, "backbone_weights")
    return Classifier(heads, card, weights)


def _images(inputs: Inputs) -> Sequence[Any] | None:
    """The inputs as a sequence of images; None if they are none, but perhaps features."""
    if isinstance(inputs, str | os.PathLike):
        return [inputs]
    if not isinstance(inputs, Sequence):
        inputs = _array(inputs)
    if isinstance(inputs, np.ndarray):
        return None if inputs.ndim not in (3, 4) else [inputs] if inputs.ndim == 3 else list(inputs)
    if all(isinstance(one, str | os.PathLike) for one in inputs):
        return inputs
    if any(isinstance(one, str | os.PathLike) for one in inputs):
        raise UserError(f"inputs are paths and other things, {_EXPECTED}")
    arrays = [_array(one) for one in inputs]
    return arrays if all(one.ndim == 3 for one in arrays) else None


_EXPECTED = (
    "expected paths of images, uint8 [h, w, 3] (RGB), uint8 [n, h, w, 3], or features [n, F]"
)


def _array(values: Any) -> np.ndarray:
    """An array of NumPy's, JAX's or pandas', or of lists of numbers."""
    return numbers_of(values, "inputs", _EXPECTED)


def _check_weights(mine: BackboneCard, other: str, what: str) -> None:
    """Refuse weights that are not the run's; all Keras releases download the same ones."""
    if other == mine.weights:
        return
    if mine.weights.startswith("keras ") and other.startswith("keras "):
        log.warning("this head was made with %s, %s %s", mine.weights, what, other)
        return
    raise UserError(
        f"this head was made with other weights of {mine.name} ({mine.weights[:19]}; {what} "
        f"{other[:19]}): give their file with --backbone-weights"
    )
