"""Files written whole or not at all, paths that are none, and the system's errors as sentences."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from evojax_prune.core.errors import UserError, shortened

_ADVICE = {
    errno.ENOSPC: "the disk is full: make room, then run the same command again",
    errno.EDQUOT: "the disk quota is used up: make room, then run the same command again",
    errno.EFBIG: "the file would be larger than is allowed here: raise the limit on file sizes "
    "(ulimit -f), then run the same command again",
    errno.EROFS: "the file system is read-only: choose a folder that can be written to",
    errno.EACCES: "permission is denied: choose a folder that can be written to",
    errno.EPERM: "permission is denied: choose a folder that can be written to",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.EXDEV: "it is another file system: choose a folder on the same one",
    errno.EIO: "the disk reports an error: check it, then run the same command again",
}

_OF_RUST = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust (safetensors) end the message of an exception of their own."""

LONGEST_NAME = 255
"""Bytes of a file's name, on nearly every file system."""

LONGEST_PATH = 4095
"""Bytes of a path on Linux."""


def checked_path(path: Path | str, called: str) -> Path:
    """A path that a user gave, with ``~`` expanded, once a file can be called so.

    Python and the system answer other paths with errors of many kinds, wherever they are looked at
    first; and a path that is not text can be neither shown nor kept in a result.

    Args:
        path: the path.
        called: what the user calls it, as the sentence begins.

    Raises:
        UserError: it is empty or not a path, holds a NUL, is not UTF-8, is too long or has a name
            that is, or has an unknown user.
    """
    text = str(path)
    if not isinstance(path, str | os.PathLike) or not text:
        raise UserError(f"{called} is {path!r}, expected a path")
    begin = f"{called} is {shortened(text)}"
    if "\0" in text:
        raise UserError(f"{begin}: a path cannot hold a NUL character")
    try:
        names = text.encode().split(b"/")
    except UnicodeEncodeError:
        raise UserError(f"{begin}, which is not UTF-8: rename it") from None
    if max(map(len, names)) > LONGEST_NAME:
        raise UserError(f"{begin}: a name in a path has at most {LONGEST_NAME} bytes")
    if len(text.encode()) > LONGEST_PATH:
        raise UserError(f"{begin}: a path has at most {LONGEST_PATH} bytes")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise UserError(
            f"{begin}, which the locale has no characters for: set PYTHONUTF8=1"
        ) from None
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{begin}: there is no such user") from None


def total_memory() -> float:
    """Bytes of this machine's memory; infinite where the system does not tell."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return math.inf


def os_sentence(error: OSError, doing: str, size: int | None = None) -> str:
    """One sentence on what failed and what to do.

    Args:
        error: what the operating system said.
        doing: what was being done, such as ``write /tmp/x``.
        size: bytes that were to be written.
    """
    why = _ADVICE.get(error.errno or 0) or f"{error.strerror or error}"
    needed = "" if size is None else f" ({size:,} bytes)"
    return f"cannot {doing}{needed}: {why}"


@contextlib.contextmanager
def os_errors(doing: str, size: int | None = None) -> Iterator[None]:
    """Turn the operating system's errors into a :class:`UserError` with one sentence."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError(os_sentence(error, doing, size)) from error
    except Exception as error:
        if (found := _OF_RUST.search(str(error))) is None:
            raise
        number = int(found[1])
        told = OSError(number, os.strerror(number))
        raise UserError(os_sentence(told, doing, size)) from error


def check_readable(path: Path) -> None:
    """Open a file once, for libraries that call each one missing which they cannot open.

    Raises:
        OSError: it cannot be opened.
    """
    os.close(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)))


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file whole: it is on the disk under its name, or not there at all.

    Raises:
        UserError: the disk is full, read-only, ...; what was there before is still there.
    """
    data = content.encode() if isinstance(content, str) else content
    save_file(path, lambda part: part.write_bytes(data), size=len(data))


def save_file(path: Path, save: Callable[[Path], object], size: int | None = None) -> None:
    """As :func:`write_file`, for libraries that write to a path themselves.

    Args:
        path: the file.
        save: writes to the path that it is given, which lies beside the file.
        size: bytes, for the message; unknown if None.
    """
    name = path.name.encode(errors="surrogateescape")[: LONGEST_NAME - 60].decode(errors="ignore")
    part = path.with_name(f".{name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with os_errors(f"write {path}", size):
            save(part)
            with contextlib.suppress(PermissionError):  # some file systems have no modes
                part.chmod(0o666 & ~_umask())
            _sync(part)
            os.replace(part, path)
            _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def remove_parts(folder: Path, age: float = 0.0) -> None:
    """Remove what killed processes left of files that they were writing.

    Args:
        folder: it need not be there.
        age: seconds; younger ones may still be written to, and stay.
    """
    for part in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.lstat().st_mtime >= age:
                part.unlink()


def make_folder(path: Path) -> None:
    """Make a folder and those above it.

    Raises:
        UserError: it cannot be made.
    """
    with os_errors(f"make the folder {path}"):
        path.mkdir(parents=True, exist_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder and all that is in it, if it is there."""
    shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    """Make sure that a file's content, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot
            raise
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
