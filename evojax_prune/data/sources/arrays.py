"""Features that are in memory already, and the checks that features from a file pass as well."""

from __future__ import annotations

import dataclasses
import hashlib
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evojax_prune.core.class_names import check_class_names
from evojax_prune.core.errors import UserError, said_of
from evojax_prune.data.table import FeatureTable

KEYS = ("x_train", "y_train", "x_test", "y_test", "groups_train", "groups_test", "classes")
"""What a features file may hold."""

_ARGUMENTS = {"x_train": "x", "y_train": "y", "groups_train": "groups"}
"""What :func:`table_of` calls some of these."""


def table_of(
    x: ArrayLike,
    y: ArrayLike,
    x_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    groups_test: ArrayLike | None = None,
    classes: ArrayLike | None = None,
) -> FeatureTable:
    """Features in memory as a table: NumPy or JAX arrays, pandas objects, or lists.

    Args:
        x: features ``[n, F]``, any type of number or bool; finite as float32.
        y: labels ``[n]``: integers, bools or strings.
        x_test: features ``[m, F]`` of a test split; without it, one is cut off later.
        y_test: labels ``[m]``, none that ``y`` does not have.
        groups: group of each row ``[n]``: integers or strings; a group is never split.
        groups_test: group of each test row ``[m]``.
        classes: class names ``[C]``: of the labels 0 to C - 1, or the labels themselves, if they
            are strings, in another order. Without them the labels are the names, sorted.

    Raises:
        UserError: arrays that are not as said above.

    Example:
        >>> table = table_of([[0.0, 1.5], [2.0, 0.5]], ["cat", "dog"])
        >>> table.classes, table.y["train"].tolist()
        (('cat', 'dog'), [0, 1])
    """
    given = dict(zip(KEYS, (x, y, x_test, y_test, groups, groups_test, classes), strict=True))
    arrays = {key: value for key, value in given.items() if value is not None}
    return checked_table(arrays, lambda key: _ARGUMENTS.get(key, key), "arrays", "arrays")


def checked_table(
    arrays: Mapping[str, Any],
    called: Callable[[str], str],
    name: str,
    source: str,
    version: str | None = None,
) -> FeatureTable:
    """The table of arrays, once they are seen to be good.

    Args:
        arrays: by the names in :data:`KEYS`.
        called: what the user calls an array.
        name: the table's name.
        source: the table's source.
        version: the table's version; the head of a digest of the content if None.

    Raises:
        UserError: arrays are missing, or they are not as :func:`table_of` says.
    """
    _check_pairs(arrays, called)
    splits = [split for split in ("train", "test") if f"x_{split}" in arrays]
    x: dict[str, np.ndarray] = {}
    y: dict[str, np.ndarray] = {}
    groups: dict[str, np.ndarray] = {}
    for split in splits:
        key = f"x_{split}"
        x[split] = _features(arrays[key], called(key))
        rows = len(x[split])
        y[split] = _per_row(arrays[f"y_{split}"], "label", called(f"y_{split}"), called(key), rows)
        if (own := f"groups_{split}") in arrays:
            found = _per_row(arrays[own], "group", called(own), called(key), rows)
            groups[split] = found.astype(np.str_)
    if "test" in x and x["test"].shape[1] != x["train"].shape[1]:
        raise UserError(
            f"{called('x_test')} has {x['test'].shape[1]} features and {called('x_train')}"
            f" {x['train'].shape[1]}, expected the same number"
        )
    classes, labels = _classes(y, arrays.get("classes"), called)
    made = FeatureTable(name, version or "", classes, x, labels, groups or None, source)
    return made if version else dataclasses.replace(made, version=_digest(made))


def _check_pairs(arrays: Mapping[str, Any], called: Callable[[str], str]) -> None:
    needed = ["x_train", "y_train"]
    if "x_test" in arrays or "y_test" in arrays:
        needed += ["x_test", "y_test"]
    if "groups_train" in arrays or "groups_test" in arrays:
        needed += ["groups_train"] + (["groups_test"] if "x_test" in needed else [])
    if missing := [key for key in needed if key not in arrays]:
        raise UserError(
            f"{', '.join(map(called, missing))} missing, beside {', '.join(map(called, arrays))}:"
            f" expected {called('x_train')} with {called('y_train')}, and optionally"
            f" {called('x_test')} with {called('y_test')}, {called('groups_train')} with"
            f" {called('groups_test')}"
        )
    if unread := [key for key in arrays if key not in {*needed, "classes"}]:
        raise UserError(f"{called(unread[0])} is given without {called('x_test')}: leave it out")


