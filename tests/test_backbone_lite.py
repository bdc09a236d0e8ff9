from __future__ import annotations

import importlib.util
from pathlib import Path

import lite_reference
import numpy as np
import pytest
import torch_files
from hypothesis import given
from hypothesis import strategies as st

from evojax_prune.core.errors import UserError
from evojax_prune.features import backbones
from evojax_prune.features.backbones import lite
from evojax_prune.features.backbones.torch_file import load_tensors


def needs_weights(name: str) -> None:
    package = backbones.LITE[name].package.replace("-", "_")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the weights package of {name} is not installed")


@pytest.mark.slow  # the smallest one is tested through the public function
@pytest.mark.parametrize(("name", "size"), lite_reference.CASES)
def test_features_are_those_of_the_published_implementation(name: str, size: int) -> None:
    needs_weights(name)
    net = backbones.load(name, image_size=size)
    assert (net.name, net.image_size, net.features) == (name, size, 1280)
    features = np.asarray(net.apply(lite_reference.images(size)))
    assert features.shape == (2, 1280)
    assert features.dtype == np.float32
    expected = np.load(lite_reference.FILE)[f"{name} {size}"]
    np.testing.assert_allclose(features[:, :: lite_reference.EVERY], expected, atol=1e-4)


def test_folding_is_exact() -> None:
    """A folded layer does what convolution and batch normalisation did, in float64."""
    name = "efficientnet-lite0"
    path = backbones.LITE[name].weights_file()
    tensors = {k: v.astype(np.float64) for k, v in load_tensors(path).items()}
    made = lite.blocks(1.0, 1.0)
    folded = lite._fold(tensors, made)
    x = np.random.default_rng(0).normal(size=(50, 16))
    kernel = tensors["_blocks.1._expand_conv.weight"][:, :, 0, 0].T
    gain, shift, mean, variance = (
        tensors[f"_blocks.1._bn0.{k}"] for k in ("weight", "bias", "running_mean", "running_var")
    )
    expected = (x @ kernel - mean) / np.sqrt(variance + 1e-3) * gain + shift
    layer = folded["block_1_expand"]
    np.testing.assert_allclose(x @ layer["kernel"] + layer["bias"], expected, atol=1e-5)


@given(st.floats(0.1, 4, exclude_min=True), st.integers(1, 512))
def test_scaled_channels_are_multiples_of_eight_near_the_wish(width: float, channels: int) -> None:
    rounded = lite._rounded(width * channels)
    assert rounded % 8 == 0
    assert rounded >= max(8, 0.9 * width * channels)


def test_blocks_follow_the_depth() -> None:
    assert [len(lite.blocks(n.width, n.depth)) for n in backbones.LITE.values()] == [16, 21, 21]


def small_change(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    """Lite0's tensors with some changed, added, or (None) left out."""
    path = backbones.LITE["efficientnet-lite0"].weights_file()
    tensors = load_tensors(path) | changes
    return {k: np.array(v) for k, v in tensors.items() if v is not None}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_conv_head.weight": None}, "_conv_head.weight is missing"),
        ({"_bn1.bias": np.zeros(7, "f4")}, r"_bn1.bias is \[7\], \[1280\] expected"),
        ({"_blocks.16._bn0.bias": np.zeros(7, "f4")}, r"16._bn0.bias is \[7\], none expected"),
        ({"_bn0.bias": np.full(32, np.nan, "f4")}, "_bn0.bias holds NaN"),
    ],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, change: dict[str, np.ndarray | None], words: str
) -> None:
    path = torch_files.write(tmp_path / "net.pth", small_change(**change))
    with pytest.raises(UserError, match=words):
        backbones.load("efficientnet-lite0", path)


@pytest.mark.slow
def test_a_fine_tuned_classifier_does_not_matter(tmp_path: Path) -> None:
    tensors = small_change(**{"_fc.weight": np.zeros((3, 1280), "f4"), "_fc.bias": None})
    path = torch_files.write(tmp_path / "mine.pt", tensors, zipped=True)
    images = lite_reference.images(32)
    mine, own = (backbones.load("efficientnet-lite0", p, 32).apply(images) for p in (path, None))
    np.testing.assert_array_equal(mine, own)
