"""What every backbone looks like from outside: before it is loaded, and ready to run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from evojax_prune.core.errors import UserError

if TYPE_CHECKING:
    import jax

IMAGE_SIZES = (8, 4096)
"""Smallest and largest side of the images that a backbone may be asked to see, pixels."""


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A frozen network, ready to run.

    Attributes:
        name: its name in the registry.
        image_size: side S of the square images that it takes, pixels.
        features: outputs F, global-average-pooled.
        apply: compiled for each batch size when first called: images ``uint8 [b, S, S, 3]``, RGB,
            to features ``float32 [b, F]``; preprocessing is part of it. Safe to call from several
            threads.
        forward: what ``apply`` compiles, to be traced elsewhere: variables and images to features;
            None where it cannot be traced.
        variables: nested dictionaries of arrays that it takes.
        keep: the same network with only some features, ``int64 [f]``: its last convolution has only
            those channels. Raises UserError where the features do not come from one last
            convolution. None where nothing is known of its layers.
    """

    name: str
    image_size: int
    features: int
    apply: Callable[[np.ndarray], jax.Array | np.ndarray]
    forward: Callable[[Any, jax.Array], jax.Array] | None = None
    variables: Any = None
    keep: Callable[[np.ndarray], Extractor] | None = None


class Backbone(Protocol):
    """A frozen network as the registry knows it, nothing of it loaded.

    Plain attributes do for the properties below.
    """

    @property
    def name(self) -> str:
        """Its name in the registry."""
        ...

    @property
    def image_size(self) -> int:
        """Side of the images that it was trained on, pixels."""
        ...

    @property
    def preprocessing(self) -> str:
        """Tag of what is done to the pixels; a change of it makes other features."""
        ...

    def weights_id(self, weights: Path | None) -> str:
        """What identifies the weights, without loading them; features are cached under it.

        Args:
            weights: the user's own weights file; the backbone's own weights if None.

        Raises:
            UserError: the weights are missing, or a file is given that the backbone cannot take.
        """
        ...

    def load(self, weights: Path | None, image_size: int) -> Extractor:
        """The network, ready to run on images of this side, pixels.

        Raises:
            UserError: its weights are missing, damaged or of another network; or it cannot take
                images of this size.
        """
        ...


def checked_size(backbone: Backbone, image_size: int | None) -> int:
    """The side of the images: as given, else the backbone's own.

    Raises:
        UserError: it is out of bounds.
    """
    size = backbone.image_size if image_size is None else image_size
    least, most = IMAGE_SIZES
    if not least <= size <= most:
        raise UserError(
            f"--image-size is {size}, expected {least} to {most} pixels: {backbone.name} was made"
            f" for {backbone.image_size}"
        )
    return size
