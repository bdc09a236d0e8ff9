"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from evojax_prune.core.errors import UserError


def check_output(file: Path, inputs: Sequence[Path] = ()) -> None:
    """Refuse a file that could not be written in the end, or that would replace an input.

    Raises:
        UserError: it would.
    """
    if file.is_dir():
        raise UserError(f"--output {file} is a folder, expected a file")
    if not file.parent.is_dir():
        raise UserError(f"--output {file}: there is no folder {file.parent}: make it first")
    if not os.access(file.parent, os.W_OK):
        raise UserError(f"--output {file} cannot be written: no permission in {file.parent}")
    if file.exists() and any(file.samefile(path) for path in inputs):
        raise UserError(f"--output {file} is one of the inputs: give another file")


def write_whole(file: Path, parts: Iterable[bytes]) -> None:
    """Write a file beside its place and then move it there.

    Raises:
        UserError: the disk refuses.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.writelines(parts)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, file)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    except OSError as error:
        raise UserError(f"--output {file} cannot be written: {error.strerror or error}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
