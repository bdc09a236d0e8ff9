"""Opening what a user names: never a wait at a pipe, never a device, always a sentence."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_file(path: Path) -> io.BufferedReader:
    """Open a regular file for reading.

    A named pipe would wait for its writer for ever, and opening a device may have effects, so both
    are recognised first. Opening without blocking covers a file that is exchanged in between.

    Args:
        path: the file; links are followed.

    Raises:
        OSError: it is not there, cannot be read or is not a regular file; ``strerror`` says which.
    """
    try:
        _check_regular(os.stat(path), path)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags)
    except ValueError as error:  # a NUL in the path
        raise OSError(errno.EINVAL, "not a valid path", str(path)) from error
    try:
        _check_regular(os.fstat(handle), path)
        return open(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def is_file(path: Path) -> bool:
    """Whether there is a regular file; False for every path that cannot be looked at."""
    return _has(path, stat.S_ISREG)


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False for every path that cannot be looked at."""
    return _has(path, stat.S_ISDIR)


def _has(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.stat(path).st_mode)
    except (OSError, ValueError):  # pathlib's own raise on a name that is too long
        return False


def _check_regular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
        raise OSError(errno.EINVAL, f"it is {kind}, expected a regular file", str(path))
