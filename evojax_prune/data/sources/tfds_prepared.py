"""Data sets that TensorFlow Datasets has prepared, looked at on disk without importing it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from evojax_prune.core.errors import UserError, said_of
from evojax_prune.data.decoding import DECODING
from evojax_prune.data.files import is_folder
from evojax_prune.data.sources.given import assign_splits

_NAME = re.compile(
    r"(?P<name>[a-zA-Z]\w*)(/(?P<config>[\w.+=-]+))?(:(?P<version>\d+\.\d+\.\d+))?", re.ASCII
)
_LONGEST = 200
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_INFO = "dataset_info.json"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
"""TensorFlow Datasets' default names of a split's files."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """One version of a data set on disk.

    Attributes:
        folder: ``DATA_DIR/name[/config]/version``.
        info: content of its ``dataset_info.json``.
    """

    folder: Path
    info: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the data set, with its config if it has one."""
        config = self.info.get("configName")
        return f"{self.info['name']}/{config}" if config else str(self.info["name"])

    @property
    def version(self) -> str:
        """The data set's own version."""
        return str(self.info["version"])

    @property
    def file_format(self) -> str:
        """``array_record``, ``tfrecord``, ...; the early default where it is not said."""
        return str(self.info.get("fileFormat", "tfrecord"))

    @property
    def given(self) -> dict[str, tuple[str, ...]]:
        """The data set's own splits that make up each given split.

        Raises:
            UserError: none of its splits is for training.
        """
        names = [split["name"] for split in self.info["splits"]]
        assigned = assign_splits(names)
        if not assigned:
            raise UserError(
                f"{self.name} has the splits {', '.join(names) or 'none'}, expected train, and"
                " perhaps test or validation: save what you need as an image folder"
            )
        return assigned

    def shards(self, split: str) -> list[Path]:
        """Files of one of its own splits, in order.

        Raises:
            UserError: some are missing.
        """
        (about,) = (s for s in self.info["splits"] if s["name"] == split)
        words = {
            "DATASET": str(self.info["name"]),
            "SPLIT": split,
            "FILEFORMAT": self.file_format,
        }
        template = about.get("filepathTemplate") or _TEMPLATE
        pattern = re.sub(r"\{(\w+)\}", lambda token: words.get(token[1], "*"), template)
        found = sorted(self.folder.glob(pattern))
        if len(found) != len(about["shardLengths"]):
            raise UserError(
                f"{self.folder} has {len(found)} of the {len(about['shardLengths'])} files of split"
                f" {split}: delete the folder and prepare the data set again"
            )
        return found

    def identity(self, split: str) -> str:
        """Digest of what describes a given split: metadata, and names and sizes of its files.

        The files themselves are not read: TensorFlow Datasets' versions vouch for them, and they
        may be many gigabytes.
        """
        digest = hashlib.sha256(f"tfds/{DECODING}/{split}/{self.given[split]}".encode())
        for path in [self.folder / _INFO, self.folder / "features.json", *self._label_files()]:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        for part in self.given[split]:
            for shard in self.shards(part):
                digest.update(f"{shard.name} {shard.stat().st_size}\n".encode())
        return digest.hexdigest()

    def _label_files(self) -> list[Path]:
        return sorted(self.folder.glob("*.labels.txt"))


def is_name(dataset: str) -> bool:
    """Whether this may be a TensorFlow Datasets name: ``name``, ``name/config:1.2.3``, ..."""
    return len(dataset) <= _LONGEST and _NAME.fullmatch(dataset) is not None


def is_prepared(folder: Path) -> bool:
    """Whether the folder is one that TensorFlow Datasets made: of a data set, config or version."""
    return any(any(folder.glob(f"{below}{_INFO}")) for below in ("", "*/", "*/*/"))


def data_root(data_dir: Path | None) -> Path:
    """The folder that holds all prepared data sets; TensorFlow Datasets' own default if None."""
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return Path(default if data_dir is None else data_dir).expanduser()


def find_prepared(dataset: str, data_dir: Path | None) -> Prepared | None:
    """The data set on disk, of the highest version if none is named; None if it is not there.

    Raises:
        UserError: a data folder that does not exist or that is the data set's own, or metadata that
            cannot be read.
    """
    match = _NAME.fullmatch(dataset)
    if match is None:
        raise ValueError(f"{dataset!r} is not a TensorFlow Datasets name")
    root = data_root(data_dir)
    _check_root(root, given=data_dir is not None)
    base = root / match["name"]
    config = match["config"] or _default_config(base)
    if config:
        base = base / config
    version = match["version"] or _highest_version(base)
    if version is None or not (base / version / _INFO).is_file():
        return None
    return read_prepared(base / version)


def read_prepared(folder: Path) -> Prepared:
    """The data set of a version's folder.

    Raises:
        UserError: its metadata cannot be read.
    """
    try:
        info = json.loads((folder / _INFO).read_text("utf-8"))
        if not {"name", "version", "splits"} <= set(info):
            raise ValueError("name, version or splits are missing")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder / _INFO} cannot be read ({said_of(error)}): delete {folder} and prepare "
            "the data set again"
        ) from error
    return Prepared(folder, info)


def _check_root(root: Path, given: bool) -> None:
    if given and not is_folder(root):
        raise UserError(
            f"there is no data folder {root}: give the folder that holds the data sets of"
            " TensorFlow Datasets, or make an empty one to download into"
        )
    if (root / _INFO).is_file() or any(root.glob(f"*/{_INFO}")):
        raise UserError(
            f"{root} is the folder of one data set: as data directory, give the folder which holds"
            " the folders of all data sets"
        )


def _default_config(base: Path) -> str | None:
    """Name of the config that is meant where none is named, noted down by TensorFlow Datasets."""
    try:
        noted = json.loads((base / ".config" / "metadata.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    name = noted.get("default_config_name")
    return name if isinstance(name, str) else None


def _highest_version(base: Path) -> str | None:
    if not base.is_dir():
        return None
    found = [p.name for p in base.iterdir() if _VERSION.fullmatch(p.name) and (p / _INFO).is_file()]
    return max(found, key=lambda v: tuple(map(int, v.split("."))), default=None)
