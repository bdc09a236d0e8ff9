"""Exports that need nothing of this package, and a backbone without what a head does not read."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import tomllib
from pathlib import Path

import deploy_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_cases import RUN_ONNX, RUN_STABLEHLO, assert_same, elsewhere, needs_onnx, pixels
from safetensors import safe_open
from safetensors.numpy import load_file

import evojax_prune
from evojax_prune.cli.main import main
from evojax_prune.core.errors import UserError
from evojax_prune.core.scaling import Scale
from evojax_prune.deploy import Measured, measure_costs, program_of
from evojax_prune.deploy.export import to_stablehlo
from evojax_prune.deploy.model_card import cost_table, licence
from evojax_prune.deploy.program import head_program, shortened, whole_program
from evojax_prune.features import backbones
from evojax_prune.features.backbones import Extractor

ROOT = Path(__file__).resolve().parent.parent
LITE, SIZE = "efficientnet-lite0", 64


def features(rows: int, width: int = 20) -> np.ndarray:
    return np.random.default_rng(5).gamma(2, 1, (rows, width)).astype(np.float32)


@pytest.mark.parametrize("scaling", ["none", "standard", "l2"])
@pytest.mark.parametrize(("folds", "read"), [(1, 7), (3, None)])
def test_a_program_gives_the_probabilities(
    tmp_path: Path, scaling: Scale, folds: int, read: int | None
) -> None:
    folder = deploy_cases.write_run(tmp_path / "run", 20, scaling, folds=folds, read=read)
    classifier = evojax_prune.load(folder)
    x = features(30)
    found = np.asarray(jax.jit(program_of(classifier).function)(x))
    assert_same(found, classifier.predict_proba(x))


def test_the_order_of_the_features_is_kept() -> None:
    (head,) = deploy_cases.heads(20)
    turned = dataclasses.replace(head, features=head.features[::-1].copy())
    x = features(9)
    found = np.asarray(head_program([turned], 20).function(jnp.asarray(x)))
    np.testing.assert_allclose(found, np.asarray(jax.nn.softmax(turned.logits(x))), atol=1e-6)


@pytest.mark.slow
@needs_onnx
def test_onnx_without_jax(tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    folder = deploy_cases.write_run(tmp_path / "run", 20, "standard", folds=2, read=7)
    assert main(["export", str(folder), "--format", "onnx"]) == 0
    model = folder / "model.onnx"
    assert "takes features float32 [n, 20]" in capsys.readouterr().out
    classifier, x = evojax_prune.load(folder), features(30)
    found, name, card = elsewhere(RUN_ONNX, model, x)
    assert_same(found, classifier.predict_proba(x))
    assert (name, card) == ("features", classifier.card)
    assert "onnxruntime.InferenceSession" in (folder / "model.onnx.md").read_text()


@pytest.mark.slow
def test_stablehlo_without_this_package(tmp_path: Path, quick: None) -> None:
    folder = deploy_cases.write_run(tmp_path / "run", 20, "l2", read=7)
    model = tmp_path / "elsewhere.zip"
    words = ["export", str(folder), "--format", "stablehlo", "--output", str(model)]
    assert main(words) == 0
    classifier, x = evojax_prune.load(folder), features(30)
    found, _, card = elsewhere(RUN_STABLEHLO, model, x)
    assert_same(found, classifier.predict_proba(x))
    assert card == classifier.card
    first, second = (to_stablehlo(program_of(classifier), "") for _ in range(2))
    assert first == second


def test_safetensors_have_every_weight(tmp_path: Path, quick: None) -> None:
    folder = deploy_cases.write_run(tmp_path / "run", 20, "standard", folds=2)
    assert main(["export", str(folder), "--format", "safetensors"]) == 0
    exported, head = load_file(folder / "model.safetensors"), load_file(folder / "head.safetensors")
    assert exported.keys() == head.keys()
    for name, tensor in head.items():
        np.testing.assert_array_equal(exported[name], tensor)
    with safe_open(folder / "model.safetensors", "np") as file:
        assert json.loads(file.metadata()["evojax_prune"])["scaling"] == "standard"


@pytest.fixture(scope="module")
def lite() -> Extractor:
    return backbones.load(LITE, None, SIZE)


def test_a_shortened_backbone_gives_the_same_features(lite: Extractor) -> None:
    heads = deploy_cases.heads(1280, "standard", folds=2, read=40)
    short, renumbered = shortened(lite, heads)
    used = np.unique(np.concatenate([head.features for head in heads]))
    assert short.features == len(used) < 81
    assert short.variables["params"]["head"]["kernel"].shape == (320, len(used))
    images = pixels(2, SIZE)
    all_of_them, some = np.asarray(lite.apply(images)), np.asarray(short.apply(images))
    for part, whole in lite.variables["params"]["head"].items():  # exactly, but for summation
        np.testing.assert_array_equal(short.variables["params"]["head"][part], whole[..., used])
    np.testing.assert_allclose(some, all_of_them[:, used], rtol=0, atol=1e-5)
    for head, other in zip(heads, renumbered, strict=True):
        np.testing.assert_array_equal(head.logits(all_of_them), other.logits(all_of_them[:, used]))


def test_a_backbone_stays_whole_where_it_must(lite: Extractor) -> None:
    for heads, reason in (
        (deploy_cases.heads(1280, "l2", read=40), "divided by their length"),
        (deploy_cases.heads(1280), "read every feature"),
    ):
        with pytest.raises(UserError, match=reason):
            shortened(lite, heads)
        program = whole_program(heads, lite)
        assert program.note is not None
        assert reason in program.note
        assert program.features == 1280


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="keras is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("top", ["convolution", "sum"])
def test_a_keras_network_is_shortened_if_its_last_convolution_allows(top: str) -> None:
    from evojax_prune.features.backbones import keras_networks

    keras = keras_networks._import_keras("any")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        keras.utils.set_random_seed(0)
        image = keras.Input((16, 16, 3))
        scale = keras.layers.Normalization()
        x = y = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(scale(image))
        y = keras.layers.Conv2D(8, 1, use_bias=False)(y)
        y = keras.layers.BatchNormalization()(y)
        y = keras.layers.Add()([x, y]) if top == "sum" else keras.layers.ReLU(6.0)(y)
        model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(y))
        scale.set_weights([np.full(3, 0.5), np.full(3, 4.0), np.array(0)])
        scale.finalize_state()
    net = keras_networks.backbone_of(model, "small", lambda x, data_format: x / 255)
    images, used = pixels(3, 16), np.array([1, 2, 6])
    assert net.keep is not None
    if top == "sum":
        with pytest.raises(UserError, match=r"come from its layer \w+ \(Add\)"):
            net.keep(used)
        return
    short = net.keep(used)
    assert sum(v.size for v in short.variables.values()) == 7 + 224 + 8 * 3 + 4 * 3
    expected = np.asarray(net.apply(images))[:, used]
    np.testing.assert_allclose(np.asarray(short.apply(images)), expected, rtol=0, atol=1e-6)
    assert expected.any()


class Clock:
    """Every reading is a second after the one before."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_costs(tmp_path: Path) -> None:
    folder = deploy_cases.write_run(tmp_path / "run", 20, "standard", read=5)
    classifier = evojax_prune.load(folder)
    dense, pruned = measure_costs(classifier, with_backbone=False, batches=(1, 3), clock=Clock())
    assert (dense.name, pruned.name) == ("dense head", "pruned head")
    assert dense.parameters == 20 * 12 + 12 * 10 + 10 * 3 + 3
    layers = classifier.heads[0].layers
    assert pruned.parameters == sum(k.size + (0 if b is None else b.size) for k, b in layers)
    assert dense.milliseconds == pruned.milliseconds == {1: 1000.0, 3: 1000.0}
    assert pruned.bytes < dense.bytes


