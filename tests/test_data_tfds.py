"""Named data sets: read without TensorFlow, known on disk without TensorFlow Datasets."""

from __future__ import annotations

import io
import json
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evojax_prune.core.errors import UserError
from evojax_prune.data import ImageDataset, LoadOptions, find_source, identify, load
from evojax_prune.data.sources.tfds_prepared import find_prepared


@pytest.fixture(scope="session")
def cifar10(shared_data: Path) -> Path:
    """The data directory that holds CIFAR-10."""
    return shared_data / "tfds"


@pytest.fixture
def copy(cifar10: Path, tmp_path: Path) -> Path:
    """A data directory with CIFAR-10's test split alone, to be tampered with."""
    folder = tmp_path / "tfds" / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    for path in (cifar10 / "cifar10" / "3.0.2").iterdir():
        if "train" not in path.name:
            shutil.copyfile(path, folder / path.name)
    edit(folder, lambda info: info["splits"].pop(0))
    return tmp_path / "tfds"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr("urllib.request.getproxies", dict)


def edit(folder: Path, change: Any) -> None:
    path = folder / "dataset_info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def load_images(dataset: str, data_dir: Path, **options: Any) -> ImageDataset:
    data = load(dataset, LoadOptions(data_dir, **options))
    assert isinstance(data, ImageDataset)
    return data


def identities(dataset: str, data_dir: Path) -> dict[str, str] | None:
    return identify(dataset, LoadOptions(data_dir))


def refused(pattern: str, dataset: str, data_dir: Path, **options: Any) -> None:
    with pytest.raises(UserError, match=pattern) as caught:
        load_images(dataset, data_dir, **options)
    assert "\n" not in str(caught.value)


def png(level: int) -> io.BytesIO:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 5), level, np.uint8)).save(buffer, "PNG")
    buffer.seek(0)
    return buffer


