"""Features of images, batch by batch."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path

import numpy as np
from PIL import Image

from evojax_prune.core.errors import UserError, in_python
from evojax_prune.core.head_card import BackboneCard
from evojax_prune.data.stream import map_ahead
from evojax_prune.features import backbones
from evojax_prune.features.backbones import Extractor
from evojax_prune.features.progress import counting

RESIZING = "pillow bilinear"
"""Tag of how images are brought to the backbone's size; a change of it makes other features."""

_CPU_BATCH = 2
"""On CPU the layers' outputs for two images still fit the caches (and what malloc keeps): twice the
speed of a batch of 16. Parallel work comes from one batch in each thread."""

_ACCELERATOR_BATCH = 64
_LARGEST_BATCH = 1024
_ACCELERATOR_WORKERS = 8
"""Threads that resize images and feed an accelerator."""


def extract_features(
    images: np.ndarray | Iterable[np.ndarray],
    backbone: str = backbones.DEFAULT,
    *,
    weights: Path | str | None = None,
    image_size: int | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> np.ndarray:
    """Global-average-pooled features of images.

    Images are drawn from an iterable as they are needed: memory holds a few batches of them and the
    features. The features do not depend on the batch size but for rounding.

    Args:
        images: ``uint8 [n, h, w, 3]``, or an iterable of ``uint8 [h, w, 3]`` of any sizes; RGB.
            Those that are not of the backbone's size are resized bilinearly (by Pillow, which
            averages when it shrinks), without regard to their shape.
        backbone: a name of :func:`evojax_prune.features.backbones.available`.
        weights: file with the backbone's weights; its own if not given.
        image_size: side of the images that the backbone sees, pixels; its own if not given.
        batch_size: images per step; chosen if not given.
        progress: show a progress bar.

    Returns:
        ``float32 [n, F]``.

    Raises:
        UserError: images of another shape or type, an unknown backbone, or its weights are missing
            or of another network.
    """
    if not isinstance(images, Iterable):
        raise UserError(
            f"images are {type(images).__name__}, expected uint8 [n, h, w, 3] or several [h, w, 3]"
        )
    total = len(images) if isinstance(images, Sized) else None
    shape = getattr(images, "shape", None)
    if shape is not None and (len(shape) != 4 or shape[-1] != 3):
        raise UserError(f"images have shape {list(shape)}, expected uint8 [n, h, w, 3] (RGB)")
    checked_batch("batch_size", batch_size)
    file = Path(weights).expanduser() if weights is not None else None
    with in_python():
        net = backbones.load(backbone, file, image_size)
    with counting("Features", total, shown=progress) as advance:
        return run(net, images, total, batch_size=batch_size, advance=advance)


def checked_batch(name: str, batch_size: int | None) -> None:
    """Refuses a number of images per step, by the name that the caller has for it.

    Raises:
        UserError: too few or too many.
    """
    if batch_size is not None and not 1 <= batch_size <= _LARGEST_BATCH:
        raise UserError(f"{name} is {batch_size}, expected 1 to {_LARGEST_BATCH} images per step")


def backbone_card(
    backbone: str, weights: Path | None = None, image_size: int | None = None
) -> BackboneCard:
    """All that features follow from but the images; nothing is loaded to say so.

    Args:
        backbone: a name of :func:`evojax_prune.features.backbones.available`.
        weights: file with its weights; the ImageNet weights if not given.
        image_size: side of the images that it sees, pixels; its own if not given.

    Raises:
        UserError: an unknown backbone, or its weights are missing.
    """
    known = backbones.find(backbone)
    return BackboneCard(
        name=known.name,
        weights=known.weights_id(weights),
        image_size=backbones.checked_size(known, image_size),
        preprocessing=f"{RESIZING}, {known.preprocessing}",
    )


def run(
    net: Extractor,
    images: Iterable[np.ndarray],
    total: int | None = None,
    *,
    batch_size: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> np.ndarray:
    """Features ``float32 [n, F]`` of images ``uint8 [h, w, 3]`` by a backbone that is loaded.

    Args:
        net: the backbone.
        images: drawn one by one, in the caller's thread.
        total: how many there are; without it, memory holds the features twice for a moment.
        batch_size: images per step; chosen if None.
        advance: called with the number of images done since the last call.

    Raises:
        UserError: an image of another shape or type, or features that are not finite.
    """
    batch, workers = _plan(batch_size)

    def features_of(chunk: list[np.ndarray]) -> np.ndarray:
        pixels = np.zeros((batch, net.image_size, net.image_size, 3), np.uint8)
        for row, image in enumerate(chunk):
            pixels[row] = resized(image, net.image_size)
        features = np.asarray(net.apply(pixels))
        if features.shape != (batch, net.features) or not net.features:
            raise UserError(
                f"backbone {net.name} gives {list(features.shape)} for {batch} images, expected "
                f"[{batch}, {net.features or 'features'}]: mend its function"
            )
        return features[: len(chunk)]

    # Compiled before the threads start: each of them would compile the program for itself.
    features_of([])
    done = map_ahead(features_of, _chunks(images, batch), workers=workers, ahead=2)
    return _gathered(_checked(done, net.name, advance), total, net.features)


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """An image ``uint8 [h, w, 3]`` as ``uint8 [size, size, 3]``.

    Raises:
        UserError: the image has another shape or type.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UserError(
            f"an image is {image.dtype} {list(image.shape)}, expected uint8 [h, w, 3] (RGB)"
        )
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def _plan(batch_size: int | None) -> tuple[int, int]:
    """Images per step, and threads that each run one step at a time."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    if jax.default_backend() == "cpu":
        return batch_size or _CPU_BATCH, cores
    return batch_size or _ACCELERATOR_BATCH, min(cores, _ACCELERATOR_WORKERS)


def _chunks(images: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    source = iter(images)
    while chunk := list(itertools.islice(source, size)):
        yield chunk


def _checked(
    batches: Iterable[np.ndarray], name: str, advance: Callable[[int], None]
) -> Iterator[np.ndarray]:
    """The batches, as long as they are finite."""
    for features in batches:
        if not np.isfinite(features).all():
            raise UserError(
                f"backbone {name} gives NaN or infinite features: its weights are damaged or of "
                "another network, give a good file with --backbone-weights"
            )
        advance(len(features))
        yield features


def _gathered(batches: Iterable[np.ndarray], total: int | None, width: int) -> np.ndarray:
    """All rows in one array."""
    if total is None:
        return np.concatenate([np.zeros((0, width), np.float32), *batches])
    rows = np.empty((total, width), np.float32)
    start = 0
    for features in batches:
        rows[start : start + len(features)] = features
        start += len(features)
    if start != total:
        raise ValueError(f"{start} images came, expected {total}")
    return rows
