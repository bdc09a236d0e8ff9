"""Features files: what is read, and each bad or hostile one as one clear sentence."""

from __future__ import annotations

import io
import os
import socket
import struct
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evojax_prune.core.errors import UserError
from evojax_prune.data import FeatureTable, load, table_of


def arrays(**changed: Any) -> dict[str, Any]:
    """A good file's arrays with some changed, or left out where None."""
    rng = np.random.default_rng(0)
    good = {
        "x_train": rng.normal(size=(6, 3)),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": rng.normal(size=(4, 3)).astype(np.float16),
        "y_test": np.array([2, 1, 0, 0], np.uint8),
        "groups_train": np.array(["a", "a", "b", "b", "c", "c"]),
        "groups_test": np.array([1, 1, 2, 2]),
    }
    return {key: value for key, value in (good | changed).items() if value is not None}


@pytest.fixture
def file(tmp_path: Path):
    def save(**changed: Any) -> Path:
        path = tmp_path / "clip.npz"
        np.savez(path, **arrays(**changed))
        return path

    return save


def load_features_file(path: Path) -> FeatureTable:
    table = load(str(path))
    assert isinstance(table, FeatureTable)
    return table


def test_whole_file(file) -> None:
    table = load_features_file(file())
    assert (table.name, table.classes, table.source) == (
        "clip",
        ("0", "1", "2"),
        "features file clip.npz",
    )
    assert {key: (x.dtype, x.shape) for key, x in table.x.items()} == {
        "train": (np.float32, (6, 3)),
        "test": (np.float32, (4, 3)),
    }
    assert table.y["test"].tolist() == [2, 1, 0, 0]
    assert table.y["test"].dtype == np.int32
    assert table.groups["test"].tolist() == ["1", "1", "2", "2"]


def test_training_data_alone(file) -> None:
    table = load_features_file(file(x_test=None, y_test=None, groups_train=None, groups_test=None))
    assert list(table.x) == list(table.y) == ["train"]
    assert table.groups is None


def test_a_file_is_checked_as_arrays_are(file) -> None:
    labels = {"y_train": np.array(list("bcabca")), "y_test": np.array([b"a", b"b", b"b", b"c"])}
    from_file = load_features_file(file(**labels))
    given = arrays(**labels)
    in_memory = table_of(
        *(given[key] for key in ("x_train", "y_train", "x_test", "y_test")),
        groups=given["groups_train"],
        groups_test=given["groups_test"],
    )
    assert from_file.classes == in_memory.classes == ("a", "b", "c")
    for one, two in ((from_file.x, in_memory.x), (from_file.y, in_memory.y)):
        for split in one:
            np.testing.assert_array_equal(one[split], two[split])


def test_version_follows_the_content(file) -> None:
    first = load_features_file(file()).version
    assert load_features_file(file()).version == first
    assert load_features_file(file(y_test=np.array([0, 0, 0, 0]))).version != first


def test_packed_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "packed.NPZ"
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays(x_train=np.asfortranarray(np.eye(6, 3))))
    np.testing.assert_array_equal(load_features_file(path).x["train"], np.eye(6, 3))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x_train": np.ones(6)}, r"x_train has shape \[6\], expected \[rows, features\]"),
        ({"y_train": np.arange(5)}, r"y_train has shape \[5\].*one label per row of x_train"),
        ({"groups_train": np.array(["a"])}, r"groups_train has shape \[1\].*one group per row"),
        ({"x_train": None}, "x_train missing"),
        ({"y_test": None}, "y_test missing"),
        ({"groups_test": None}, "groups_test missing"),
        ({"x_val": np.ones((2, 3))}, "holds x_val, which means nothing here"),
        ({"x\nval" * 50: np.ones((2, 3))}, r"holds 'x\\nval"),
        ({"y_train": np.array([0, 1, 2, 0, 1, None])}, "y_train.npy holds objects"),
        ({"x_train": np.zeros((6, 3), [("a", "f4")])}, "expected numbers"),
        ({"x_train": np.zeros((6, 3), "c8")}, "expected numbers"),
        ({"y_train": np.zeros(6, "M8[s]")}, "expected integers, bools or strings"),
        ({"y_train": np.zeros(6, "V3")}, "expected integers, bools or strings"),
    ],
)
def test_bad_file(file, changed: dict[str, Any], message: str) -> None:
    refused(file(**changed), message)


