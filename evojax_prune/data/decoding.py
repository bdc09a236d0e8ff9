"""Any image file as ``uint8 [h, w, 3]``."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from evojax_prune.core.errors import said_of
from evojax_prune.data.files import open_file

DECODING = "1"
"""Raise when :func:`decode_image` changes the pixels it gives: features cached before are stale."""

MAX_PIXELS = 89_478_485
"""Most pixels of an image, Pillow's own limit: a small file may claim any number of them."""

_METADATA = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")

# Pillow warns of up to twice its limit, and of damaged metadata, on standard error: the one is
# refused below, the other does not matter.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class UnreadableImageError(Exception):
    """The bytes are not an image that can be decoded; the message is why, without the file."""


def decode_image(source: Path | bytes) -> np.ndarray:
    """Decode one image as a viewer would show it.

    Turned upright by its EXIF orientation; grayscale, palette and CMYK converted to RGB; 16 bits
    cut to their upper 8; transparent pixels laid on white (the colour stored under a transparent
    pixel is arbitrary, often black); of several frames the first. Opaque RGBA is unchanged.

    Args:
        source: file, or the bytes of one.

    Returns:
        ``uint8 [h, w, 3]``.

    Raises:
        UnreadableImageError: not an image, a truncated one, one of floating-point pixels, or one
            of more than :data:`MAX_PIXELS`.
    """
    with _opened(source) as image:
        _turn_upright(image)
        return _rgb(image)


def check_header(path: Path) -> None:
    """Look at the head of a file only: fast, finds files that are not images, not truncated ones.

    Raises:
        UnreadableImageError: not an image, or one of more than :data:`MAX_PIXELS`.
    """
    with _opened(path):
        pass


@contextlib.contextmanager
def _opened(source: Path | bytes) -> Iterator[Image.Image]:
    """The image, nothing of it decoded; whatever goes wrong with it becomes one kind of error."""
    try:
        with (
            io.BytesIO(source) if isinstance(source, bytes) else open_file(source) as file,
            Image.open(file) as image,
        ):
            if image.format == "EPS":  # Pillow would have Ghostscript run it
                raise ValueError("PostScript is a program, save what it draws as PNG")
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except Exception as error:  # Pillow's plugins raise nearly anything on broken files
        raise UnreadableImageError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image in a format that Pillow knows"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has more than {MAX_PIXELS / 1e6:.0f} million pixels, save it smaller"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return said_of(error)


def _turn_upright(image: Image.Image) -> None:
    image.load()  # before the EXIF data are asked for: some formats keep them at the end
    image.getexif()  # kept by Pillow from here on
    for key in _METADATA:  # else written anew without the orientation, which fails on odd ones
        image.info.pop(key, None)
    ImageOps.exif_transpose(image, in_place=True)


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range, save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        gray = _upper_byte(np.asarray(image))
        return np.repeat(gray[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def _upper_byte(gray: np.ndarray) -> np.ndarray:
    if gray.min() < 0 or gray.max() > 65535:
        raise ValueError("32-bit pixels have no known range, save it with 8 or 16 bits")
    return (gray.astype(np.uint16) >> 8).astype(np.uint8)