def test_a_card_says_what_the_model_is(tmp_path: Path, quick: None) -> None:
    folder = deploy_cases.write_run(
        tmp_path / "run", 20, selected_on_test=True, groups=r"(\d+)_", classes=("a|b", "c`", "d")
    )
    assert main(["export", str(folder), "--format", "safetensors"]) == 0
    card = (folder / "model.safetensors.md").read_text()
    for said in (
        "# pets: a pruned classifier",
        r"**Classes**: a\|b, c', d",
        "Rows: 3 training, 2 selection, 1 test.",
        r"(`(\d+)_`)",
        "| pruned | 0.9000 | 0.8000 to 0.9500 | 7 |",
        "selected on the test split",
        "| dense head | 393 |",
    ):
        assert said in card


def test_rows_that_train_and_select_are_one_number(tmp_path: Path, quick: None) -> None:
    data = {"name": "pets", "version": "1", "digest": "0", "train": 3000, "selection": 0, "test": 1}
    folder = deploy_cases.write_run(tmp_path / "run", 20, data=data)
    assert main(["export", str(folder), "--format", "safetensors"]) == 0
    card = (folder / "model.safetensors.md").read_text()
    assert "Rows: 3,000 training and selection, 1 test." in card


def test_latencies_are_plain_numbers() -> None:
    table = cost_table([Measured("dense head", 1234, 5678, {1: 0.1234, 32: 1257.4, 64: 99.96})])
    assert table.splitlines()[-1] == "| dense head | 1,234 | 6 | 0.123 | 1,257 | 100 |"


def test_what_jax_export_needs_is_installed_with_the_package() -> None:
    """JAX itself does not depend on it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "flatbuffers" in project["dependencies"]


@pytest.mark.parametrize("name", backbones.available())
def test_every_backbone_has_a_licence_or_none_is_known(name: str) -> None:
    known = licence(name)
    assert ("not known" in known) == (name in {"resnet50v2", "resnet101v2", "resnet152v2"})


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = deploy_cases.write_run(tmp_path / "run", 20)

    def said(*words: object) -> str:
        assert main(["export", *map(str, words)]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        return err

    assert "unknown format 'tflite', expected one of onnx" in said(folder, "--format", "tflite")
    assert "--format" in said(folder)
    assert "no folder" in said(tmp_path / "none", "--format", "safetensors")
    whole = ("--format", "safetensors", "--with-backbone")
    assert "leave --with-backbone out" in said(folder, *whole)
    output = ("--format", "safetensors", "--output")
    assert "is one of the inputs" in said(folder, *output, folder / "head.safetensors")
    assert "is a folder" in said(folder, *output, tmp_path)
    assert "make it first" in said(folder, *output, tmp_path / "a/b.onnx")
    assert sorted(path.name for path in folder.iterdir()) == ["head.safetensors"]


def test_a_function_of_ones_own_cannot_be_exported() -> None:
    net = Extractor("mine", 8, 20, lambda images: np.zeros((len(images), 20), np.float32))
    with pytest.raises(UserError, match="leave out --with-backbone"):
        whole_program(deploy_cases.heads(20), net)


def test_a_missing_converter_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = deploy_cases.write_run(tmp_path / "run", 20)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["export", str(folder), "--format", "onnx"]) == 2
    assert "pip install 'evojax-prune[export]'" in capsys.readouterr().err
