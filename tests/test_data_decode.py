"""Every kind of image file becomes the RGB picture that a viewer shows."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from evojax_prune.data.decoding import UnreadableImageError, check_header, decode_image

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.fixture
def gray() -> np.ndarray:
    return np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def test_grayscale_is_repeated(gray: np.ndarray) -> None:
    rgb = decode_image(encoded(Image.fromarray(gray)))
    assert rgb.dtype == np.uint8
    assert rgb.flags.writeable
    np.testing.assert_array_equal(rgb, np.repeat(gray[..., None], 3, 2))


def test_bilevel_is_black_and_white() -> None:
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    np.testing.assert_array_equal(decode_image(encoded(image)), [[(0, 0, 0), WHITE]])


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_keep_the_upper_8(gray: np.ndarray, form: str) -> None:
    deep = gray.astype(np.uint16) * 256 + 77
    rgb = decode_image(encoded(Image.fromarray(deep), form))
    np.testing.assert_array_equal(rgb, np.repeat(gray[..., None], 3, 2))


def test_16_bits_in_a_32_bit_mode(gray: np.ndarray) -> None:
    deep = gray.astype(np.int32) * 256 + 77
    rgb = decode_image(encoded(Image.fromarray(deep), "TIFF"))
    np.testing.assert_array_equal(rgb[..., 0], gray)


def test_opaque_rgba_is_plain_rgb() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 4), np.uint8)
    pixels[..., 3] = 255
    rgb = decode_image(encoded(Image.fromarray(pixels, "RGBA")))
    np.testing.assert_array_equal(rgb, pixels[..., :3])


def test_transparent_pixels_lie_on_white() -> None:
    pixels = np.array([[(255, 0, 0, 255), (0, 0, 0, 0), (0, 0, 255, 0)]], np.uint8)
    rgb = decode_image(encoded(Image.fromarray(pixels, "RGBA")))
    np.testing.assert_array_equal(rgb, [[RED, WHITE, WHITE]])


def test_transparent_gray_lies_on_white() -> None:
    pixels = np.array([[(0, 255), (0, 0)]], np.uint8)
    rgb = decode_image(encoded(Image.fromarray(pixels, "LA")))
    np.testing.assert_array_equal(rgb, [[(0, 0, 0), WHITE]])


@pytest.mark.parametrize("transparency", [None, 1, bytes([255, 0])])
def test_palette(transparency: int | bytes | None) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    options = {} if transparency is None else {"transparency": transparency}
    rgb = decode_image(encoded(image, **options))
    np.testing.assert_array_equal(rgb, [[RED, BLUE if transparency is None else WHITE]])


def test_cmyk() -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    rgb = decode_image(encoded(image, "JPEG", quality=95))
    assert np.abs(rgb.astype(int) - RED).max() < 8


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (2, 2), color) for color in (RED, BLUE)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode_image(data), np.broadcast_to(RED, (2, 2, 3)))


# What a camera stores of the scene below, held in each of the ways that EXIF numbers.
SCENE = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
STORED = {
    1: SCENE,
    2: SCENE[:, ::-1],
    3: SCENE[::-1, ::-1],
    4: SCENE[::-1],
    5: SCENE.T,
    6: np.rot90(SCENE, 1),
    7: SCENE[::-1, ::-1].T,
    8: np.rot90(SCENE, -1),
}


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation])).convert("RGB")
    options = {"lossless": True} if form == "WEBP" else {}
    rgb = decode_image(encoded(image, form, exif=exif, **options))
    np.testing.assert_array_equal(rgb[..., 0], SCENE)


def test_truncated_file_passes_the_head_but_not_the_decoder(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = tmp_path / "cut.jpg"
    path.write_bytes(encoded(Image.fromarray(noise), "JPEG")[:1500])
    check_header(path)
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode_image(path)


@pytest.mark.parametrize("data", [b"", b"no image at all", b"\x89PNG\r\n\x1a\nbroken"])
def test_what_is_no_image(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError):
        check_header(path)
    with pytest.raises(UnreadableImageError):
        decode_image(data)


@pytest.mark.parametrize("pixels", [np.ones((2, 2), np.float32), np.full((2, 2), 70000, np.int32)])
def test_pixels_without_a_known_range(pixels: np.ndarray) -> None:
    with pytest.raises(UnreadableImageError, match="no known range"):
        decode_image(encoded(Image.fromarray(pixels), "TIFF"))


def test_rps28_is_opaque_so_that_plain_conversion_agrees(shared_data: Path) -> None:
    for path in sorted((shared_data / "rps28" / "test").glob("*/*.png"))[::40]:
        with Image.open(path) as image:
            np.testing.assert_array_equal(decode_image(path), np.asarray(image.convert("RGB")))
