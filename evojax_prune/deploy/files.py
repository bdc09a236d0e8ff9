"""Files that come in and go out: a run's folder, and what is made of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from evojax_prune.core.compact_head import CompactHead, read_heads
from evojax_prune.core.errors import UserError
from evojax_prune.core.files import os_errors
from evojax_prune.core.head_card import HeadCard

HEAD = "head.safetensors"


def open_run(run: Path) -> tuple[tuple[CompactHead, ...], HeadCard]:
    """The heads of a finished run, one per fold, and what they say of themselves.

    Args:
        run: the run's folder, or a head's file.

    Raises:
        UserError: it is missing, not a finished run, or damaged.
    """
    file = run / HEAD if run.is_dir() else run
    if not file.is_file():
        raise UserError(f"{_missing(run)}: give the folder of a finished run")
    return read_heads(file)


def _missing(run: Path) -> str:
    if run.is_dir():
        return f"{run} has no {HEAD}"
    if run.exists():
        return f"{run} is neither a folder nor a regular file"
    if run.with_name(f"{run.name}.partial").is_dir():
        return f"the run {run} has not finished (its own command continues it)"
    return f"there is no folder {run}"


def own_files(run: Path) -> list[Path]:
    """The files of a run, which nothing that is made of it may replace.

    Args:
        run: its folder, or its head's file.
    """
    from evojax_prune.report.writers import ESSENTIAL, WRITERS

    folder = run if run.is_dir() else run.parent
    names = (*ESSENTIAL, *WRITERS)
    return [file for file in (run, *(folder / name for name in names)) if file.is_file()]


def check_output(file: Path, inputs: Sequence[Path] = ()) -> None:
    """Refuse an output file that could not be written in the end, or that would replace an input.

    Raises:
        UserError: it is one of those.
    """
    with os_errors(f"use --output {file}"):
        _check_output(file, inputs)


def check_replaced(file: Path, ours: Callable[[Path], bool]) -> None:
    """Refuse an output file that is there and was made by something else.

    Raises:
        UserError: it is.
    """
    with os_errors(f"read --output {file}"):
        if file.is_symlink() or (file.exists() and not ours(file)):
            raise UserError(
                f"--output {file} is there already and is not what this command writes: give "
                "another file, or remove it"
            )


def _check_output(file: Path, inputs: Sequence[Path]) -> None:
    if file.is_dir():
        raise UserError(f"--output {file} is a folder, expected a file")
    if file.exists() and not file.is_file():
        raise UserError(f"--output {file} is a pipe or a device, expected a regular file")
    if not file.parent.is_dir():
        raise UserError(f"--output {file}: there is no folder {file.parent}, make it first")
    if not os.access(file.parent, os.W_OK):
        raise UserError(f"--output {file} cannot be written: no permission in {file.parent}")
    if file.exists() and any(file.samefile(path) for path in inputs):
        raise UserError(f"--output {file} is one of the inputs: give another file")
