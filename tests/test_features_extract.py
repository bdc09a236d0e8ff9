from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import lite_reference
import numpy as np
import pytest
from PIL import Image

import evojax_prune
from evojax_prune.core.errors import UserError
from evojax_prune.features import backbones, extract
from evojax_prune.features.backbones import Extractor
from evojax_prune.features.progress import counting

SIZE = 32


def means(size: int = SIZE, scale: float = 1.0) -> Extractor:
    """A backbone whose features are the mean of each channel."""

    def apply(images: np.ndarray) -> jnp.ndarray:
        assert images.shape[1:] == (size, size, 3)
        assert images.dtype == np.uint8
        return jnp.asarray(images.mean((1, 2)) * scale, jnp.float32)

    return Extractor("means", size, 3, apply)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 30])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("known", [False, True])
def test_rows_come_in_order_whatever_the_batches(count: int, batch: int, known: bool) -> None:
    images = noise(count, SIZE, SIZE, 3)
    done: list[int] = []
    total = count if known else None
    features = extract.run(means(), iter(images), total, batch_size=batch, advance=done.append)
    assert features.shape == (count, 3)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, images.mean((1, 2)).reshape(-1, 3), rtol=1e-6)
    assert sum(done) == count


def test_images_of_any_size_are_resized_as_pillow_does() -> None:
    images = [noise(50, 20, 3), noise(8, 8, 3, seed=1), noise(SIZE, SIZE, 3, seed=2)]
    small = [Image.fromarray(i).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for i in images]
    expected = np.stack([np.asarray(i).mean((0, 1)) for i in small])
    np.testing.assert_allclose(extract.run(means(), images), expected, rtol=1e-6)


class Live:
    """Counts how many of the images that it made are still in memory."""

    def __init__(self, count: int) -> None:
        self.count, self.now, self.most = count, 0, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for i in range(self.count):
            image = np.full((64, 64, 3), i % 256, np.uint8)
            weakref.finalize(image, self._gone)
            self.now += 1
            self.most = max(self.most, self.now)
            yield image

    def _gone(self) -> None:
        self.now -= 1


def test_memory_holds_a_bounded_number_of_images() -> None:
    most = []
    for count in (100, 400):
        live = Live(count)
        extract.run(means(), live, count, batch_size=2)
        most.append(live.most)
    _, workers = extract._plan(2)
    bound = 2 * (2 * workers + workers + 2)  # queued, being run, and being gathered
    assert max(most) <= bound
    gc.collect()


def test_peak_memory_does_not_grow_with_the_number_of_images() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        extract.run(means(), iter(Live(count)), count, batch_size=2)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(8)
    small, large = peak(100), peak(800)
    image = 64 * 64 * 3
    assert large - small < 50 * image + 700 * 3 * 4  # 700 more images would be 8.6 MB


def test_an_error_in_the_source_ends_the_run() -> None:
    def images() -> Iterator[np.ndarray]:
        yield noise(SIZE, SIZE, 3)
        raise UserError("a.jpg is no image")

    with pytest.raises(UserError, match=r"a\.jpg is no image"):
        extract.run(means(), images())


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), r"an image is float32 \[8, 8, 3\], expected uint8"),
        (np.zeros((2, 8, 8, 1), np.uint8), r"shape \[2, 8, 8, 1\], expected uint8 \[n, h, w, 3\]"),
        (np.zeros((8, 8, 3), np.uint8), r"shape \[8, 8, 3\]"),
        ([np.zeros((8, 8), np.uint8)], r"an image is uint8 \[8, 8\]"),
        ([np.zeros((0, 8, 3), np.uint8)], r"an image is uint8 \[0, 8, 3\]"),
    ],
)
def test_what_is_no_image_is_refused(
    images: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_: means())
    with pytest.raises(UserError, match=words):
        evojax_prune.extract_features(images)  # type: ignore[arg-type]


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UserError, match="means gives NaN or infinite features"):
        extract.run(means(scale=np.nan), [noise(SIZE, SIZE, 3)])


def test_a_wrong_count_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 images came, expected 2"):
        extract.run(means(), [noise(SIZE, SIZE, 3)], 2)


def test_the_public_function_gives_the_backbone_s_features() -> None:
    images = lite_reference.images(97)
    features = evojax_prune.extract_features(images, image_size=97, batch_size=3)
    expected = np.load(lite_reference.FILE)["efficientnet-lite0 97"]
    np.testing.assert_allclose(features[:, :: lite_reference.EVERY], expected, atol=1e-4)


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"image_size": 0}])
def test_arguments_are_called_as_python_has_them(change: dict[str, int]) -> None:
    with pytest.raises(UserError, match=rf"^{next(iter(change))} is 0, expected"):
        evojax_prune.extract_features(np.zeros((1, 8, 8, 3), np.uint8), **change)


def test_unknown_backbones_and_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown backbone 'alexnet'"):
        evojax_prune.extract_features(noise(1, 8, 8, 3), "alexnet")
    with pytest.raises(UserError, match="not found"):
        evojax_prune.extract_features(noise(1, 8, 8, 3), weights=tmp_path / "none.pth")


def test_the_progress_bar_counts_images(capsys: pytest.CaptureFixture[str]) -> None:
    with counting("Features of x", 4, shown=True) as advance:
        advance(3)
        advance(1)
    shown = capsys.readouterr()
    assert "Features of x" in shown.err
    assert "4/4" in shown.err
    with counting("nothing", 4, shown=False) as advance:
        advance(4)
    assert capsys.readouterr() == ("", "")