@pytest.fixture(scope="session")
def toys() -> None:
    """Data sets of one kind each, registered with TensorFlow Datasets."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.utils.lazy_imports_utils import tensorflow as tf

    class Toy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        splits = ("train",)
        label = tfds.features.ClassLabel(names=["dark", "light"])

        def _info(self) -> Any:
            features = {"image": tfds.features.Image(shape=(None, None, 1)), "label": self.label}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, _: Any) -> Any:
            return {name: self._generate_examples() for name in self.splits}

        def _generate_examples(self) -> Any:
            for i in range(12):
                yield i, {"image": png(i), "label": int(i >= 6)}

    class ToyTrain(Toy):
        pass

    class ToyThree(Toy):
        splits = ("train", "validation", "test")

    class ToyOdd(Toy):
        splits = ("first", "second")

    class ToyText(Toy):
        label = tfds.features.Text()

    class ToyUnlabelled(Toy):
        def _generate_examples(self) -> Any:
            yield 0, {"image": png(0), "label": -1}

    class ToyTensorflow(Toy):
        def _split_generators(self, _: Any) -> Any:
            return tf.io.gfile.exists("anything")


def test_cifar10(cifar10: Path) -> None:
    data = load_images("cifar10", cifar10)
    assert (data.name, data.version, list(data.splits)) == ("cifar10", "3.0.2", ["train", "test"])
    assert data.classes[:2] == ("airplane", "automobile")
    assert np.bincount(data.splits["train"].labels).tolist() == [1000] * 10
    test = data.splits["test"]
    assert test.labels.dtype == np.int32
    # this copy's ids tell the class, so that images, labels and names are seen to go together
    assert all(data.classes[y] in path for y, path in zip(test.labels, test.paths, strict=True))
    first, again = next(test.images()), next(test.images())
    assert first.shape == (32, 32, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert {name: split.identity for name, split in data.splits.items()} == identities(
        "cifar10", cifar10
    )
    assert "tensorflow" not in sys.modules


def test_images_are_what_tfds_decodes(cifar10: Path) -> None:
    import tensorflow_datasets as tfds

    source = tfds.data_source("cifar10", split="test", data_dir=cifar10, download=False)
    ours = load_images("cifar10", cifar10).splits["test"].images()
    for i in range(3):
        np.testing.assert_array_equal(next(ours), source[i]["image"])


def test_identity_imports_nothing_heavy(cifar10: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from evojax_prune.data import LoadOptions, identify\n"
        f"options = LoadOptions(Path({str(cifar10)!r}))\n"
        f"assert set(identify('cifar10', options)) == {{'train', 'test'}}\n"
        "heavy = {'tensorflow_datasets', 'tensorflow', 'keras', 'jax', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_tfrecord_reads_without_tensorflow(copy: Path) -> None:
    import tensorflow_datasets as tfds

    before = load_images("cifar10", copy).splits["all"]
    first = next(before.images())
    folder = copy / "cifar10" / "3.0.2"
    raw = tfds.builder_from_directory(folder).as_data_source("test").data_source
    records = raw.__getitems__(list(range(len(raw))))
    (folder / "cifar10-test.tfrecord-00000-of-00001").write_bytes(
        b"".join(struct.pack("<Q4x", len(r)) + r + bytes(4) for r in records)
    )
    (folder / "cifar10-test.array_record-00000-of-00001").unlink()
    edit(folder, lambda info: info.update(fileFormat="tfrecord"))
    after = load_images("cifar10", copy).splits["all"]
    np.testing.assert_array_equal(before.labels, after.labels)
    np.testing.assert_array_equal(first, next(after.images()))


@pytest.mark.usefixtures("toys")
def test_training_split_alone_is_cut_later(tmp_path: Path) -> None:
    assert identities("toy_train", tmp_path) is None
    data = load_images("toy_train", tmp_path)
    assert data.classes == ("dark", "light")
    split = data.splits["all"]
    assert split.paths is None
    levels = [int(image[0, 0, 0]) for image in split.images()]
    assert sorted(levels) == list(range(12))
    assert [int(level >= 6) for level in levels] == split.labels.tolist()
    assert identities("toy_train", tmp_path) == {"all": split.identity}
    refused("needs file names", "toy_train", tmp_path, groups="(.)")


@pytest.mark.usefixtures("toys")
def test_validation_split_joins_training(tmp_path: Path) -> None:
    data = load_images("toy_three", tmp_path)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 24, "test": 12}
    assert len(list(data.splits["train"].images())) == 24


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("toy_odd", "has the splits first, second, expected train"),
        ("toy_text", "no image with one class"),
        ("toy_unlabelled", "images without labels"),
        ("toy_tensorflow", "can only be prepared by TensorFlow.*pip install tensorflow"),
        ("toy_trane", "'toy_trane' is neither a folder nor .*near it are toy_train"),
        ("toy_train:7.0.0", "refuses 'toy_train:7.0.0'"),
    ],
)
def test_what_cannot_be_used(dataset: str, message: str, tmp_path: Path) -> None:
    refused(message, dataset, tmp_path)


def test_missing_folder_that_may_be_a_name(tmp_path: Path) -> None:
    refused("'data/flowers' is neither a folder nor .*tf_flowers", "data/flowers", tmp_path)


@pytest.mark.usefixtures("no_network")
def test_failed_download_names_the_manual_way(tmp_path: Path) -> None:
    refused(
        r"could not prepare it .* download by hand https://.* as .*downloads/manual/Citrus.zip,"
        r" or unpack the images into a folder",
        "citrus_leaves",
        tmp_path,
    )
    assert not any(tmp_path.iterdir())


@pytest.mark.usefixtures("no_network")
def test_data_sets_that_only_come_by_hand(tmp_path: Path) -> None:
    refused("has to be downloaded by hand into .*ILSVRC2012_img_train", "imagenet2012", tmp_path)


def test_no_download(tmp_path: Path) -> None:
    refused("is not in .*: prepare it there", "cifar10", tmp_path, download=False)


def test_wrong_data_dir(cifar10: Path, tmp_path: Path) -> None:
    refused("there is no data folder", "cifar10", tmp_path / "nothing")
    for inside in ("cifar10", "cifar10/3.0.2"):
        refused("is the folder of one data set", "cifar10", cifar10 / inside)


def test_data_folder_given_as_data_set(cifar10: Path) -> None:
    with pytest.raises(UserError, match="--dataset cifar10 --data-dir"):
        identify(str(cifar10 / "cifar10"))


def test_missing_records(copy: Path) -> None:
    (copy / "cifar10" / "3.0.2" / "cifar10-test.array_record-00000-of-00001").unlink()
    refused("has 0 of the 1 files of split test", "cifar10", copy)


def test_truncated_records(copy: Path) -> None:
    path = copy / "cifar10" / "3.0.2" / "cifar10-test.array_record-00000-of-00001"
    first = identities("cifar10", copy)
    path.write_bytes(path.read_bytes()[:100_000])
    assert identities("cifar10", copy) != first
    refused("cannot be read", "cifar10", copy)


@pytest.mark.parametrize("text", ["", "{", "{}"])
def test_broken_metadata(copy: Path, text: str) -> None:
    (copy / "cifar10" / "3.0.2" / "dataset_info.json").write_text(text)
    refused(r"dataset_info\.json cannot be read", "cifar10", copy)


def make(root: Path, folder: str, config: str | None = None) -> None:
    info = {"name": folder.split("/")[0], "version": Path(folder).name, "splits": []}
    (root / folder).mkdir(parents=True)
    (root / folder / "dataset_info.json").write_text(json.dumps(info | {"configName": config}))


def test_which_version_and_config(tmp_path: Path) -> None:
    make(tmp_path, "plain/2.0.0")
    make(tmp_path, "plain/10.0.0")
    make(tmp_path, "sized/32x32/1.0.0", "32x32")
    make(tmp_path, "sized/64x64/1.0.0", "64x64")

    def found(dataset: str) -> str | None:
        prepared = find_prepared(dataset, tmp_path)
        return prepared and f"{prepared.name}:{prepared.version}"

    assert found("plain") == "plain:10.0.0"
    assert found("plain:2.0.0") == "plain:2.0.0"
    assert found("plain:3.0.0") is None
    assert found("other") is None
    assert found("sized/32x32") == "sized/32x32:1.0.0"
    assert found("sized/64x64:1.0.0") == "sized/64x64:1.0.0"
    # which config is meant by the bare name is known from what TFDS notes down, not guessed
    assert found("sized") is None
    (tmp_path / "sized" / ".config").mkdir()
    (tmp_path / "sized" / ".config" / "metadata.json").write_text(
        '{"default_config_name": "64x64"}'
    )
    assert found("sized") == "sized/64x64:1.0.0"


def test_default_data_dir(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(copy))
    assert set(identify("cifar10")) == {"all"}


def test_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flowers" / "rose").mkdir(parents=True)
    make(tmp_path, "mnist/3.0.1")
    (tmp_path / "kmnist").write_bytes(b"")
    kinds = {
        "digits": "digits",
        "cifar10": "a TensorFlow Datasets name",
        "cifar10:3.0.2": "a TensorFlow Datasets name",
        "imagenet_resized/32x32": "a TensorFlow Datasets name",
        "flowers": "an image folder",
        "./flowers": "an image folder",
        "mnist": "a TensorFlow Datasets name",
        "clip.npz": "a features file (.npz)",
    }
    assert {name: find_source(name).title for name in kinds} == kinds
    for path in ("./nothing", "/nothing", "../no such folder", "~/nothing/"):
        with pytest.raises(UserError, match="is not there, expected digits, a features file"):
            find_source(path)
    with pytest.raises(UserError, match="'kmnist' is a file, expected digits, a features file"):
        find_source("kmnist")
