"""A finished run as a classifier of images and features.

With features to predict, NumPy does all the work; JAX and the backbone come with the first image.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evojax_prune.core.compact_head import CompactHead
from evojax_prune.core.errors import UserError
from evojax_prune.core.head_card import BackboneCard, HeadCard
from evojax_prune.deploy.opening import open_run

if TYPE_CHECKING:
    from evojax_prune.features.backbones.backbone import Backbone

log = logging.getLogger("evojax_prune")

Inputs = str | os.PathLike[str] | np.ndarray | Sequence[Any]
"""What a classifier takes: see :meth:`Classifier.predict_proba`."""

_ROWS = 4096
"""Images whose features are in memory at a time."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One row.

    Attributes:
        probabilities: ``float32 [C]``, in the order of the classes; NaN where there is an error.
        error: why the image could not be read; None where it could.
    """

    probabilities: np.ndarray
    error: str | None = None


class Classifier:
    """The pruned head of a run, with its backbone where images are given.

    Attributes:
        classes_: class names ``str [C]``, in the order of the probabilities.
        card: what the run says of its head: data, metrics, backbone, scaling.
        heads: the head, or one per fold, whose probabilities are averaged.
    """

    def __init__(
        self,
        heads: tuple[CompactHead, ...],
        card: HeadCard,
        backbone_weights: Path | None = None,
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
        names = np.append(self.classes_, "")
        if not len(probabilities):
            return names[:0]
        return names[np.where(readable, probabilities.argmax(1), -1)]

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """Class probabilities of images or of features.

        Args:
            inputs: one image or several, each a path or ``uint8 [h, w, 3]`` of any size; an array
                ``uint8 [n, h, w, 3]``; or raw features ``[n, F]`` of the run's backbone, any kind
                of number. Files that cannot be read are named in a warning (logger
                ``evojax_prune``), and the rest goes on.

        Returns:
            ``float32 [n, C]``; NaN in the rows of files that cannot be read.

        Raises:
            UserError: inputs of another kind, features of another width or not finite, or a
                backbone that is not the run's.
        """
        kind, rows = _sorted_out(inputs)
        if kind == "features":
            return self._of_features(np.asarray(rows))
        predictions = list(self.classify(rows))
        return np.stack([p.probabilities for p in predictions]) if predictions else self._nothing(0)

    def classify(
        self, images: Sequence[Any], advance: Callable[[int], None] = lambda _: None
    ) -> Iterator[Prediction]:
        """Predictions of images, one by one in their order.

        Args:
            images: paths or ``uint8 [h, w, 3]``.
            advance: called with the number of images done since the last call.
        """
        source = iter(images)
        while chunk := list(itertools.islice(source, _ROWS)):
            features, errors = self._features(chunk, advance)
            known = iter(self._of_features(features))
            for image, error in zip(chunk, errors, strict=True):
                if error is None:
                    yield Prediction(next(known))
                else:
                    log.warning("%s cannot be read as an image: %s", image, error)
                    yield Prediction(self._nothing(1)[0], error)

    def check_source(self, backbone: str, weights: str | None = None) -> None:
        """Refuse features that another backbone made.

        Args:
            backbone: name of the backbone that made them.
            weights: what identifies its weights, if that is known.

        Raises:
            UserError: it is not the run's backbone, or has other weights.
        """
        from evojax_prune.features import backbones

        mine = self._backbone_card()
        name = backbones.canonical(backbone)
        if name != backbones.canonical(mine.name):
            raise UserError(
                f"the features are of {name}, but this head reads those of {mine.name}: "
                f"compute them with --backbone {mine.name}"
            )
        if weights is not None:
            _check_weights(mine, weights, "the features were made with")

    @functools.cached_property
    def backbone(self) -> Backbone:
        """The backbone, loaded when it is first needed and seen to be the run's.

        Raises:
            UserError: the run has none, or its weights are not at hand.
        """
        from evojax_prune.features import backbones
        from evojax_prune.features.extract import backbone_card

        mine = self._backbone_card()
        here = backbone_card(mine.name, self._weights, mine.image_size)
        if mine.weights is None:
            log.warning(
                "this run does not say which weights its backbone %s had: those here are taken",
                mine.name,
            )
        else:
            _check_weights(mine, here.weights, "those here are")
        if mine.preprocessing not in (None, here.preprocessing):
            raise UserError(
                f"this head was made with images prepared by {mine.preprocessing}, this version of "
                f"evojax_prune prepares them by {here.preprocessing}: use the version that made "
                f"it{'' if self.card.written_by is None else f', {self.card.written_by}'}"
            )
        net = backbones.load(here.name, self._weights, here.image_size)
        self._check_width(net.features, f"backbone {net.name} gives")
        return net

    def _backbone_card(self) -> BackboneCard:
        if self.card.backbone is None:
            raise UserError(
                f"this head was made from a features file ({self.card.data.name}), so that no "
                "backbone is known for images: give features"
            )
        return self.card.backbone

    def _features(
        self, images: list[Any], advance: Callable[[int], None]
    ) -> tuple[np.ndarray, list[str | None]]:
        """Features of those images that can be read, and for each image why it cannot."""
        from evojax_prune.data.decoding import UnreadableImageError, decode_image
        from evojax_prune.data.stream import map_ahead
        from evojax_prune.features import extract

        net = self.backbone

        def decoded(image: Any) -> np.ndarray | str:
            if isinstance(image, np.ndarray):
                return extract.resized(image, net.image_size)
            try:
                return extract.resized(decode_image(_regular(Path(image))), net.image_size)
            except UnreadableImageError as error:
                return str(error)

        errors: list[str | None] = []

        def readable() -> Iterator[np.ndarray]:
            for image in map_ahead(decoded, images):
                errors.append(image if isinstance(image, str) else None)
                if isinstance(image, str):
                    advance(1)
                else:
                    yield image

        return extract.run(net, readable(), advance=advance), errors

    def _of_features(self, x: np.ndarray) -> np.ndarray:
        """Probabilities ``float32 [n, C]`` of raw features."""
        if x.ndim != 2 or x.dtype.kind not in "fiu":
            raise UserError(
                f"features are {x.dtype} {list(x.shape)}, expected numbers [n, F] such as float32"
            )
        self._check_width(x.shape[1], "the features have")
        with np.errstate(over="ignore"):  # what overflows float32 is infinite, and refused below
            x = np.ascontiguousarray(x, np.float32)
        if not np.isfinite(x).all():
            row = int(np.argmin(np.isfinite(x).all(1)))
            raise UserError(f"row {row} of the features holds NaN or infinity: compute it again")
        folds = [_softmax(head.logits(x)) for head in self.heads]
        return np.mean(folds, axis=0, dtype=np.float32) if len(folds) > 1 else folds[0]

    def _check_width(self, width: int, what: str) -> None:
        needed = self.card.features
        if needed is None:  # format 2 without its result.json
            last = max((int(h.features.max(initial=-1)) for h in self.heads), default=-1)
            if width > last:
                return
            expected = f"more than {last}"
        elif width == needed:
            return
        else:
            source = self.card.backbone.name if self.card.backbone else self.card.data.name
            expected = f"the {needed} of {source}"
        raise UserError(f"{what} {width} columns, expected {expected}")

    def _nothing(self, rows: int) -> np.ndarray:
        return np.full((rows, len(self.classes_)), np.nan, np.float32)


def load(run: str | Path, *, backbone_weights: str | Path | None = None) -> Classifier:
    """The classifier that a run found.

    The folder may come from anywhere: nothing in it is run, and what it holds is checked.

    Args:
        run: the run's folder, or a ``head.safetensors``.
        backbone_weights: file with the backbone's weights; the ImageNet weights if not given. They
            must be those that the run had.

    Raises:
        UserError: the folder is missing, not a finished run, or damaged.
    """
    heads, card = open_run(Path(run).expanduser())
    weights = None if backbone_weights is None else Path(backbone_weights).expanduser()
    return Classifier(heads, card, weights)


def _sorted_out(inputs: Inputs) -> tuple[str, Sequence[Any]]:
    """Whether the inputs are images or features, and their rows.

    Raises:
        UserError: they are neither.
    """
    if isinstance(inputs, str | os.PathLike):
        return "images", [inputs]
    if isinstance(inputs, list | tuple):
        if not inputs or all(isinstance(one, str | os.PathLike) for one in inputs):
            return "images", inputs
        if all(getattr(one, "ndim", 0) == 3 for one in inputs):
            return "images", [_pixels(np.asarray(one)) for one in inputs]
    array = np.asarray(inputs)
    if array.ndim == 3:
        return "images", [_pixels(array)]
    if array.ndim == 4:
        return "images", [_pixels(one) for one in array]
    if array.ndim == 2 and array.dtype.kind in "fiu":
        return "features", array
    raise UserError(
        f"inputs are {array.dtype} {list(array.shape)}, expected paths of images, uint8 [h, w, 3], "
        "uint8 [n, h, w, 3], or features [n, F]"
    )


def _pixels(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.shape[2] != 3 or 0 in image.shape:
        raise UserError(
            f"an image is {image.dtype} {list(image.shape)}, expected uint8 [h, w, 3] (RGB)"
        )
    return image


def _regular(path: Path) -> Path:
    """The path of a regular file: a pipe would wait for ever."""
    from evojax_prune.data.decoding import UnreadableImageError

    if not path.exists():
        raise UnreadableImageError("there is no such file")
    if not path.is_file():
        raise UnreadableImageError("not a file")
    return path


def _check_weights(mine: BackboneCard, other: str | None, what: str) -> None:
    """Refuse weights that are not the run's; another Keras release loads the same ones."""
    if mine.weights is None or other is None or other == mine.weights:
        return
    if mine.weights.startswith("keras ") and other.startswith("keras "):
        log.warning("this head was made with %s, %s %s", mine.weights, what, other)
        return
    raise UserError(
        f"this head was made with other weights of {mine.name} ({_short(mine.weights)}; {what} "
        f"{_short(other)}): give their file with --backbone-weights"
    )


def _short(weights: str) -> str:
    return weights if len(weights) < 32 else f"{weights[:19]}..."


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)
