"""Standard output and standard error of a process, which may be closed, full or not UTF-8."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TextIO, cast

from evojax_prune.core.errors import UserError
from evojax_prune.core.files import os_sentence


class Stream:
    """A text stream that goes silent once nobody can read it.

    A run must not be lost because a pipe that showed its progress is gone.

    Args:
        stream: where the text goes.
        name: what to call it in a sentence, where a full disk is to be told; None where it is to be
            passed over.
    """

    def __init__(self, stream: TextIO, name: str | None):
        self._stream, self._name = stream, name

    def write(self, text: str) -> int:
        """Write text.

        Raises:
            UserError: it cannot be written, though there may be a reader.
        """
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """As :meth:`write`, of what waits to be written."""
        self._try(self._stream.flush)

    def _try(self, write: Callable[..., object], *text: str) -> None:
        try:
            write(*text)
        except OSError as error:
            self._silence()
            if self._name is not None and not isinstance(error, BrokenPipeError):
                raise UserError(os_sentence(error, f"write to {self._name}")) from None

    def _silence(self) -> None:
        """Send what is still to come nowhere, what waits in a buffer included."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard() -> None:
    """Let standard output and error of this process be whatever they are.

    A closed one is as good as ``/dev/null``; a character that the encoding lacks is written as its
    number; a full disk is a sentence for the results, and nothing for the progress.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # a file that is opened later must not become the place of what libraries print
    os.close(number)
    for name, told in (("stdout", "standard output"), ("stderr", None)):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, cast(TextIO, Stream(stream, told)))


def as_written_to_a_file(stream: TextIO) -> TextIO:
    """The stream, once it takes a table as a file does: UTF-8, and names of files byte by byte."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="surrogateescape")
    return stream
