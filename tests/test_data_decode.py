"""Every kind of image file becomes the RGB picture that a viewer shows."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

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


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "I;16", "CMYK"])
@pytest.mark.parametrize("orientation", [0, 1, *TURNS, 9])
def test_turned_pixels_are_those_of_a_plain_table(orientation: int, mode: str) -> None:
    """What was decoded before Pillow's own function turned pictures: cached features stay good."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    image = Image.fromarray(pixels)
    image = (
        image.convert("L").convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
    )
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(image, "TIFF" if mode == "CMYK" else "PNG", exif=exif)
    turned = image if orientation not in TURNS else image.transpose(TURNS[orientation])
    plain = encoded(turned, "TIFF" if mode == "CMYK" else "PNG")
    np.testing.assert_array_equal(decode_image(data), decode_image(plain))


def test_odd_exif_data_do_not_matter() -> None:
    """Pillow reads these, but cannot write them anew."""
    entries = [(0x0112, 3, 6), (0x0102, 4, 70000)]  # orientation; bits, too many for their type
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in sorted(entries)
    )
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory + bytes(4)
    image = Image.fromarray(np.ascontiguousarray(STORED[6])).convert("RGB")
    data = encoded(image, "PNG", exif=exif)
    opened = Image.open(io.BytesIO(data))
    with pytest.raises(struct.error):
        ImageOps.exif_transpose(opened)
    np.testing.assert_array_equal(decode_image(data)[..., 0], SCENE)


def bomb(side: int) -> bytes:
    """A PNG that claims to be this large, of a few bytes."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = b"IDAT" + zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (head, body, b"IEND")
    )


@pytest.mark.parametrize("side", [9460, 12_000, 13_500, 60_000])
def test_a_decompression_bomb_is_refused_silently(
    side: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(side))
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        for look in (check_header, decode_image):
            with pytest.raises(UnreadableImageError, match="more than 89 million pixels"):
                look(path)
    with pytest.raises(UnreadableImageError, match="more than 89 million"):
        decode_image(path)  # where the warning is made an error, as in these tests
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert capfd.readouterr().err == ""


def test_the_command_is_silent_about_bombs(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb(12_000))
    code = (
        "import sys; from pathlib import Path; from evojax_prune.data import decoding\n"
        "try: decoding.decode_image(Path(sys.argv[1]))\n"
        "except decoding.UnreadableImageError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "bomb.png")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "more than 89 million pixels" in done.stdout
    assert done.stderr == ""


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


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_not_a_file_never_waits(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
    }[kind]()
    for look in (check_header, decode_image):
        with pytest.raises(UnreadableImageError, match="expected a regular file"):
            look(path)


def test_rps28_is_opaque_so_that_plain_conversion_agrees(shared_data: Path) -> None:
    for path in sorted((shared_data / "rps28" / "test").glob("*/*.png"))[::40]:
        with Image.open(path) as image:
            np.testing.assert_array_equal(decode_image(path), np.asarray(image.convert("RGB")))
