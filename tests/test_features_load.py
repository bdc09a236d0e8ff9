from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from features_cases import SIZE, insects, quick_backbones, table
from PIL import Image

from evojax_prune import data
from evojax_prune.core.errors import UserError
from evojax_prune.features import backbones, cache, check_options, load_table
from evojax_prune.features.load import _Recipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return insects(tmp_path / "insects")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return quick_backbones(monkeypatch)


def test_a_second_run_takes_everything_from_the_cache(folder: Path, loads: list[str]) -> None:
    first = table(folder, groups=r"(train|test)/.*?(\d\d)")
    second = table(folder, groups=r"(train|test)/.*?(\d\d)")
    assert loads == ["efficientnet-lite0"]
    assert first.name == second.name == "insects"
    assert first.classes == second.classes == ("ants", "bees")
    assert first.source == second.source
    assert first.source.startswith("efficientnet-lite0 on insects ")
    assert first.groups is not None
    assert second.groups is not None
    assert set(first.groups["test"]) == {"test00", "test01"}
    for split, rows in (("train", 10), ("test", 6)):
        assert first.x[split].shape == (rows, 3)
        assert first.y[split].tolist() == [0] * (rows // 2) + [1] * (rows // 2)
        for one, two in ((first.x, second.x), (first.y, second.y), (first.groups, second.groups)):
            np.testing.assert_array_equal(one[split], two[split])


def test_keys_are_those_of_before(cache_dir: Path) -> None:
    """Features that were cached by an earlier version are still found."""
    identity = data.identify("digits")
    assert identity == {"all": "88c488a26812a895dfad0cb361259e316361bb318eb07d2e56b1a9c5d3360377"}
    recipe = _Recipe("efficientnet-lite0", None, None)
    assert (
        cache.path_of(cache_dir, recipe.key(identity["all"])).name
        == "features-f857b4db1a7ee9b57f96f3ba339ec5f3.safetensors"
    )
    keras = _Recipe("vgg16", _weights(cache_dir), 100)
    assert keras.key("x") == {
        "data": "x",
        "backbone": "vgg16",
        "weights": "sha256 9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
        "image_size": 100,
        "preprocessing": "pillow bilinear, keras.applications.vgg16.preprocess_input",
    }


def test_features_are_those_of_the_images(folder: Path, loads: list[str]) -> None:
    made = table(folder)
    path = sorted((folder / "test" / "bees").iterdir())[1]
    with Image.open(path) as image:
        small = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(made.x["test"][4], small.mean((0, 1)), rtol=1e-6)


def test_only_what_changed_is_computed_again(
    folder: Path, loads: list[str], cache_dir: Path, tmp_path: Path
) -> None:
    table(folder)
    entries = set(cache_dir.iterdir())
    table(folder, backbone="EfficientNet-Lite0", progress=True)
    assert set(cache_dir.iterdir()) == entries
    table(folder, backbone="efficientnet-lite0", backbone_weights=_weights(tmp_path))
    assert len(set(cache_dir.iterdir()) - entries) == 2
    load_table(str(folder), image_size=SIZE + 1)
    assert len(set(cache_dir.iterdir()) - entries) == 4
    Image.new("RGB", (9, 9)).save(folder / "test" / "bees" / "new.png")
    assert len(table(folder).y["test"]) == 7
    assert len(set(cache_dir.iterdir()) - entries) == 5  # the training images are as before
    assert len(loads) == 4


def _weights(folder: Path) -> Path:
    (folder / "weights.pth").write_bytes(b"weights")
    return folder / "weights.pth"


def test_a_copy_under_another_name_has_its_own_name(folder: Path, loads: list[str]) -> None:
    table(folder)
    copy = folder.rename(folder.parent / "moved")
    assert table(copy).name == "moved"
    assert len(loads) == 1


def test_damaged_entries_are_computed_again(
    folder: Path, loads: list[str], cache_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = table(folder)
    for path in cache_dir.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    again = table(folder)
    assert len(loads) == 2
    np.testing.assert_array_equal(first.x["train"], again.x["train"])
    assert caplog.records
    caplog.clear()
    table(folder)
    assert not caplog.records
    assert len(loads) == 2


def test_wrong_input_is_told_before_anything_is_computed(
    folder: Path, loads: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="unknown backbone"):
        table(folder, backbone="resnet51")
    with pytest.raises(UserError, match="not found"):
        table(folder, backbone_weights=tmp_path / "none.pth")
    with pytest.raises(UserError, match="matches none of"):
        table(folder, groups="hand(..)")
    with pytest.raises(UserError, match="nowhere' is not there"):
        table(tmp_path / "nowhere")
    with pytest.raises(UserError, match="--groups does nothing with digits"):
        table("digits", groups="x")
    assert not loads
    table(folder)
    with pytest.raises(UserError, match="matches none of"):
        table(folder, groups="hand(..)")


def test_a_features_file_needs_no_backbone(tmp_path: Path) -> None:
    path = tmp_path / "dino.npz"
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    np.savez(path, x_train=x, y_train=np.arange(6) % 2)
    np.testing.assert_array_equal(load_table(str(path)).x["train"], x)


@pytest.mark.parametrize(
    ("dataset", "given"),
    [
        ("some.npz", {"backbone": "vgg19"}),
        ("some.npz", {"backbone": "no such"}),
        ("some.npz", {"backbone_weights": Path("w.h5")}),
        ("some.npz", {"image_size": 32}),
        ("some.npz", {"data_dir": Path("data")}),
        ("some.npz", {"skip_unreadable": True}),
        ("some.npz", {"groups": "(.)"}),
        ("some.npz", {"extraction_batch": 4}),
        ("digits", {"groups": "(.)"}),
        ("digits", {"data_dir": Path("data")}),
        ("digits", {"skip_unreadable": True}),
        ("cifar10", {"skip_unreadable": True}),
    ],
)
def test_what_a_source_does_not_read_is_refused(dataset: str, given: dict[str, Any]) -> None:
    flag = f"--{next(iter(given)).replace('_', '-')} does nothing with "
    with pytest.raises(UserError, match=flag + ".*: leave it out"):
        load_table(dataset, **given)
    with pytest.raises(UserError, match=flag):
        check_options(dataset, seed=3, **given)


@pytest.mark.parametrize("dataset", ["some.npz", "digits", "cifar10"])
def test_defaults_and_options_of_others_are_not_refused(dataset: str) -> None:
    check_options(dataset)
    check_options(
        dataset,
        backbone=backbones.DEFAULT,
        backbone_weights=None,
        image_size=None,
        data_dir=None,
        skip_unreadable=False,
        groups=None,
        extraction_batch=None,
        seed=3,
    )


@pytest.mark.parametrize("size", [-1, 0, 7, 4097, 10**6, 10**30])
def test_image_sizes_are_bounded(folder: Path, size: int) -> None:
    with pytest.raises(UserError, match=f"--image-size is {size}, expected 8 to 4096 pixels"):
        load_table(str(folder), image_size=size)


@pytest.mark.parametrize("batch", [0, 1025, 10**30])
def test_extraction_batches_are_bounded(folder: Path, loads: list[str], batch: int) -> None:
    with pytest.raises(UserError, match=f"--extraction-batch is {batch}, expected 1 to 1024"):
        table(folder, extraction_batch=batch)


HEAVY = (
    "tensorflow_datasets",
    "keras",
    "flax",
    "jax",
    "tensorflow",
    "evojax_prune.features.backbones.lite",
)


def imported_by_cached_run(name: str, data_dir: Path | None = None) -> dict[str, Any]:
    """What a fresh process imports to load a table, and the rows that it found."""
    code = (
        "import json, sys; from evojax_prune.features import load_table;"
        f"t = load_table({name!r}, image_size={SIZE}, data_dir={data_dir and str(data_dir)!r});"
        f"print(json.dumps({{'heavy': [m for m in {HEAVY} if m in sys.modules],"
        "'rows': {k: len(v) for k, v in t.y.items()}, 'source': t.source}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    return json.loads(done.stdout)


def test_a_cached_run_imports_nothing_heavy(folder: Path, loads: list[str]) -> None:
    table(folder)
    told = imported_by_cached_run(str(folder))
    assert told["heavy"] == []
    assert told["rows"] == {"train": 10, "test": 6}


def test_a_cached_named_data_set_needs_no_tensorflow_datasets(
    shared_data: Path, cache_dir: Path
) -> None:
    tfds = shared_data / "tfds"
    identities = data.identify("cifar10", data.LoadOptions(tfds))
    assert identities is not None
    recipe = _Recipe(backbones.DEFAULT, None, SIZE)
    for split, identity in identities.items():
        rows = {"train": 10, "test": 4}[split]
        kept = cache.CacheEntry(
            np.zeros((rows, 3), np.float32),
            np.zeros(rows, np.int32),
            None,
            ("a", "b"),
            "cifar10",
            "3.0.2",
        )
        cache.write(cache_dir, recipe.key(identity), kept)
    told = imported_by_cached_run("cifar10", tfds)
    assert told["heavy"] == []
    assert told["rows"] == {"train": 10, "test": 4}
    assert told["source"] == "efficientnet-lite0 on cifar10 3.0.2"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "score"), [("hymenoptera", 0.94), ("rps28", 0.79)])
def test_a_linear_classifier_on_the_features_scores_as_known(
    shared_data: Path, name: str, score: float
) -> None:
    """The figures of the data's README: a wrong extractor scores far lower."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = load_table(str(shared_data / name))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    model.fit(features.x["train"], features.y["train"])
    found = model.score(features.x["test"], features.y["test"])
    assert found == pytest.approx(score, abs=0.01)
