from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch_files
from hypothesis import given, settings
from hypothesis import strategies as st

from evojax_prune.core.errors import UserError
from evojax_prune.features.backbones.torch_file import load_tensors

TENSORS = {
    "conv.weight": np.arange(24, dtype="f4").reshape(2, 3, 2, 2),
    "batches": np.array(7, "i8"),
    "half": np.linspace(0, 1, 5).astype("f2"),
    "nothing": np.zeros((0, 3), "f8"),
}


@pytest.mark.parametrize("zipped", [False, True])
def test_reads_what_was_written(tmp_path: Path, zipped: bool) -> None:
    read = load_tensors(torch_files.write(tmp_path / "net.pth", TENSORS, zipped=zipped))
    assert list(read) == list(TENSORS)
    for name, array in TENSORS.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


class _Evil:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("place", range(4))
def test_runs_no_code(tmp_path: Path, place: int) -> None:
    parts: list[Any] = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}]
    parts[place] = _Evil(tmp_path / "made")
    path = tmp_path / "evil.pth"
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts))
    with pytest.raises(UserError, match=r"asks for \w+\.mkdir, but only tensors"):
        load_tensors(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("shape", [(3, 3, 2, 2), (2, 3, 2, -2), (2**40, 3, 2, 2)])
def test_looks_at_nothing_outside_of_a_storage(
    tmp_path: Path, zipped: bool, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "net.pth"
    torch_files.write(path, TENSORS, zipped=zipped, claimed={"conv.weight": shape})
    with pytest.raises(UserError, match="outside of its storage"):
        load_tensors(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n", pickle.dumps([1, 2]), pickle.dumps({"a": 1}), b"PK\x03\x04"]
)
def test_other_files_are_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match="no readable PyTorch weights file"):
        load_tensors(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the weights file .*none\.pth"):
        load_tensors(tmp_path / "none.pth")


@settings(deadline=None, max_examples=150)
@given(data=st.data(), zipped=st.booleans())
def test_damage_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, zipped: bool
) -> None:
    path = torch_files.write(tmp_path_factory.mktemp("w") / "net.pth", TENSORS, zipped=zipped)
    content = bytearray(path.read_bytes())
    where = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[where:]
    else:
        content[where] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        assert all(isinstance(array, np.ndarray) for array in load_tensors(path).values())
