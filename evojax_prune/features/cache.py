"""Features kept on disk, one file for each data split and way of making them.

A file is named by a digest of its key, which tells everything that its content follows from; so it
never goes stale, and may be deleted at any time. It is written beside its place and then moved
there, so that two processes may write the same one at once. What is read is checked first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.core.errors import said_of
from evojax_prune.core.files import (
    check_readable,
    checked_path,
    make_folder,
    remove_parts,
    save_file,
)
from evojax_prune.data.files import is_file
from evojax_prune.data.sources.given import tell_once
from evojax_prune.data.table import check_rows

log = logging.getLogger("evojax_prune")

FORMAT = 1
"""Raise when the layout of the files changes; older ones are then not looked at."""

STALE = 86400.0
"""Seconds after which a file that is still not whole was left by a process that was killed."""

Key = dict[str, str | int]
"""What the features follow from: data, backbone, weights, image size, preprocessing."""


@dataclasses.dataclass(frozen=True)
class CacheEntry:
    """Features of one split, and what else a run needs of its data set.

    Attributes:
        features: ``float32 [n, F]``.
        labels: ``int32 [n]`` in [0, C).
        paths: path of each image below the data folder; None where images have no names.
        classes: class names, C of them.
        name: the data set's name.
        version: the data set's version.
    """

    features: np.ndarray
    labels: np.ndarray
    paths: tuple[str, ...] | None
    classes: tuple[str, ...]
    name: str
    version: str


def folder(given: Path | None = None) -> Path:
    """Where the cache is: as given, else ``$EVOJAX_PRUNE_CACHE``, else the user's cache folder."""
    if given is not None:
        return given
    if named := os.environ.get("EVOJAX_PRUNE_CACHE"):
        return checked_path(named, "EVOJAX_PRUNE_CACHE")
    import platformdirs

    return Path(platformdirs.user_cache_dir("evojax_prune"))


def path_of(cache: Path, key: Key) -> Path:
    """The file that holds the features of a key."""
    return cache / f"features-{key_digest(key)[:32]}.safetensors"


def key_digest(key: Key) -> str:
    """Hex digest of a key."""
    return hashlib.sha256(_json({"format": FORMAT, **key}).encode()).hexdigest()


@contextlib.contextmanager
def locked(cache: Path, key: Key) -> Iterator[None]:
    """Keep other processes from making the features of a key until the block ends.

    Where no lock can be had, as on a read-only file system, nobody is kept out: two processes may
    then do the same work, and the later one's file stays.
    """
    import filelock

    file = path_of(cache, key).with_suffix(".lock")
    lock = filelock.FileLock(file)
    with contextlib.suppress(OSError, NotImplementedError):
        cache.mkdir(parents=True, exist_ok=True)
        # filelock would wait for ever for a file that cannot be made, as in /proc
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o644))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            file.unlink()  # who waits for it finds the features made


def read(cache: Path, key: Key) -> CacheEntry | None:
    """The features of a key; None where there are none, or with a notice where they are damaged."""
    path = path_of(cache, key)
    if not is_file(path):
        return None
    try:
        return _read(path, key)
    except Exception as error:  # damage takes any form
        why = f"cached features {path} are not used, but computed again: {said_of(error)}"
        tell_once(logging.WARNING, why)
        return None


def write(cache: Path, key: Key, entry: CacheEntry) -> None:
    """Keep the features of a key; a cache that cannot be written costs a notice, not the run."""
    try:
        make_folder(cache)
        remove_parts(cache, STALE)
        save_file(path_of(cache, key), lambda part: _write(part, key, entry), entry.features.nbytes)
    except Exception as error:  # the disk's or safetensors' own
        log.warning("features are not cached, so the next run computes them again: %s", error)


def _write(path: Path, key: Key, entry: CacheEntry) -> None:
    from safetensors.numpy import save_file as save_tensors

    about = _json(
        {
            "key": key,
            "paths": entry.paths is not None,
            "classes": entry.classes,
            "name": entry.name,
            "version": entry.version,
        }
    )
    # Paths can be many: as a tensor, for the header of a safetensors file is bounded.
    paths = "\0".join(entry.paths or ()).encode("utf-8", "surrogateescape")
    tensors: dict[str, np.ndarray] = {
        "features": np.ascontiguousarray(entry.features, np.float32),
        "labels": np.ascontiguousarray(entry.labels, np.int32),
        "paths": np.frombuffer(paths, np.uint8),
    }
    save_tensors(tensors, path, metadata={"about": about, "checksum": _checksum(about, tensors)})


def _read(path: Path, key: Key) -> CacheEntry:
    from safetensors import safe_open

    check_readable(path)
    with safe_open(path, "numpy") as file:
        metadata: dict[str, str] = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in ("features", "labels", "paths")}
    about = metadata["about"]
    if metadata["checksum"] != _checksum(about, tensors):
        raise ValueError("the checksum does not match")
    told: dict[str, Any] = json.loads(about)
    if told["key"] != key:
        raise ValueError("the key does not match")
    check_rows(tensors["features"], tensors["labels"], len(told["classes"]))
    text = tensors["paths"].tobytes().decode("utf-8", "surrogateescape")
    paths = tuple(text.split("\0")) if told["paths"] else None
    if paths is not None and len(paths) != len(tensors["labels"]):
        raise ValueError("it has more or fewer paths than rows")
    return CacheEntry(
        features=tensors["features"],
        labels=tensors["labels"],
        paths=paths,
        classes=tuple(told["classes"]),
        name=told["name"],
        version=told["version"],
    )


def _checksum(about: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape} ".encode())
        digest.update(tensor.data if tensor.size else b"")
    return digest.hexdigest()


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True)