def _features(given: Any, name: str) -> np.ndarray:
    """Features as finite ``float32 [n, F]``."""
    values = numbers_of(given, name, "expected numbers [rows, features]")
    if values.ndim != 2 or 0 in values.shape:
        raise UserError(f"{name} has shape {list(values.shape)}, expected [rows, features]")
    if not holds_numbers(values):
        raise UserError(f"{name} has type {values.dtype}, expected numbers such as float32")
    with np.errstate(over="ignore"):  # what overflows float32 is infinite, and refused below
        x = np.ascontiguousarray(values, np.float32)
    bad = np.flatnonzero(~np.isfinite(x).all(1))
    if len(bad):
        raise UserError(
            f"{len(bad)} rows of {name} hold NaN or infinite numbers (as float32), the first is row"
            f" {bad[0]}: remove them or compute them again"
        )
    return x


def array_of(given: Any, name: str, expected: str, dtype: Any = None) -> np.ndarray:
    """What a user gave as an array.

    Args:
        given: an array of NumPy, JAX, PyTorch or pandas, or lists.
        name: what the user calls it.
        expected: the end of the sentences that refuse it.
        dtype: of the array; by what it holds if None.

    Raises:
        UserError: it is no array, or some of its values are masked.
    """
    refuse_masked(given, name)
    try:
        values = np.asarray(given, dtype)
    # Rows of unlike length, huge numbers; tensors on a device, with gradients or deleted.
    except (ValueError, OverflowError, TypeError, RuntimeError) as error:
        raise UserError(f"{name} cannot be made an array ({said_of(error)}), {expected}") from error
    if values.dtype == object and values.ndim == 0:
        way = f": give {name}.toarray()" if hasattr(given, "toarray") else ""
        raise UserError(f"{name} of type {type(given).__name__} cannot be used, {expected}{way}")
    return values


def numbers_of(given: Any, name: str, expected: str) -> np.ndarray:
    """The same; an array of Python's numbers becomes float64.

    Raises:
        UserError: as by :func:`array_of`, or a number is too large.
    """
    values = array_of(given, name, expected)
    if values.dtype == object and all(isinstance(value, numbers.Real) for value in values.flat):
        return array_of(values, name, expected, np.float64)
    return values


def holds_numbers(values: np.ndarray) -> bool:
    """Whether an array is of numbers or bools; relatives of float16 outside of NumPy are, too."""
    return values.dtype.kind in "fiub" or np.can_cast(values.dtype, np.float64)


def refuse_masked(given: Any, name: str) -> None:
    """Refuse an array with masked values, whose numbers mean nothing.

    Raises:
        UserError: it is one.
    """
    if np.ma.is_masked(given):
        raise UserError(f"{name} has masked values: fill them, or leave their rows out")


def _per_row(given: Any, what: str, name: str, beside: str, rows: int) -> np.ndarray:
    """Labels or groups ``[rows]``, of integers, bools or strings."""
    # A list of both numbers and strings would silently become one of strings.
    boxed = object if isinstance(given, list | tuple) else None
    values = array_of(given, name, f"expected one {what} per row", boxed)
    if values.shape != (rows,):
        raise UserError(
            f"{name} has shape {list(values.shape)}, expected [{rows}]: one {what} per row of"
            f" {beside}"
        )
    if values.dtype.kind in "OT":  # T: NumPy's strings of any length
        values = _unboxed(values, what, name)
    values = _decoded(values, name)
    if values.dtype.kind not in "iubU":
        raise UserError(f"{name} has type {values.dtype}, expected integers, bools or strings")
    return values


def _decoded(values: np.ndarray, name: str) -> np.ndarray:
    """Bytes as the text that they are."""
    if values.dtype.kind != "S":
        return values
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} holds bytes that are not UTF-8: write strings") from error