def refused(path: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(str(path))
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.npz", "there is no features file")


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04broken"])
def test_no_npz_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "features.npz"
    path.write_bytes(content)
    refused(path, r"cannot be read as an \.npz file")


def test_single_array(tmp_path: Path) -> None:
    with open(tmp_path / "features.npz", "wb") as file:
        np.save(file, np.ones(3))
    refused(tmp_path / "features.npz", "holds one array")


# Hostile files


def head(shape: str, dtype: str = "'<f4'", version: tuple[int, int] = (1, 0)) -> bytes:
    """The head of an array, telling anything."""
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text


def with_member(path: Path, name: str, content: bytes, compression: int = zipfile.ZIP_STORED):
    """A good file in which one member is exchanged."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for key, value in arrays().items():
            buffer = io.BytesIO()
            np.save(buffer, value)
            if f"{key}.npy" != name and key != name:
                archive.writestr(f"{key}.npy", buffer.getvalue())
        archive.writestr(name, content)
    return path


HOSTILE = {
    "a shape of 1e12": (head("(1000000000000, 3)"), "its head tells 12000000000"),
    "a shape beyond 64 bits": (head(f"({10**30}, 3)"), "its head"),
    "a negative shape": (head("(-1, 3)"), r"\[-1, 3\]"),
    "a shape of words": (head("('a', 3)"), "cannot be read"),
    "strings of a gigabyte": (head("(6, 3)", "'<U250000000'"), "its head tells 18000000076"),
    "a type of no bytes": (head("(6, 3)", "'<U0'") + bytes(40), r"is <U0 \[6, 3\]"),
    "an unknown type": (head("(6, 3)", "'<q99'"), "cannot be read"),
    "a type that nests": (head("(6, 3)", "[" * 900 + "]" * 900), "cannot be read"),
    "code for a type": (head("(6, 3)", "__import__('os').abort()"), "cannot be read"),
    "objects": (head("(6, 3)", "'|O'"), "holds objects"),
    "an unknown version": (head("(6, 3)", version=(7, 7)), "unknown version"),
    "a head of megabytes": (head("(6, 3)" + " " * 60_000), "cannot be read"),
    "no head": (b"not an array", "cannot be read"),
    "nothing": (b"", "cannot be read"),
    "an array cut short": (head("(6, 3)") + bytes(71), "its head tells"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_arrays(tmp_path: Path, case: str) -> None:
    content, message = HOSTILE[case]
    path = with_member(tmp_path / "bad.npz", "x_train.npy", content)
    tracemalloc.start()
    refused(path, message)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_member_that_is_no_array(tmp_path: Path) -> None:
    refused(with_member(tmp_path / "a.npz", "x_train", b"text"), "x_train is not an array")


def patched(path: Path, *changes: tuple[int, int]) -> Path:
    """The first member's local and central entries with some bytes changed, by offset of each."""
    data = bytearray(path.read_bytes())
    local, central = 0, data.index(b"PK\x01\x02")
    for offset, value in changes:
        data[local + offset - 2] = data[central + offset] = value
    path.write_bytes(bytes(data))
    return path


def test_an_encrypted_member(file) -> None:
    refused(patched(file(), (8, 1)), "x_train is encrypted")


def test_an_unknown_compression(file) -> None:
    refused(patched(file(), (10, 99)), "compression")


def test_an_array_that_is_in_the_file_twice(tmp_path: Path) -> None:
    path = tmp_path / "twice.npz"
    np.savez(path, **arrays())
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x_train.npy", b"")
    refused(path, "in it twice")


def test_a_zip_bomb(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    shape = (70_000, 1000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x_train.npy", "w") as stream:
            stream.write(head(str(shape)))
            for _ in range(shape[0] // 10_000):
                stream.write(bytes(4 * shape[1] * 10_000))
        archive.writestr("y_train.npy", head(f"({shape[0]},)", "'|u1'") + bytes(shape[0]))
    assert path.stat().st_size < 1e6
    tracemalloc.start()
    refused(path, r"x_train claims 0\.3 GB in 0\.3 MB")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_more_than_the_memory_holds(file, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evojax_prune.data.sources.npz.total_memory", lambda: 1000.0)
    refused(file(), "more than half of this machine's memory")


def test_what_is_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "device.npz").symlink_to("/dev/zero")
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.npz"))
        for name, kind in {
            "pipe": "a named pipe",
            "folder": "a folder",
            "device": "a device",
            "socket": "a socket",
        }.items():
            refused(tmp_path / f"{name}.npz", f"it is {kind}, expected a regular file")
    assert time.monotonic() - began < 5
    for name in ("a" * 300, "a\0b"):
        with pytest.raises(UserError, match=r"cannot read|not a valid path"):
            load(f"{name}.npz")


def test_a_pipe_that_is_put_in_the_place_of_a_file_does_not_wait(
    file, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, status = file(), os.stat
    names = [path]

    def swap(name: Any, **options: Any) -> os.stat_result:
        before = status(name, **options)
        if name in names:
            names.clear()
            path.unlink()
            os.mkfifo(path)
        return before

    monkeypatch.setattr(os, "stat", swap)
    caught: list[BaseException] = []

    def work() -> None:
        try:
            load(str(path))
        except UserError as error:
            caught.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert "it is a named pipe" in str(caught[0])


@settings(deadline=2000, max_examples=150)
@given(st.data())
def test_any_damage_is_a_table_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    (np.savez_compressed if data.draw(st.booleans()) else np.savez)(path, **arrays())
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path.write_bytes(bytes(content))
    caught = None
    try:
        load(str(path))
    except UserError as error:
        caught = error
    assert "\n" not in str(caught)
