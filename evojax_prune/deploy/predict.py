"""``predict``: classes of images and features, as a table."""

from __future__ import annotations

import csv
import io
import itertools
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.deploy.classifier import Classifier, Prediction, load
from evojax_prune.deploy.files import check_output, write_whole

Echo = Callable[[str], None]

COLUMNS = ("path", "class", "probability", "error")
"""Of the table, before one column of probabilities per class."""

_SIDE_FILES = {"thumbs.db", "desktop.ini", "icon\r"}
"""Files that systems leave among images, in lower case."""


def predict_command(
    run: str | Path,
    inputs: Sequence[str | Path],
    output: str | Path | None = None,
    *,
    backbone_weights: str | Path | None = None,
    echo: Echo,
    notice: Echo | None = None,
) -> int:
    """Predict the classes of images and features.

    The table has a row per image: its path, class, probability, an error (with the class empty)
    where it cannot be read, and the probability of every class. A features file gives the rows
    ``FILE.npz#0``, ``FILE.npz#1``, ...

    Args:
        run: the run's folder.
        inputs: images, folders (all files below them), or features files ``.npz`` (``x`` or
            ``x_test``; the strings ``backbone`` and ``weights`` are checked where they are given).
        output: file for the table, comma-separated; without it, every line goes to ``echo``.
        backbone_weights: see :func:`evojax_prune.deploy.load`.
        echo: told of every line of the table that does not go to a file.
        notice: told of the summary in the end; ``echo`` if None.

    Returns:
        0, or 1 if some files could not be read.

    Raises:
        UserError: inputs or a run that cannot be used; no file has been written then.
    """
    items = _listed([Path(path).expanduser() for path in inputs])
    classifier = load(run, backbone_weights=backbone_weights)
    counts: Counter[str] = Counter()
    rows = itertools.chain([(*COLUMNS, *classifier.card.classes)], _rows(classifier, items, counts))
    where = ""
    if output is None:
        for row in rows:
            echo(_line(row))
    else:
        file = Path(output).expanduser()
        check_output(file, items)
        write_whole(file, (f"{_line(row)}\n".encode("utf-8", "surrogateescape") for row in rows))
        where = f", written to {file}"
    (notice or echo)(_summary(counts) + where)
    return 1 if counts[""] else 0


def _listed(paths: Sequence[Path]) -> list[Path]:
    """The files that are meant, those below a folder sorted.

    Raises:
        UserError: nothing is there.
    """
    if not paths:
        raise UserError("nothing to predict: give images, folders or a features file (.npz)")
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(_below(path))
            if not found:
                raise UserError(f"folder {path} holds no files: give one with images")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise UserError(f"there is no file or folder {path}: check the path")
    return files


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower() not in _SIDE_FILES:
                yield Path(where) / name


def _rows(
    classifier: Classifier, files: list[Path], counts: Counter[str]
) -> Iterator[tuple[Any, ...]]:
    """The table's rows; counts the predictions of each class, under "" what cannot be read."""
    for is_features, group in itertools.groupby(files, _holds_features):
        of_kind = list(group)
        predictions = (
            ((f"{f}#{i}", p) for f in of_kind for i, p in enumerate(_of_file(classifier, f)))
            if is_features
            else zip(of_kind, classifier.classify(of_kind), strict=True)
        )
        for path, prediction in predictions:
            row = _row(classifier, path, prediction)
            counts[row[1]] += 1
            yield row


def _holds_features(path: Path) -> bool:
    return path.suffix.lower() == ".npz"


def _row(classifier: Classifier, path: str | Path, prediction: Prediction) -> tuple[Any, ...]:
    if prediction.error is not None:
        return (path, "", "", prediction.error, *("" for _ in classifier.classes_))
    best = int(prediction.probabilities.argmax())
    numbers = [f"{p:.6f}" for p in prediction.probabilities]
    return (path, classifier.card.classes[best], numbers[best], "", *numbers)


def _of_file(classifier: Classifier, path: Path) -> list[Prediction]:
    """Predictions of a features file.

    Raises:
        UserError: it cannot be read, has no features, or those of another backbone.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            name = next((key for key in ("x", "x_test") if key in file.files), None)
            if name is None:
                raise UserError(
                    f"{path} holds {', '.join(file.files) or 'nothing'}, expected features as x "
                    "or x_test"
                )
            x = file[name]
            told = [
                str(file[key]) if key in file.files else None for key in ("backbone", "weights")
            ]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} cannot be read as an .npz file of plain arrays ({error}): write it with "
            "numpy.savez"
        ) from None
    try:
        if told[0] is not None:
            classifier.check_source(told[0], told[1])
        if x.ndim != 2:
            raise UserError(f"{name} has shape {list(x.shape)}, expected [rows, features]")
        return [Prediction(row) for row in classifier.predict_proba(x)]
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _line(row: tuple[Any, ...]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()


def _summary(counts: Counter[str]) -> str:
    """One line: how many of which class."""
    total, unreadable = counts.total() - counts[""], counts[""]
    named = [f"{n} {name}" for name, n in counts.most_common() if name]
    shown = ", ".join(named[:5]) + (f", {len(named) - 5} other classes" if len(named) > 5 else "")
    said = f"{total} predicted" + (f": {shown}" if shown else "")
    return said + (f"; {unreadable} could not be read" if unreadable else "")
