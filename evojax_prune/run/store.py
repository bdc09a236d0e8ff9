"""The output folder: checked first, filled beside itself, and only whole at the end.

While a run goes on, what it has lies in ``<output>.partial``: the configuration and the journal of
the search. A finished run's files are moved to ``<output>``, ``result.json`` last; so a folder with
a ``result.json`` is a whole one, and what was interrupted goes on from its partial folder.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Protocol, Self

import filelock

from evojax_prune.core.errors import HostLostError, UserError
from evojax_prune.core.files import make_folder, os_errors, os_sentence, remove_folder, write_file

MARK = "result.json"
STATE = "state"
"""Inside the partial folder: what only a resumed run needs."""


class Store(Protocol):
    """Keeps what an interrupted run goes on from."""

    @property
    def journal(self) -> Path | None:
        """File that a search is journalled to; None keeps nothing."""

    def keep(self) -> None:
        """From now on an error must not lose the journal."""


class Nothing:
    """A store that keeps nothing."""

    journal: Path | None = None

    def keep(self) -> None:
        """Nothing is kept."""


def _existing(path: Path) -> Path:
    """The path itself or the nearest folder above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _not_a_folder(path: Path) -> str | None:
    """What stands where a folder is to be; None for a folder or nothing."""
    if path.is_dir() or not os.path.lexists(path):
        return None
    return "a file" if path.exists() else "a link that leads nowhere"


class PartialFolder:
    """The folder of a run that is not finished yet; a context manager that keeps others out.

    Attributes:
        output: where the finished run's files go.
        path: ``<output>.partial``.
        journal: file in it that the search is journalled to.

    Args:
        output: the folder of the finished run.
        patience: seconds to wait for another process that writes to it, such as one that is ending.

    Raises:
        UserError: the output is the root of the file system.
    """

    def __init__(self, output: Path, patience: float = 0.0):
        if not output.name or output.name == "..":  # of ".", ".." and "/"
            output = output.resolve()
        if not output.name:
            raise UserError(f"--output is {output}, expected a folder below it")
        self.output = output
        self.path = output.with_name(f"{output.name}.partial")
        self._state = self.path / STATE
        self._spent = self.path / f".{STATE}"
        self.journal = self._state / "journal.jsonl"
        self._lock = filelock.FileLock(self._state / "lock", timeout=patience)
        self._made = self._kept = False

    def check(self, overwrite: bool) -> None:
        """Refuse an output folder that could not be written in the end; writes nothing.

        Raises:
            UserError: it is no folder, holds something and ``overwrite`` is false, or cannot be
                written to.
        """
        output = self.output
        if wrong := _not_a_folder(output):
            raise UserError(f"--output {output} is {wrong}, expected a folder that is new or empty")
        if wrong := _not_a_folder(self.path):
            raise UserError(
                f"{self.path} is {wrong}, but an unfinished run is kept in a folder of that name: "
                "move it away, or give another --output"
            )
        if output.is_dir() and any(output.iterdir()) and not overwrite:
            raise UserError(
                f"--output {output} is not empty; give another folder, or --overwrite to replace "
                "the results in it"
            )
        for folder in {_existing(output), _existing(output.parent)}:
            try:
                os.rmdir(tempfile.mkdtemp(dir=folder))
            except OSError as error:
                sentence = os_sentence(error, f"write in {folder}")
                raise UserError(f"--output {output} cannot be used: {sentence}") from None

    def __enter__(self) -> Self:
        """Make the folder, or take over that of an interrupted run.

        Raises:
            UserError: another process is writing to it.
        """
        self._made = not self.path.exists()
        make_folder(self._state)
        with os_errors(f"lock {self.path}"):
            try:
                self._lock.acquire()
            except filelock.Timeout:  # an OSError too, but not one of the file system's
                raise UserError(
                    f"another run is writing to {self.path}: give another --output"
                ) from None
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Let go of it. What is in it stays, to be continued, unless the input was at fault."""
        self._lock.release()
        at_fault = isinstance(error, UserError) and not isinstance(error, HostLostError)
        if at_fault and self._made and not self._kept:
            remove_folder(self.path)

    def keep(self) -> None:
        """From now on an error must not lose what is in it: a finished search, say."""
        self._kept = True

    @property
    def resumable(self) -> bool:
        """The same command would go on from what is in it."""
        return (self.path / "config.yaml").is_file()

    def configure(self, config: str, overwrite: bool) -> None:
        """Say whose folder this is, unless an interrupted run has.

        Args:
            config: the run's ``config.yaml``.
            overwrite: discard the journal of a run with another one.
        """
        file = self.path / "config.yaml"
        with os_errors(f"discard what is in {self.path}"):
            if overwrite and not (file.is_file() and file.read_bytes() == config.encode()):
                self.journal.unlink(missing_ok=True)
        if not self.journal.exists():
            write_file(file, config)

    def refuse_journal(self) -> None:
        """Refuse to write where the search of an interrupted run lies.

        Raises:
            UserError: it does.
        """
        if self.journal.exists():
            raise UserError(
                f"{self.path} holds an interrupted search, which this run would not go on with: "
                "give another --output, or --overwrite to discard it"
            )

    def finish(self) -> None:
        """Move everything to the output folder, the mark of a whole result last."""
        self._lock.release()
        with os_errors(f"move the results to {self.output}"):
            remove_folder(self._spent)
            if self._state.exists():
                os.replace(self._state, self._spent)  # from here on it is only to be moved
        self._move()

    def recover(self) -> bool:
        """Go on with a :meth:`finish` that was interrupted; tells whether there was one."""
        if self._state.exists() or not (self.path / MARK).is_file():
            return False
        self._move()
        return True

    def _move(self) -> None:
        remove_folder(self._spent)
        make_folder(self.output)
        with os_errors(f"move the results to {self.output}"):
            (self.output / MARK).unlink(missing_ok=True)
            names = sorted(entry.name for entry in self.path.iterdir())
            for name in sorted(names, key=lambda name: name == MARK):
                os.replace(self.path / name, self.output / name)
            self.path.rmdir()
