"""What every backbone looks like from outside."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A frozen network, ready to run.

    Attributes:
        name: its name in the registry.
        image_size: side S of the square images that it takes, pixels.
        features: outputs F, global-average-pooled.
        apply: compiled for each batch size when first called: images ``uint8 [b, S, S, 3]``, RGB,
            to features ``float32 [b, F]``; preprocessing is part of it. Safe to call from several
            threads.
    """

    name: str
    image_size: int
    features: int
    apply: Callable[[np.ndarray], jax.Array]
