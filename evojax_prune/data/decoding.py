"""Any image file as ``uint8 [h, w, 3]``."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

DECODING = "1"
"""Raise when :func:`decode_image` changes the pixels it gives: features cached before are stale."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, for each value of the EXIF orientation tag but 1."""


class UnreadableImageError(Exception):
    """The bytes are no image that can be decoded; the message is the reason, without the file."""


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
        UnreadableImageError: no image, a truncated one, or one of floating-point pixels.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            image.load()  # before the EXIF data are asked for: some formats keep them at the end
            return _rgb(_upright(image))
    except Exception as error:  # Pillow's plugins raise nearly anything on broken files
        raise UnreadableImageError(_reason(error)) from error


def check_header(path: Path) -> None:
    """Look at the head of a file only: fast, finds files that are no images, not truncated ones.

    Raises:
        UnreadableImageError: no image.
    """
    try:
        Image.open(path).close()
    except Exception as error:  # as in decode_image
        raise UnreadableImageError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image in a format that Pillow knows"
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _upright(image: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


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
