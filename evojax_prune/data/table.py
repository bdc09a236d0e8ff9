"""Features and labels of every given split, and the file people bring their own in."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from pathlib import Path

import numpy as np

from evojax_prune.core.errors import UserError

_KEYS = ("x_train", "y_train", "x_test", "y_test", "groups_train", "groups_test", "classes")


@dataclasses.dataclass(frozen=True)
class FeatureTable:
    """Features and labels of each given split.

    Attributes:
        name: what to call the data set in tables.
        version: the data set's own version, or the head of a digest of its content.
        classes: class names, C of them.
        x: for each given split features ``float32 [n, F]``; the splits are ``{"train", "test"}``,
            ``{"all"}`` (one folder: a test split is cut by seed), or ``{"train"}`` (a features file
            without a test split: likewise).
        y: for each given split labels ``int32 [n]`` in [0, C).
        groups: for each given split the group of each row, ``str [n]``; None without groups.
        source: where the features come from, such as ``"efficientnet-lite0 on cifar10 3.0.2"``.
    """

    name: str
    version: str
    classes: tuple[str, ...]
    x: dict[str, np.ndarray]
    y: dict[str, np.ndarray]
    groups: dict[str, np.ndarray] | None
    source: str


def load_features_file(path: Path | str) -> FeatureTable:
    """Features from a NumPy ``.npz`` file.

    It holds ``x_train`` (numbers ``[n, F]``) and ``y_train`` (integers ``[n]``, 0 or more), may
    hold ``x_test`` and ``y_test``, ``groups_train`` and ``groups_test`` (strings or integers
    ``[n]``), and ``classes`` (names ``[C]``). Without names, the labels found are the classes, in
    order, and need not start at 0 nor follow each other.

    Raises:
        UserError: no such file, keys missing or unknown, or arrays that are not as said above.
    """
    path = Path(path)
    arrays = _read(path)
    _check_keys(path, arrays)
    x: dict[str, np.ndarray] = {}
    y: dict[str, np.ndarray] = {}
    groups: dict[str, np.ndarray] = {}
    for split in [s for s in ("train", "test") if f"x_{s}" in arrays]:
        x[split] = _features(path, f"x_{split}", arrays)
        y[split] = _labels(path, f"y_{split}", arrays, rows=len(x[split]))
        if f"groups_{split}" in arrays:
            groups[split] = _groups(path, f"groups_{split}", arrays, rows=len(x[split]))
    if "test" in x and x["test"].shape[1] != x["train"].shape[1]:
        raise UserError(
            f"{path}: x_test has {x['test'].shape[1]} features and x_train {x['train'].shape[1]},"
            " expected the same number"
        )
    classes, y = _classes(path, arrays, y)
    return FeatureTable(
        name=path.stem,
        version=_version(path),
        classes=classes,
        x=x,
        y=y,
        groups=groups or None,
        source=f"features file {path.name}",
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if isinstance(file, np.lib.npyio.NpzFile):
                return {key: file[key] for key in file.files}
    except FileNotFoundError as error:
        raise UserError(f"there is no features file {path}: check the path") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} cannot be read as an .npz file of plain arrays ({error}): write it with"
            " numpy.savez, labels and groups as integers or strings, not objects"
        ) from error
    raise UserError(
        f"{path} holds one array, expected several: write x_train and y_train with numpy.savez"
    )


def _check_keys(path: Path, arrays: dict[str, np.ndarray]) -> None:
    needed = ["x_train", "y_train"]
    if "x_test" in arrays or "y_test" in arrays:
        needed += ["x_test", "y_test"]
    if "groups_train" in arrays or "groups_test" in arrays:
        needed += ["groups_train"] + (["groups_test"] if "x_test" in needed else [])
    if missing := [key for key in needed if key not in arrays]:
        raise UserError(
            f"{path} lacks {', '.join(missing)} (it has {', '.join(arrays) or 'nothing'}):"
            " expected x_train and y_train, and optionally x_test with y_test, groups_train with"
            " groups_test"
        )
    allowed = set(needed) | {"classes"}
    if unknown := [key for key in arrays if key not in allowed]:
        raise UserError(
            f"{path} holds {', '.join(unknown)}, which means nothing here: expected only"
            f" {', '.join(_KEYS)}"
        )


def _features(path: Path, key: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    given = arrays[key]
    if given.ndim != 2 or 0 in given.shape:
        raise UserError(f"{path}: {key} has shape {list(given.shape)}, expected [rows, features]")
    if given.dtype.kind not in "fiu":
        raise UserError(f"{path}: {key} has type {given.dtype}, expected numbers such as float32")
    with np.errstate(over="ignore"):  # what overflows float32 is infinite, and refused below
        x = given.astype(np.float32)
    if bad := np.count_nonzero(~np.isfinite(x).all(1)):
        row = int(np.argmax(~np.isfinite(x).all(1)))
        raise UserError(
            f"{path}: {bad} rows of {key} hold NaN or infinite numbers, the first is row {row}:"
            " remove them or compute them again"
        )
    return np.ascontiguousarray(x)


def _labels(path: Path, key: str, arrays: dict[str, np.ndarray], rows: int) -> np.ndarray:
    y = arrays[key]
    if y.dtype.kind not in "iu":
        raise UserError(
            f"{path}: {key} has type {y.dtype}, expected integers: number the classes from 0"
        )
    if y.shape != (rows,):
        raise UserError(
            f"{path}: {key} has shape {list(y.shape)}, expected [{rows}]: one label a row of"
            f" {key.replace('y_', 'x_')}"
        )
    if y.min() < 0:
        raise UserError(f"{path}: {key} holds {y.min()}, expected labels of 0 or more")
    return y


def _groups(path: Path, key: str, arrays: dict[str, np.ndarray], rows: int) -> np.ndarray:
    groups = arrays[key]
    if groups.shape != (rows,):
        raise UserError(
            f"{path}: {key} has shape {list(groups.shape)}, expected [{rows}]: one group a row of"
            f" {key.replace('groups_', 'x_')}"
        )
    if groups.dtype.kind not in "iuUS":
        raise UserError(f"{path}: {key} has type {groups.dtype}, expected strings or integers")
    return groups.astype(np.str_)


def _classes(
    path: Path, arrays: dict[str, np.ndarray], y: dict[str, np.ndarray]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Class names, and the labels as numbers of these classes."""
    found = np.unique(np.concatenate(list(y.values())))
    if strange := sorted(set(found.tolist()) - set(y["train"].tolist())):
        raise UserError(f"{path}: label {strange[0]} of y_test is not in y_train")
    if len(found) < 2:
        raise UserError(f"{path}: y_train holds the one label {found[0]}, expected two or more")
    if "classes" not in arrays:
        names = found.astype(np.str_)
    else:
        names = arrays["classes"]
        if (
            names.ndim != 1
            or names.dtype.kind != "U"
            or not np.array_equal(found, np.arange(len(names)))
        ):
            raise UserError(
                f"{path}: classes must name the labels 0 to {found.max()} of y_train, one string"
                f" each, got {names.dtype} {list(names.shape)} for {len(found)} labels in use"
            )
    return tuple(names.tolist()), {
        split: np.searchsorted(found, labels).astype(np.int32) for split, labels in y.items()
    }


def _version(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
