"""What every backbone looks like from outside."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

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
        forward: what ``apply`` compiles, to be traced elsewhere: variables and images to features;
            None where it cannot be traced.
        variables: nested dictionaries of arrays that it takes.
        keep: the same backbone with only some features, ``int64 [f]``: its last convolution gives
            no others, and those are the same numbers. Raises UserError where it is not by itself
            what makes the features. None where nothing is known of its layers.
    """

    name: str
    image_size: int
    features: int
    apply: Callable[[np.ndarray], jax.Array]
    forward: Callable[[Any, jax.Array], jax.Array] | None = None
    variables: Any = None
    keep: Callable[[np.ndarray], Backbone] | None = None
