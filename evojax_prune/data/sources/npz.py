"""Features from a NumPy ``.npz`` file, read as a file that nobody vouches for."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from evojax_prune.core.errors import UserError, said_of
from evojax_prune.core.files import total_memory
from evojax_prune.data.files import open_file
from evojax_prune.data.sources.arrays import KEYS, checked_table
from evojax_prune.data.sources.source import LoadOptions, Source
from evojax_prune.data.table import FeatureTable

_HEADER = 1 << 16
"""Most bytes before an array's numbers; NumPy itself refuses more than 10,000 that it parses."""

_LARGE = 1 << 28
_RATIO = 250
"""An array of more bytes than the one, packed by more than the other, is not features."""


class FeaturesFile(Source):
    """Features that were computed elsewhere.

    The file holds ``x_train`` (numbers ``[n, F]``) and ``y_train`` (integers, bools or strings
    ``[n]``), may hold ``x_test`` and ``y_test``, ``groups_train`` and ``groups_test`` (strings or
    integers ``[n]``), and ``classes`` (names ``[C]``). Without names, the labels found are the
    classes, sorted, and need not start at 0 nor follow each other.
    """

    title = "a features file (.npz)"

    def claims(self, dataset: str) -> bool:
        """Whatever ends in ``.npz``."""
        return dataset.lower().endswith(".npz")

    def load(self, dataset: str, options: LoadOptions) -> FeatureTable:
        """The features."""
        path = Path(dataset).expanduser()
        with _refusals(path), open_file(path) as file:
            arrays = _read(file, path, KEYS)
            file.seek(0)
            version = hashlib.file_digest(file, "sha256").hexdigest()[:12]
        source = f"features file {path.name}"
        try:
            return checked_table(arrays, str, path.stem, source, version)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None


def read_arrays(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Some arrays of an ``.npz`` file, as far as it has them; others are not looked at.

    Raises:
        UserError: the file is missing or damaged, or claims more than the memory holds.
    """
    with _refusals(path), open_file(path) as file:
        return _read(file, path, keys, others=True)


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a file becomes one kind of error."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"there is no features file {path}: check the path") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UserError:
        raise
    except Exception as error:  # damage takes any form
        raise UserError(
            f"{path} cannot be read as an .npz file of plain arrays"
            f" ({said_of(error)}): write it with numpy.savez, labels and groups as"
            " integers or strings, not objects"
        ) from error


def _read(
    file: BinaryIO, path: Path, keys: Sequence[str], others: bool = False
) -> dict[str, np.ndarray]:
    """The arrays, each looked at before memory is taken for it; ``others`` may lie beside them."""
    if file.read(6) == b"\x93NUMPY":
        raise UserError(
            f"{path} holds one array, expected several: write x_train and y_train with numpy.savez"
        )
    with zipfile.ZipFile(file) as archive:
        members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise ValueError("an array is in it twice")
        if not others and (unknown := [key for key in members if key not in keys]):
            raise UserError(
                f"{path} holds {_shown(unknown[0])}, which means nothing here: expected only"
                f" {', '.join(keys)}"
            )
        members = {key: entry for key, entry in members.items() if key in keys}
        for key, entry in members.items():
            _check_entry(key, entry)
        size = sum(entry.file_size for entry in members.values())
        if size > total_memory() / 2:
            raise ValueError(
                f"its arrays take {size / 1e9:.1f} GB, more than half of this machine's memory"
            )
        return {key: _array(archive, entry) for key, entry in members.items()}


def _check_entry(key: str, entry: zipfile.ZipInfo) -> None:
    if not entry.filename.endswith(".npy"):
        raise ValueError(f"{key} is not an array")
    if entry.flag_bits & 1:
        raise ValueError(f"{key} is encrypted")
    if entry.file_size > _LARGE and entry.file_size > _RATIO * entry.compress_size:
        raise ValueError(
            f"{key} claims {entry.file_size / 1e9:.1f} GB in {entry.compress_size / 1e6:.1f} MB"
        )


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """One array, whose head tells no more numbers than the file has."""
    with warnings.catch_warnings():  # of files that Python 2 wrote, which read well
        warnings.simplefilter("ignore", UserWarning)
        with archive.open(entry) as stream:
            head = io.BytesIO(stream.read(_HEADER))
            version = np.lib.format.read_magic(head)
            reader = {(1, 0): np.lib.format.read_array_header_1_0,
                      (2, 0): np.lib.format.read_array_header_2_0}.get(version)  # fmt: skip
            if reader is None:
                raise ValueError(f"{entry.filename} is of an unknown version of NumPy's format")
            shape, _, dtype = reader(head)
        if dtype.hasobject:
            raise ValueError(f"{entry.filename} holds objects")
        if dtype.itemsize == 0 or min(shape, default=0) < 0:
            raise ValueError(f"{entry.filename} is {dtype} {list(shape)}")
        told = head.tell() + dtype.itemsize * math.prod(shape)
        if told != entry.file_size:
            raise ValueError(f"{entry.filename} has {entry.file_size} bytes, its head tells {told}")
        with archive.open(entry) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)


def _shown(name: str) -> str:
    return name if 0 < len(name) < 40 and name.isprintable() else repr(name[:40])
