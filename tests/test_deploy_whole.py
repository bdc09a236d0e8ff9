"""Backbone and head in one exported file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import deploy_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_cases import RUN_ONNX, RUN_STABLEHLO, assert_same, elsewhere, needs_onnx, pixels
from jax import lax

import evojax_prune
from evojax_prune.cli.main import main
from evojax_prune.core.compact_head import CompactHead, save_heads
from evojax_prune.core.head_card import BackboneCard, HeadCard
from evojax_prune.core.scaling import Scaling
from evojax_prune.deploy.max_pooling import sliced_max_pooling
from evojax_prune.features import backbones
from evojax_prune.features.backbones import Extractor

LITE, SIZE = "efficientnet-lite0", 64


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("size", "step"), [((2, 2), (2, 2)), ((3, 2), (2, 1)), ((1, 1), (1, 3))])
def test_max_pooling_is_maxima_of_slices(
    padding: str, size: tuple[int, int], step: tuple[int, int]
) -> None:
    """Of values below zero, too: what is padded never wins."""
    x = np.random.default_rng(0).normal(-9, 1, (2, 7, 6, 3)).astype(np.float32)

    def pooled(x: jax.Array) -> jax.Array:
        window, strides = (1, *size, 1), (1, *step, 1)
        return lax.reduce_window(x, np.float32(-np.inf), lax.max, window, strides, padding)

    changed = sliced_max_pooling(pooled)
    np.testing.assert_array_equal(changed(x), pooled(jnp.asarray(x)))
    assert "reduce_window_max" not in str(jax.make_jaxpr(changed)(x))


def test_dilated_max_pooling_is_left_alone() -> None:
    def pooled(x: jax.Array) -> jax.Array:
        window, steps, dilation = (2, 2), (1, 1), (2, 1)
        start = np.float32(-np.inf)
        return lax.reduce_window(
            x, start, lax.max, window, steps, "VALID", window_dilation=dilation
        )

    x = np.arange(20, dtype=np.float32).reshape(5, 4)
    np.testing.assert_array_equal(sliced_max_pooling(pooled)(x), pooled(jnp.asarray(x)))


def fitted(net: Extractor, images: np.ndarray, labels: np.ndarray) -> CompactHead:
    """A head that reads 64 of the backbone's features and tells some images apart."""
    from sklearn.linear_model import LogisticRegression

    kept = np.random.default_rng(0).choice(net.features, 64, replace=False)
    x = np.asarray(net.apply(images))
    scaling = Scaling.fit("standard", x)
    model = LogisticRegression().fit(scaling.apply(x)[:, kept], labels)
    layer = model.coef_.T.astype(np.float32), model.intercept_.astype(np.float32)
    return CompactHead(kept, (layer,)).reading_raw(scaling)


def logistic_card(features: int, backbone: BackboneCard) -> HeadCard:
    """What a run says of a ``fitted`` head."""
    return deploy_cases.card(features, "standard", hidden=(), mode="features", backbone=backbone)


def assert_exports(
    folder: Path, head: CompactHead, card: HeadCard, images: np.ndarray, *weights: str
) -> np.ndarray:
    """Both programs from images to classes give what predict_proba gives; returns that."""
    folder.mkdir()
    save_heads(folder / "head.safetensors", (head,), card)
    classifier = evojax_prune.load(folder, backbone_weights=Path(weights[1]) if weights else None)
    expected = classifier.predict_proba(images)
    for format, code, name in (
        ("onnx", RUN_ONNX, "model.onnx"),
        ("stablehlo", RUN_STABLEHLO, "model.stablehlo.zip"),
    ):
        assert main(["export", str(folder), "--format", format, "--with-backbone", *weights]) == 0
        found, _, told = elsewhere(code, folder / name, images)
        assert_same(found, expected)
        assert told.features == 64
        assert "shortened backbone" in (folder / f"{name}.md").read_text()
    return expected


@pytest.mark.slow
@needs_onnx
def test_backbone_and_heads_in_one_file(tmp_path: Path, quick: None) -> None:
    """Lite0 at its own size, on photographs."""
    images, labels = pixels(32, 224), np.arange(32) % 3
    head = fitted(backbones.load(LITE), images, labels)
    card = logistic_card(1280, deploy_cases.backbone(LITE, 224))
    expected = assert_exports(tmp_path / "run", head, card, images)
    np.testing.assert_array_equal(expected.argmax(1), labels)


@pytest.mark.slow
@needs_onnx
@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="keras is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mobilenet", "efficientnetb0", "vgg16"])
def test_a_network_of_keras_and_heads_in_one_file(name: str, tmp_path: Path, quick: None) -> None:
    """Networks whose last convolution allows shortening, with random weights."""
    from evojax_prune.features.backbones import keras_networks
    from evojax_prune.features.extract import backbone_card

    file = tmp_path / "net.weights.h5"
    keras = keras_networks._import_keras(name)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        model = keras_networks._build(keras, backbones.KERAS[name], SIZE)
        model.set_weights([drawn(v.path, v.shape) for v in model.weights])
        model.save_weights(file)
    images, labels = pixels(24, SIZE), np.arange(24) % 3
    net = backbones.load(name, file, SIZE)
    card = logistic_card(net.features, backbone_card(name, file, SIZE))
    weights = ("--backbone-weights", str(file))
    assert_exports(tmp_path / "run", fitted(net, images, labels), card, images, *weights)


def drawn(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random weights under which images still differ behind the last layer (He et al. 2015)."""
    rng = np.random.default_rng(len(path) + sum(shape))
    if len(shape) < 2:
        positive = "gamma" in path or "variance" in path
        return (1 + 0.2 * rng.random(shape) if positive else 0.1 * rng.normal(size=shape)).astype(
            np.float32
        )
    depthwise = len(shape) == 4 and shape[3] == 1
    inputs = np.prod(shape[:2] if depthwise else shape[:-1])
    return (rng.normal(size=shape) * np.sqrt(2 / inputs)).astype(np.float32)
