"""A run as a classifier: the run's own predictions, of anything; and refusals in one sentence."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deploy_cases
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import evojax_prune
from evojax_prune.cli.main import main
from evojax_prune.core.compact_head import save_heads
from evojax_prune.core.errors import UserError
from evojax_prune.core.scaling import Scale, Scaling
from evojax_prune.features import backbones

NAME, SIZE = "colours", 16


def colours(images: np.ndarray) -> np.ndarray:
    """Six features: mean and spread of each colour."""
    x = images.astype(np.float32) / 64
    return np.concatenate([x.mean((1, 2)), x.std((1, 2))], 1)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run on a backbone of one's own."""
    backbones.register_backbone(NAME, colours, image_size=SIZE, version="1")
    card = deploy_cases.backbone(NAME, SIZE)
    yield deploy_cases.write_run(tmp_path / "run", 6, "standard", backbone=card)
    backbones.BACKBONES.pop(NAME)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of five photographs and a file that is not one."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for i, image in enumerate(deploy_cases.photographs(5)):
        Image.fromarray(image).save(folder / ("below" if i == 4 else "") / f"{i}.png")
    (folder / "broken, or so.jpg").write_bytes(b"not a photograph")
    (folder / ".hidden").write_bytes(b"")
    return folder


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one sentence that a command with bad input ends with."""
    assert main(list(map(str, words))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("folds", [1, 2])
def test_a_classifier_predicts_as_its_run(tmp_path: Path, folds: int) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(150) % 3
    x = (rng.normal(size=(150, 10)) + 1.3 * np.eye(3, 10)[y]).astype(np.float32) * 3 + 40
    data = tmp_path / "blobs.npz"
    np.savez(data, x_train=x[:90], y_train=y[:90], x_test=x[90:], y_test=y[90:])
    config = evojax_prune.RunConfig(
        dataset=str(data),
        hidden=(12,),
        selection="holdout" if folds == 1 else "kfold",
        folds=5 if folds == 1 else folds,
        method="sensitivity",
        keep=0.5,
        final_protocol={"epochs": 6, "learning_rate": 0.005},
    )
    pruned = evojax_prune.prune(config)
    pruned.save(tmp_path / "run")
    classifier = evojax_prune.load(tmp_path / "run")
    assert classifier.classes_.tolist() == pruned.result.dataset.class_names
    for fold, head in enumerate(classifier.heads):
        right = head.predict(x[90:]) == y[90:]
        np.testing.assert_array_equal(right, pruned.found.pruned.right[fold])
    found = classifier.predict_proba(x[90:])
    logits = [head.logits(x[90:]).astype(np.float64) for head in classifier.heads]
    powers = [np.exp(z) for z in logits]
    expected = np.mean([p / p.sum(1, keepdims=True) for p in powers], 0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    names = classifier.predict(x[90:].astype(np.float64))
    np.testing.assert_array_equal(names, classifier.classes_[expected.argmax(1)])


@pytest.mark.parametrize("scaling", ["none", "standard", "l2"])
@pytest.mark.parametrize("folds", [1, 3])
def test_the_recipe_in_the_documentation_gives_the_same(
    tmp_path: Path, scaling: Scale, folds: int
) -> None:
    folder = deploy_cases.write_run(tmp_path / "run", 8, scaling, folds=folds)
    heads = evojax_prune.load(folder).heads
    head = load_file(folder / "head.safetensors")
    features = np.random.default_rng(1).gamma(2, 1, (9, 8)).astype(np.float32)
    for fold, compact in enumerate(heads):
        prefix = "" if folds == 1 else f"fold_{fold}."
        x = features
        if scaling == "l2":
            x = x / np.linalg.norm(x, axis=1, keepdims=True)
        x = x[:, head[f"{prefix}features"]]
        if scaling == "standard":
            x = (x - head[f"{prefix}scaling.mean"]) / head[f"{prefix}scaling.scale"]
        for i in range(3):
            x = x @ head[f"{prefix}layer_{i}.kernel"]
            x = x + head.get(f"{prefix}layer_{i}.bias", np.float32(0))
            x = np.maximum(x, 0) if i < 2 else x
        np.testing.assert_allclose(compact.logits(features), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scaling", ["standard", "l2"])
def test_a_head_reads_raw_features_as_it_read_scaled_ones(scaling: Scale) -> None:
    x = np.random.default_rng(0).gamma(2, 1, (30, 8)).astype(np.float32)
    fitted = Scaling.fit(scaling, x)
    (head,) = deploy_cases.heads(8, read=3)
    np.testing.assert_array_equal(head.reading_raw(fitted).logits(x), head.logits(fitted.apply(x)))


def test_every_kind_of_input_gives_the_same(run: Path, pictures: Path) -> None:
    classifier = evojax_prune.load(run)
    images = deploy_cases.photographs(4)
    paths = [pictures / f"{i}.png" for i in range(4)]
    found = classifier.predict_proba(paths)
    np.testing.assert_array_equal(classifier.predict_proba(images), found)
    # One image alone is summed in another order than in a batch on some processors.
    np.testing.assert_allclose(classifier.predict_proba(images[1])[0], found[1], rtol=1e-5)
    np.testing.assert_allclose(classifier.predict_proba(str(paths[2]))[0], found[2], rtol=1e-5)
    small = np.stack([np.asarray(Image.fromarray(i).resize((SIZE, SIZE), 2)) for i in images])
    np.testing.assert_array_equal(classifier.predict_proba(small), found)
    np.testing.assert_allclose(classifier.predict_proba(colours(small)), found, atol=1e-6)
    assert classifier.predict_proba([]).shape == (0, 3)
    assert classifier.predict([]).shape == (0,)
    assert len(set(found.argmax(1))) > 1


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(
    run: Path, pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = evojax_prune.load(run)
    paths = [pictures / "0.png", pictures / "broken, or so.jpg", pictures / "missing.png"]
    found = classifier.predict_proba(paths)
    np.testing.assert_array_equal(found[0], classifier.predict_proba(paths[:1])[0])
    assert np.isnan(found[1:]).all()
    assert [str(p) in r.getMessage() for p, r in zip(paths[1:], caplog.records, strict=False)] == [
        True,
        True,
    ]
    assert classifier.predict(paths).tolist()[1:] == ["", ""]
    assert np.isnan(classifier.predict_proba(paths[1:])).all()


def test_the_table(
    run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "table.csv"
    assert main(["predict", str(run), str(pictures), "--output", str(output)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "5 predicted: " in err
    assert "1 could not be read" in err
    assert "broken, or so.jpg cannot be read" in err
    table = rows(output)
    names = ["0.png", "1.png", "2.png", "3.png", "below/4.png", "broken, or so.jpg"]
    assert [row["path"] for row in table] == [str(pictures / name) for name in names]
    classifier = evojax_prune.load(run)
    expected = classifier.predict_proba([pictures / name for name in names[:-1]])
    for row, probabilities in zip(table, expected, strict=False):
        assert row["class"] == classifier.classes_[probabilities.argmax()]
        assert row["probability"] == f"{probabilities.max():.6f}"
        assert [row[name] for name in deploy_cases.CLASSES] == [f"{p:.6f}" for p in probabilities]
    assert table[-1]["class"] == table[-1]["cat"] == ""
    assert "not an image" in table[-1]["error"]

    assert main(["predict", str(run), str(pictures / "0.png")]) == 0
    assert capsys.readouterr().out.splitlines()[1] == output.read_text().splitlines()[1]


def test_features_files(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = colours(np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)))
    file, output = tmp_path / "x.npz", tmp_path / "table.csv"
    for extra in ({}, {"backbone": NAME.upper()}, {"backbone": NAME, "weights": "version 1"}):
        np.savez(file, x_test=x, **extra)
        assert main(["predict", str(run), str(file), "--output", str(output)]) == 0
        table = rows(output)
        assert [row["path"] for row in table] == [f"{file}#{i}" for i in range(3)]
        expected = evojax_prune.load(run).predict(x)
        assert [row["class"] for row in table] == expected.tolist()
    capsys.readouterr()
    np.savez(file, x=x, backbone="efficientnet-lite0")
    assert "are those of efficientnet-lite0" in said(capsys, "predict", run, file)
    np.savez(file, x=x, backbone=NAME, weights="version 2")
    assert "other weights" in said(capsys, "predict", run, file)
    np.savez(file, x=x, weights="version 1")
    assert "holds weights without their backbone" in said(capsys, "predict", run, file)
    np.savez(file, x=x, x_test=x)
    assert "holds both x and x_test" in said(capsys, "predict", run, file)


def test_only_what_this_command_wrote_is_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = deploy_cases.write_run(tmp_path / "run", 6)
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 6), np.float32))
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "link.csv").symlink_to("table.csv")
    predict = ["predict", str(run), str(tmp_path / "x.npz")]
    for words in (predict, ["export", str(run), "--format", "safetensors"]):
        for name in ("mine.txt", "link.csv"):
            assert "is not what this command writes" in said(
                capsys, *words, "--output", tmp_path / name
            )
        for _ in range(2):  # the second time it replaces its own
            assert main([*words, "--output", str(tmp_path / f"{words[0]}.out")]) == 0
            capsys.readouterr()
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_what_a_plugin_prints_is_not_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = deploy_cases.write_run(tmp_path / "run", 6)
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 6), np.float32))
    (tmp_path / "loud.py").write_text("print('hello')")
    words = ["predict", str(run), str(tmp_path / "x.npz")]
    assert main([*words, "--plugin", str(tmp_path / "loud.py")]) == 0
    out, err = capsys.readouterr()
    assert [line.split(",")[0][-2:] for line in out.splitlines()] == ["th", "#0", "#1"]
    assert err.startswith("hello")


def test_another_version_of_the_backbone_is_refused(run: Path, pictures: Path) -> None:
    backbones.register_backbone(NAME, colours, image_size=SIZE, version="2")
    with pytest.raises(UserError, match="other weights"):
        evojax_prune.load(run).predict(pictures / "0.png")


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (np.zeros((2, 7)), "have 7 columns, expected the 6 of colours"),
        (np.zeros((2, 5, 5)), r"an image is float64 \[2, 5, 5\]"),
        (np.zeros((5, 5, 4), np.uint8), "expected uint8"),
        (np.zeros(6), r"inputs are float64 \[6\]"),
        (np.full((2, 6), np.nan), "row 0 of the features holds NaN"),
        (np.ma.masked_equal(np.zeros((2, 6)), 0), "inputs has masked values"),
        (np.full((2, 6), 1e300), "row 0 of the features holds NaN or infinity"),
        (np.full((2, 6), 3e38), "row 0 of the features is too large for this head"),
        ([["a"] * 6], "inputs are <U1"),
        (np.zeros((2, 6), complex), "inputs are complex128"),
        ([[0.0] * 6, [0.0]], "inputs cannot be made an array .setting"),
        (["0.png", np.zeros((4, 4, 3), np.uint8)], "inputs are paths and other things"),
    ],
)
def test_impossible_inputs(run: Path, inputs: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        evojax_prune.load(run).predict(inputs)


def test_numbers_of_any_type_are_predicted(run: Path) -> None:
    classifier, x = evojax_prune.load(run), np.arange(12).reshape(2, 6) % 5
    found = classifier.predict_proba(x)
    for dtype in (object, "u1", "f2", "longdouble", jnp.bfloat16):
        np.testing.assert_array_equal(classifier.predict_proba(x.astype(dtype)), found)


def test_control_characters_of_a_head_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = deploy_cases.write_run(tmp_path / "run", 6)
    metadata = deploy_cases.card(6).model_dump()
    metadata["classes"] = ["\x1b[2Ja", "b\n", "c\r"]
    file = folder / "head.safetensors"
    save_file(load_file(file), file, {"evojax_prune": json.dumps(metadata)})
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(60, 6)))
    assert main(["predict", str(folder), str(tmp_path / "x.npz")]) == 0
    assert all(c.isprintable() for c in capsys.readouterr().err.rstrip("\n"))


def test_images_need_a_backbone(tmp_path: Path, pictures: Path) -> None:
    folder = deploy_cases.write_run(tmp_path / "run", 6)
    with pytest.raises(UserError, match="give features"):
        evojax_prune.load(folder).predict(pictures / "0.png")


def test_bad_words(
    run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, empty = pictures / "0.png", tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "later.partial").mkdir()
    assert "has no head.safetensors" in said(capsys, "predict", empty, image)
    assert "has not finished" in said(capsys, "predict", tmp_path / "later", image)
    assert "there is no folder" in said(capsys, "predict", tmp_path / "nothing", image)
    assert "is not a head" in said(capsys, "predict", image, image)
    assert "there is no file" in said(capsys, "predict", run, tmp_path / "nothing.png")
    assert "holds no files" in said(capsys, "predict", run, empty)
    assert "is one of the inputs" in said(capsys, "predict", run, image, "--output", image)
    assert "is a folder" in said(capsys, "predict", run, image, "--output", empty)
    assert "make it first" in said(capsys, "predict", run, image, "--output", empty / "a/b.csv")
    assert "--output" in said(capsys, "predict", run, image, "--outptu", "a.csv")
    assert "RUN" in said(capsys, "predict")
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 6)))
    weights = ("--backbone-weights", image)
    assert "does nothing" in said(capsys, "predict", run, tmp_path / "x.npz", *weights)
    words = ("export", run, "--format", "safetensors")
    assert "does nothing without --with" in said(capsys, *words, *weights)
    (tmp_path / "bad.npz").write_bytes(b"PK")
    assert "cannot be read as an .npz" in said(capsys, "predict", run, tmp_path / "bad.npz")
    np.savez(tmp_path / "y.npz", y=np.zeros(3))
    assert "has no features, expected" in said(capsys, "predict", run, tmp_path / "y.npz")
    np.savez(tmp_path / "b.npz", x=np.zeros((1, 6)), backbone=["lite0"])
    assert "is <U5 [1], expected one string" in said(capsys, "predict", run, tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("features", np.array([0, 9]), "outside of 0 to 5"),
        ("features", np.array([0.0, 1.0]), "features or layers are missing"),
        ("layer_2.bias", np.zeros(4, np.float32), "expected float32"),
        ("layer_2.bias", np.full(3, np.inf, np.float32), "NaN or infinity"),
        ("layer_2.kernel", np.zeros((2, 2), np.float32), "expected float32"),
        ("scaling.scale", np.zeros(6, np.float32), "not positive"),
        ("scaling.mean", None, "scaling.mean"),
    ],
)
def test_damaged_heads(tmp_path: Path, name: str, value: np.ndarray | None, sentence: str) -> None:
    file = deploy_cases.write_run(tmp_path / "run", 6, "standard") / "head.safetensors"
    tensors = load_file(file)
    tensors.pop(name)
    if value is not None:
        tensors[name] = value
    metadata = {"evojax_prune": deploy_cases.card(6, "standard").model_dump_json()}
    save_file(tensors, file, metadata)
    with pytest.raises(UserError, match=sentence):
        evojax_prune.load(tmp_path / "run")


def test_cards_of_another_kind(tmp_path: Path) -> None:
    file = deploy_cases.write_run(tmp_path / "run", 6) / "head.safetensors"
    card = deploy_cases.card(6)
    for changes, said in (
        ({"classes": ("a", "b")}, "3 outputs for 2 classes"),
        ({"classes": ("a", "b", "")}, "the name of class 2 is empty"),
        ({"classes": ("a", "b", "\u200b")}, "the name of class 2 is empty"),
        ({"classes": ("a", "b", "a")}, "2 classes are named 'a'"),
        ({"mode": "fc9"}, "mode is fc9, expected one of 'features', 'fc1', 'fc2' or 'both'"),
        ({"hidden": (1,)}, "its hidden layers have"),
        ({"hidden": (1, 1)}, "its hidden layers have"),
    ):
        save_heads(file, deploy_cases.heads(6), card.model_copy(update=changes))
        with pytest.raises(UserError, match=said):
            evojax_prune.load(file)
    save_heads(file, deploy_cases.heads(6), card)
    text = card.model_dump_json()
    save_file(load_file(file) | {"evil": np.zeros(3)}, file, {"evojax_prune": text})
    with pytest.raises(UserError, match="it holds evil, too"):
        evojax_prune.load(file)
    without, twice = json.loads(text), text.replace('"mode"', '"classes":["x"],"mode"')
    del without["mode"]
    for changed, said in ((json.dumps(without), "mode is missing"), (twice, "has a key twice")):
        save_file(load_file(file) | {}, file, {"evojax_prune": changed})
        with pytest.raises(UserError, match=rf"damaged \(.*{said}\)"):
            evojax_prune.load(file)
    for metadata in (None, {"evojax_prune": "{"}, {"evojax_prune": '{"format": "other/1"}'}):
        save_file(load_file(file), file, metadata)
        with pytest.raises(UserError, match="is not a head that evojax_prune wrote"):
            evojax_prune.load(file)


@pytest.mark.slow
def test_features_need_no_jax(tmp_path: Path) -> None:
    folder = deploy_cases.write_run(tmp_path / "run", 6, "l2")
    code = (
        "import sys; sys.modules.update(jax=None, sklearn=None, keras=None)\n"
        "import evojax_prune, numpy as np\n"
        f"print(evojax_prune.load({str(folder)!r}).predict(np.ones((2, 6))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = evojax_prune.load(folder).predict(np.ones((2, 6)))
    assert done.stdout.strip() == str(expected)
