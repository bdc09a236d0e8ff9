"""PyTorch weights files written without PyTorch, good and bad ones."""

from __future__ import annotations

import collections
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

_KINDS = {"f4": "FloatStorage", "i8": "LongStorage", "f8": "DoubleStorage", "f2": "HalfStorage"}


def _stub() -> types.ModuleType:
    """As much of torch as a pickle names."""
    torch = types.ModuleType("torch")
    utils = types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*_: Any) -> None: ...

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch._utils = utils
    for kind in _KINDS.values():
        setattr(torch, kind, type(kind, (), {"__module__": "torch", "__qualname__": kind}))
    return torch


class _Storage:
    def __init__(self, array: np.ndarray, key: str) -> None:
        self.array, self.key = array, key


class _Tensor:
    def __init__(self, storage: _Storage, torch: Any, shape: tuple[int, ...] | None) -> None:
        self.storage, self.torch = storage, torch
        self.shape = storage.array.shape if shape is None else shape

    def __reduce__(self) -> tuple[Any, ...]:
        array = self.storage.array
        strides = tuple(s // array.itemsize for s in array.strides)
        rebuild = self.torch._utils._rebuild_tensor_v2
        return rebuild, (self.storage, 0, self.shape, strides, False, collections.OrderedDict())


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> Any:
        if not isinstance(obj, _Storage):
            return None
        kind = getattr(sys.modules["torch"], _KINDS[obj.array.dtype.str[1:]])
        return ("storage", kind, obj.key, "cpu", obj.array.size, None)


def write(
    path: Path,
    tensors: dict[str, np.ndarray],
    *,
    zipped: bool = False,
    claimed: dict[str, tuple[int, ...]] | None = None,
) -> Path:
    """Write tensors as ``torch.save`` does.

    Args:
        path: the file.
        tensors: arrays by name.
        zipped: the layout of PyTorch 1.6 on, rather than the older one.
        claimed: false shapes that the file tells of some tensors.
    """
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    torch = _stub()
    sys.modules |= {"torch": torch, "torch._utils": torch._utils}
    try:
        storages = {k: _Storage(np.ascontiguousarray(v), str(i)) for i, (k, v) in
                    enumerate(tensors.items())}  # fmt: skip
        state = collections.OrderedDict(
            (k, _Tensor(s, torch, (claimed or {}).get(k))) for k, s in storages.items()
        )
        state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
        (_write_zip if zipped else _write_legacy)(path, state, list(storages.values()))
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module
    return path


def _write_legacy(path: Path, state: Any, storages: list[_Storage]) -> None:
    with path.open("wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(part, file, protocol=2)
        _Pickler(file, protocol=2).dump(state)
        pickle.dump([s.key for s in storages], file, protocol=2)
        for storage in storages:
            file.write(np.int64(storage.array.size).tobytes() + storage.array.tobytes())


def _write_zip(path: Path, state: Any, storages: list[_Storage]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("net/data.pkl", "w") as file:
            _Pickler(file, protocol=2).dump(state)
        archive.writestr("net/byteorder", "little")
        for storage in storages:
            archive.writestr(f"net/data/{storage.key}", storage.array.tobytes())