def _unboxed(values: np.ndarray, what: str, name: str) -> np.ndarray:
    """An array of Python objects as one of the one type that all of them have."""
    kinds = [_kind(value) for value in values]
    for row, kind in enumerate(kinds):
        if kind is None or kind != kinds[0]:
            raise UserError(
                f"{name} holds {values[row]!r} in row {row}, expected every {what} to be an"
                f" integer, or every {what} to be a string"
            )
    if kinds[0] == "string" and (ended := [v for v in values if v.endswith("\0")]):
        raise UserError(f"{name} holds {ended[0]!r}: a {what} cannot end with a NUL, leave it out")
    plain = np.array(values.tolist())
    if kinds[0] == "integer" and plain.dtype.kind not in "iu":
        raise UserError(f"{name} holds {_TOO_WIDE}")
    return plain


_TOO_WIDE = "integers that do not fit into 64 bits together: write them as strings"


def _kind(value: Any) -> str | None:
    if isinstance(value, bool | np.bool_):
        return "bool"
    if isinstance(value, numbers.Integral):
        return "integer"
    return "string" if isinstance(value, str) else None


def _classes(
    y: dict[str, np.ndarray], given: Any, called: Callable[[str], str]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Class names, and the labels as numbers of these classes."""
    kinds = {split: _WORDS[labels.dtype.kind] for split, labels in y.items()}
    if len(set(kinds.values())) > 1:
        raise UserError(
            f"{called('y_test')} holds {kinds['test']} and {called('y_train')} {kinds['train']}, "
            "expected labels of one type"
        )
    y = _of_one_width(y, called)
    found = np.unique(y["train"])
    if len(found) < 2:
        raise UserError(f"{called('y_train')} holds the one label {found[0]}, expected two or more")
    for split, labels in y.items():
        if len(strange := np.setdiff1d(labels, found)):
            raise UserError(
                f"label {strange[0]} of {called(f'y_{split}')} is not in {called('y_train')}"
            )
    order = found if given is None else _class_order(given, found, called)
    names = tuple(str(name) for name in order)
    check_class_names(names, called("y_train") if given is None else called("classes"))
    place = np.argsort(order, kind="stable") if found.dtype.kind == "U" else np.arange(len(found))
    return names, {
        split: place[np.searchsorted(found, labels)].astype(np.int32) for split, labels in y.items()
    }


def _of_one_width(y: dict[str, np.ndarray], called: Callable[[str], str]) -> dict[str, np.ndarray]:
    """Integers of all splits as one type: NumPy compares int64 with uint64 by rounding both."""
    if len({labels.dtype for labels in y.values()}) == 1 or y["train"].dtype.kind not in "iu":
        return y
    whole = [int(bound) for labels in y.values() for bound in (labels.min(), labels.max())]
    for dtype in (np.int64, np.uint64):
        if np.iinfo(dtype).min <= min(whole) and max(whole) <= np.iinfo(dtype).max:
            return {split: labels.astype(dtype) for split, labels in y.items()}
    raise UserError(f"{called('y_train')} and {called('y_test')} hold {_TOO_WIDE}")


_WORDS = {"i": "integers", "u": "integers", "b": "bools", "U": "strings"}


def _class_order(given: Any, found: np.ndarray, called: Callable[[str], str]) -> np.ndarray:
    """Class names as given, once they are seen to suit the labels."""
    name = called("classes")
    names = _decoded(array_of(given, name, "expected one name per class"), name)
    texts = names.ndim == 1 and all(isinstance(one, str) for one in names)
    if found.dtype.kind == "U":
        if not texts or sorted(names) != found.tolist():
            raise UserError(
                f"{name} must hold each of the {len(found)} labels of"
                f" {called('y_train')} once, in any order"
            )
    elif len(off := np.flatnonzero(found != np.arange(len(found)))):
        raise UserError(
            f"{name} can name labels that are 0, 1, 2 and so on, but {called('y_train')} holds"
            f" {found[off[0]]} in place of {off[0]}: number them so, or leave {name} out"
        )
    elif not texts or len(names) != len(found):
        raise UserError(
            f"{name} must name the labels 0 to {len(found) - 1} of {called('y_train')},"
            f" one string each, got {names.dtype} {list(names.shape)}"
        )
    return names


def _digest(table: FeatureTable) -> str:
    digest = hashlib.sha256("\0".join(table.classes).encode("utf-8", "surrogateescape"))
    for split, x in table.x.items():
        digest.update(f"{split} {x.shape}".encode())
        digest.update(x.data)
        digest.update(table.y[split].data)
        for group in table.groups[split] if table.groups else ():
            digest.update(str(group).encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()[:12]
