from __future__ import annotations

import importlib.util
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from evojax_prune.core.errors import UserError
from evojax_prune.features import backbones
from evojax_prune.features.backbones import keras_networks

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="keras is not installed"),
    pytest.mark.filterwarnings("ignore"),  # Keras's own, which come and go with its versions
]

NAME, SIZE = "mobilenet", 32


@pytest.fixture(scope="module")
def keras() -> Any:
    return keras_networks._import_keras(NAME)


@pytest.fixture(scope="module")
def network(keras: Any) -> Iterator[Any]:
    """MobileNet with random weights: the smallest of keras.applications."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        model = keras_networks._build(keras, backbones.KERAS[NAME], SIZE)
        random = np.random.default_rng(0)
        model.set_weights(
            [random.normal(1, 0.3, w.shape).astype("f4") / w.size**0.5 + (w.ndim == 1) * 0.5
             for w in model.get_weights()]
        )  # fmt: skip
        yield model


def images(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "suffix",
    [".weights.h5", *(pytest.param(name, marks=pytest.mark.slow) for name in (".keras", ".h5"))],
)
def test_features_are_those_that_keras_gives(
    keras: Any, network: Any, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"net{suffix}"
    (network.save_weights if suffix == ".weights.h5" else network.save)(path)
    net = backbones.load("MobileNet", path, SIZE)
    assert (net.name, net.image_size, net.features) == (NAME, SIZE, 1024)
    features = np.asarray(net.apply(images(2)))
    x = keras.applications.mobilenet.preprocess_input(images(2).astype(np.float32))
    expected = network.predict(x, verbose=0)
    assert features.dtype == np.float32
    assert expected.std() > 0
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
def test_a_file_with_a_top_serves_as_well(keras: Any, network: Any, tmp_path: Path) -> None:
    top = keras.layers.Dense(3, name="top")
    whole = keras.Sequential([*network.layers, top])
    whole.save(tmp_path / "whole.h5")
    net = backbones.load(NAME, tmp_path / "whole.h5", SIZE)
    expected = keras_networks.backbone_of(
        network, NAME, keras.applications.mobilenet.preprocess_input
    )
    np.testing.assert_array_equal(net.apply(images(2)), expected.apply(images(2)))


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".h5"])
def test_weights_of_another_network_are_refused(keras: Any, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"other{suffix}"
    other = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv1")])
    (other.save_weights if suffix == ".weights.h5" else other.save)(path)
    with pytest.raises(UserError, match=r"is not of mobilenet or damaged"):
        backbones.load(NAME, path, SIZE)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".h5"])
def test_damaged_weights_are_refused(network: Any, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"is not of mobilenet or damaged"):
        backbones.load(NAME, path, SIZE)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.touch()
    with pytest.raises(
        UserError, match=r"expected a file of Keras, \.weights\.h5, \.h5 or \.keras"
    ):
        backbones.load(NAME, path)


def test_a_failed_download_names_the_way_out(keras: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def get_file(*_: Any, **__: Any) -> None:
        raise Exception("URL fetch failure on https://example.org/net.h5: None")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    with pytest.raises(UserError, match=r"cannot be downloaded \(URL.*--backbone-weights FILE"):
        backbones.load(NAME, image_size=SIZE)


@pytest.mark.slow
def test_a_network_is_built_as_for_its_imagenet_weights(keras: Any) -> None:
    """EfficientNet divides by the root of the standard deviation with these weights only."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        known = backbones.KERAS["efficientnetb0"]
        model = keras_networks._build(keras, known, 32)
    scales = [layer.scale for layer in model.layers if type(layer).__name__ == "Rescaling"]
    assert len(scales) == 2
    np.testing.assert_allclose(np.square(scales[1]), 1 / np.array([0.229, 0.224, 0.225]))


def test_an_impossible_image_size_is_refused(keras: Any) -> None:
    with pytest.raises(UserError, match=r"xception cannot take images of 16 pixels"):
        backbones.load("xception", image_size=16)


def test_another_backend_is_refused(keras: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(UserError, match="KERAS_BACKEND=jax before Keras is imported"):
        backbones.load(NAME)


def test_the_list_is_that_of_keras(keras: Any) -> None:
    """Every network is there, and each has the module that its preprocessing comes from."""
    functions = {
        name for name, value in vars(keras.applications).items() if inspect.isfunction(value)
    }
    assert functions == {known.function for known in backbones.KERAS.values()}
    for known in backbones.KERAS.values():
        module = getattr(keras.applications, known.module)
        assert callable(module.preprocess_input)
        assert known.function in vars(module) or known.module == "mobilenet_v3"


@pytest.mark.slow
def test_keras_is_set_to_jax_before_it_is_imported() -> None:
    code = (
        "from evojax_prune.features.backbones import keras_networks;"
        "print(keras_networks._import_keras('vgg16').backend.backend())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["jax"]
