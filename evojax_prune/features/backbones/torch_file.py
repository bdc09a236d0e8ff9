"""PyTorch weights files, read without PyTorch.

Such a file is a pickle, and a pickle can run any code when it is loaded. Here the unpickler knows
tensors, storages and ordered dictionaries only, and refuses everything else by name. Both layouts
are read: the older one (pickles followed by raw storages) and the zip archive of PyTorch 1.6 on.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from evojax_prune.core.errors import UserError, described, said_of
from evojax_prune.data.files import open_file

_MAGIC = 0x1950A86A20F9469CFC6C
"""First pickle of the older layout, written by ``torch.save``."""

_DTYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


@dataclasses.dataclass(frozen=True)
class _StorageKind:
    """Stands for ``torch.FloatStorage`` and its like; data, nothing that can be called."""

    dtype: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    kind: _StorageKind
    key: str
    size: int


class _Tensor:
    """A view of a storage whose numbers are not read yet."""

    def __init__(
        self,
        storage: _Storage,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        *_: Any,
    ) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """The tensor, of its storage's numbers; refuses to look outside of them."""
        steps = [(size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)]
        inside = min((*self.shape, *self.strides, self.offset, 0)) == 0
        count = math.prod(self.shape)
        if not inside or (count and self.offset + sum(steps) >= len(numbers)):
            raise ValueError("a tensor reaches outside of its storage")
        if count > len(numbers):
            raise ValueError("a tensor has more numbers than its storage")
        strides = [numbers.itemsize * stride for stride in self.strides]
        return np.lib.stride_tricks.as_strided(
            numbers[self.offset :], self.shape, strides, writeable=False
        )


_MOST_OPERATIONS = 2_000_000
_MOST_SHARED = 30
"""Tuples that may be named again: a few more that hold each other take for ever to hash."""

_TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}


class _RefusedError(Exception):
    """The pickle asks for something that is no tensor."""


class _Unpickler(pickle.Unpickler):
    """Admits tensors, storages and ordered dictionaries; never imports what a pickle names."""

    def find_class(self, module: str, name: str) -> Any:
        """What a global name in the pickle stands for."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _DTYPES:
            return _StorageKind(_DTYPES[name])
        raise _RefusedError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage: ``("storage", kind, key, device, numbers in it, ...)``."""
        _, kind, key, _, size = pid[:5]
        return _Storage(kind, str(key), int(size))


def _load(file: IO[bytes]) -> Any:
    """The next pickle, once its operations are seen to take no more time and memory than they show.

    Raises:
        ValueError: it has a table or nested tuples that would grow far beyond its size.
    """
    start, before, names, shared = file.tell(), "", 0, 0
    tuples: set[int] = set()
    for count, (operation, argument, _) in enumerate(pickletools.genops(file)):
        name = operation.name
        if name in _PUTS:
            place = names if argument is None else int(str(argument))
            names += 1
            if place > count:
                raise ValueError("it names more objects than it has")
            if before in _TUPLES:
                tuples.add(place)
        shared += name == "DUP" or (name in _GETS and int(str(argument)) in tuples)
        if count > _MOST_OPERATIONS or shared > _MOST_SHARED:
            raise ValueError("it is not as torch.save writes it")
        before = name
    file.seek(start)
    return _Unpickler(file).load()


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dictionary written by ``torch.save``.

    Args:
        path: the file, in PyTorch's older or zip layout.

    Returns:
        Read-only arrays by name, in the file's order.

    Raises:
        UserError: the file is not of this kind, is damaged, or holds anything but tensors.
    """
    try:
        with open_file(path) as file:
            read = _read_zip if zipfile.is_zipfile(file) else _read_legacy
        tensors, numbers = read(path)
        return {str(k): t.of(numbers(t.storage)) for k, t in tensors.items()}
    except _RefusedError as error:
        raise UserError(
            f"weights file {path} asks for {said_of(error)}, but only tensors are read, since a "
            "pickle can run any code: save the network's state_dict() with torch.save"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read the weights file {path}: {error.strerror}") from None
    except Exception as error:  # what a damaged pickle raises has no bounds
        raise UserError(
            f"{path} is no readable PyTorch weights file ({described(error)}): "
            "expected a state_dict() saved with torch.save"
        ) from None


_Numbers = Callable[[_Storage], np.ndarray]


def _read_legacy(path: Path) -> tuple[dict[str, _Tensor], _Numbers]:
    """Pickles of a magic number, version, machine, tensors and storage keys; then the storages."""
    with open_file(path) as file:
        if _load(file) != _MAGIC:
            raise ValueError("no PyTorch file")
        _load(file)
        little = bool(_load(file)["little_endian"])
        tensors = _only_tensors(_load(file))
        kinds = {t.storage.key: t.storage.kind for t in tensors.values()}
        storages = {}
        for key in _load(file):
            (size,) = np.frombuffer(_exactly(file, 8), _in_order(np.dtype("i8"), little))
            dtype = _in_order(np.dtype(kinds[key].dtype), little)
            storages[key] = np.frombuffer(_exactly(file, int(size) * dtype.itemsize), dtype)
    return tensors, lambda storage: storages[storage.key]


def _read_zip(path: Path) -> tuple[dict[str, _Tensor], _Numbers]:
    """An archive of ``NAME/data.pkl``, ``NAME/byteorder`` and ``NAME/data/<key>``."""
    with open_file(path) as source, zipfile.ZipFile(source) as archive:
        names = archive.namelist()
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise ValueError("it claims more bytes than it has")  # torch.save packs nothing
        (pickled,) = (n for n in names if n.endswith("data.pkl"))
        prefix = pickled.removesuffix("data.pkl")
        little = prefix + "byteorder" not in names or archive.read(prefix + "byteorder") != b"big"
        with archive.open(pickled) as file:
            tensors = _only_tensors(_load(file))
        storages = {
            t.storage.key: np.frombuffer(
                archive.read(f"{prefix}data/{t.storage.key}"),
                _in_order(np.dtype(t.storage.kind.dtype), little),
            )
            for t in tensors.values()
        }
    return tensors, lambda storage: storages[storage.key]


def _in_order(dtype: np.dtype, little: bool) -> np.dtype:
    """The type with the file's order of bytes."""
    return dtype.newbyteorder("<" if little else ">")


def _only_tensors(loaded: Any) -> dict[str, _Tensor]:
    """The dictionary of tensors that a weights file holds, checked."""
    if not isinstance(loaded, dict) or not all(isinstance(t, _Tensor) for t in loaded.values()):
        raise ValueError("it holds no dictionary of tensors")
    return loaded


def _exactly(file: IO[bytes], size: int) -> bytes:
    """The next ``size`` bytes; a damaged file never makes more memory than it has bytes."""
    data = file.read(size) if size >= 0 else b""
    if len(data) != size:
        raise EOFError("the file ends too early")
    return data
