"""All backbones by name, and the line that adds one."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.features.backbones.backbone import Backbone, Extractor, checked_size
from evojax_prune.features.backbones.families import KERAS, LITE

DEFAULT = "efficientnet-lite0"

BACKBONES: dict[str, Backbone] = {**LITE, **KERAS}
"""All backbones; a new one is one entry more, see also :func:`register_backbone`."""


@dataclasses.dataclass(frozen=True)
class FunctionBackbone:
    """A backbone that is any function; see :func:`register_backbone`."""

    name: str
    image_size: int
    version: str
    function: Callable[[np.ndarray], Any] = dataclasses.field(repr=False)

    @property
    def preprocessing(self) -> str:
        """The function's own business."""
        return "own"

    def weights_id(self, weights: Path | None = None) -> str:
        """The version."""
        if weights is not None:
            raise UserError(
                f"--backbone-weights does nothing with the backbone {self.name}, which has its own:"
                " leave it out"
            )
        return f"version {self.version}"

    def load(self, weights: Path | None, image_size: int) -> Extractor:
        """The function, tried on one black image to see how many features it gives."""
        self.weights_id(weights)
        width = self._checked(np.zeros((1, image_size, image_size, 3), np.uint8)).shape[1]
        return Extractor(self.name, image_size, width, self._checked)

    def _checked(self, images: np.ndarray) -> np.ndarray:
        """Features ``float32 [b, F]`` of a batch."""
        features = np.asarray(self.function(images))
        good = features.ndim == 2 and len(features) == len(images) and features.size
        if not good or features.dtype.kind not in "fiu":
            raise UserError(
                f"backbone {self.name} gives {features.dtype} {list(features.shape)} for"
                f" {len(images)} images, expected numbers [{len(images)}, features]"
            )
        return features.astype(np.float32)


def register_backbone(
    name: str, function: Callable[[np.ndarray], Any], *, image_size: int, version: str
) -> None:
    """Add a backbone of one's own, which ``--backbone`` then takes.

    Args:
        name: what to call it. A backbone that was registered under it before is replaced.
        function: images ``uint8 [b, S, S, 3]``, RGB, to features ``[b, F]`` of any type of number;
            preprocessing is part of it. It is called from several threads at once.
        image_size: side S of the images that it was made for, pixels.
        version: features are cached under it: change it whenever the function changes.

    Raises:
        UserError: the name is a built-in backbone's, or the image size is out of bounds.
    """
    if _letters(name) in {_letters(known) for known in (*LITE, *KERAS)} or not _letters(name):
        raise UserError(f"{name!r} cannot name a new backbone: choose a name that is not taken")
    backbone = FunctionBackbone(name, image_size, version, function)
    checked_size(backbone, None)
    BACKBONES[name] = backbone


def available() -> tuple[str, ...]:
    """Names of all backbones: EfficientNet-Lite, those of ``keras.applications``, then others."""
    return tuple(BACKBONES)


def find(name: str) -> Backbone:
    """The backbone of a name; case, dashes and the like do not matter.

    Raises:
        UserError: unknown backbone.
    """
    spellings = {_letters(known): known for known in BACKBONES}
    found = spellings.get(_letters(name))
    if found is not None:
        return BACKBONES[found]
    close = difflib.get_close_matches(_letters(name), spellings, n=1)
    hint = f" (did you mean {spellings[close[0]]}?)" if close else ""
    raise UserError(f"unknown backbone {name!r}{hint}, expected one of: {', '.join(available())}")


def load(name: str, weights: Path | None = None, image_size: int | None = None) -> Extractor:
    """A backbone, ready to run.

    Args:
        name: one of :func:`available`; case, dashes and the like do not matter.
        weights: file with the weights; the backbone's own if not given.
        image_size: side of the square images, pixels; the backbone's own if not given.

    Raises:
        UserError: unknown backbone; its weights are missing, damaged or of another network; or it
            cannot take images of this size.
    """
    backbone = find(name)
    return backbone.load(weights, checked_size(backbone, image_size))


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())
