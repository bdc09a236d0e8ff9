"""Predictions of images and features as a table."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.data.sources.npz import read_arrays
from evojax_prune.deploy.classifier import Classifier, Prediction

COLUMNS = ("path", "class", "probability", "error")
"""Of the table, before the probability of each class."""

_SIDE_FILES = {"thumbs.db", "desktop.ini", "icon\r"}
"""Files that systems leave among images, in lower case."""


def prediction_table(
    classifier: Classifier, files: Sequence[Path], counts: Counter[str]
) -> Iterator[tuple[str, ...]]:
    """The table, row by row: the header, then one per image and per row of a features file.

    A row has the path (of a features file ``FILE.npz#0``, ``FILE.npz#1``, ...), the class, its
    probability, why the image could not be read (then there is no class), and the probability of
    every class.

    Args:
        classifier: the run.
        files: images, and features files ``.npz`` (``x`` or ``x_test``; the strings ``backbone``
            and ``weights`` are checked where they are given).
        counts: is told the rows of each class, and under "" the images that cannot be read.

    Raises:
        UserError: a features file or backbone that cannot be used.
    """
    names = classifier.card.classes
    # Whatever can be refused is, before the first row.
    features = {file: _probabilities(classifier, file) for file in files if has_features(file)}
    if len(features) < len(set(files)):
        _ = classifier.backbone
    yield (*COLUMNS, *names)
    for path, prediction in _predictions(classifier, files, features):
        best, numbers = "", [""] * len(names)
        if prediction.error is None:
            best = names[int(prediction.probabilities.argmax())]
            numbers = [f"{p:.6f}" for p in prediction.probabilities]
        counts[best] += 1
        yield (path, best, max(numbers), prediction.error or "", *numbers)


def is_table(file: Path) -> bool:
    """Whether a file begins as a table of predictions does."""
    with file.open(errors="replace") as stream:
        return stream.read(len(",".join(COLUMNS))) == ",".join(COLUMNS)


def listed(paths: Sequence[Path]) -> list[Path]:
    """The files that are meant: those given, and all below the folders given, sorted.

    Raises:
        UserError: nothing is there.
    """
    files: list[Path] = []
    for path in paths:
        try:
            files += _listed(path)
        except OSError as error:
            raise UserError(f"cannot read {error.filename or path}: {error.strerror}") from error
    if not files:
        raise UserError("nothing to predict: give images, folders or features files (.npz)")
    return files


def _listed(path: Path) -> list[Path]:
    if not path.is_dir():
        if path.exists():
            return [path]
        raise UserError(f"there is no file or folder {path}: check the path")
    os.listdir(path)  # os.walk passes over what it may not read
    if not (found := sorted(_below(path))):
        raise UserError(f"folder {path} holds no files: give one with images")
    return found


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower() not in _SIDE_FILES:
                yield Path(where) / name


def has_features(file: Path) -> bool:
    """Whether a file is one of features, not an image."""
    return file.suffix.lower() == ".npz"


def _predictions(
    classifier: Classifier, files: Sequence[Path], features: dict[Path, np.ndarray]
) -> Iterator[tuple[str, Prediction]]:
    """What each row is called and its prediction, in the order of the files."""
    for of_features, group in itertools.groupby(files, has_features):
        if of_features:
            for file in group:
                yield from ((f"{file}#{i}", Prediction(p)) for i, p in enumerate(features[file]))
        else:
            images = list(group)
            yield from zip(map(str, images), classifier.classify(images), strict=True)


def _text(array: np.ndarray, name: str) -> str:
    if array.ndim == 0 and array.dtype.kind == "U":
        return str(array)
    raise UserError(f"{name} is {array.dtype} {list(array.shape)}, expected one string")


def _probabilities(classifier: Classifier, path: Path) -> np.ndarray:
    """Class probabilities of a features file.

    Raises:
        UserError: it cannot be read, has no features, or those of another backbone.
    """
    arrays = read_arrays(path, ("x", "x_test", "backbone", "weights"))
    name = next((key for key in ("x", "x_test") if key in arrays), None)
    if name is None:
        raise UserError(f"{path} has no features, expected them as x or x_test")
    if {"x", "x_test"} <= arrays.keys():
        raise UserError(f"{path} holds both x and x_test: leave one out")
    if "weights" in arrays and "backbone" not in arrays:
        raise UserError(f"{path} holds weights without their backbone: add it, or leave them out")
    x = arrays[name]
    try:
        backbone, weights = (
            _text(arrays[key], key) if key in arrays else None for key in ("backbone", "weights")
        )
        if backbone is not None:
            classifier.check_source(backbone, weights)
        if x.ndim != 2:
            raise UserError(f"{name} has shape {list(x.shape)}, expected [rows, features]")
        return classifier.predict_proba(x)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
