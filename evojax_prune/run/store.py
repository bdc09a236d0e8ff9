"""The output folder: checked first, filled beside itself, and only whole at the end.

While a run goes on, what it has lies in ``<output>.partial``: the configuration and the journal of
the search. A finished run's files are moved to ``<output>``, ``result.json`` last; so a folder with
a ``result.json`` is a whole one, and what was interrupted goes on from its partial folder.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, Self

import filelock

from evojax_prune.core.errors import HostLostError, PluginError, UserError
from evojax_prune.core.files import (
    make_folder,
    os_errors,
    os_sentence,
    remove_folder,
    remove_parts,
    write_file,
)

MARK = "result.json"
SETTINGS = "config.yaml"
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
        resumable: after an error: the same command would go on from what is in it.

    Args:
        output: the folder of the finished run.
        patience: seconds to wait for another process that writes to it, such as one that is ending.

    Raises:
        UserError: the output is the root of the file system.
    """

    def __init__(self, output: Path, patience: float = 0.0):
        if not output.name or ".." in output.parts:  # of "." and "/"; what is not there has no ".."
            output = Path(os.path.realpath(output))
        if not output.name:
            raise UserError(f"--output is {output}, expected a folder below it")
        self.output = output
        self.path = output.with_name(f"{output.name}.partial")
        self._state = self.path / STATE
        self.journal = self._state / "journal.jsonl"
        self._moving = self._state / "moving"  # the output folder's content is this run's
        self._lock = filelock.FileLock(self._state / "lock", timeout=patience)
        self._made = self._kept = self._overwrite = self.resumable = False

    def check(self, overwrite: bool, names: Iterable[str] = ()) -> None:
        """Refuse an output folder that could not be written in the end; writes nothing.

        Args:
            overwrite: results may replace what is in it.
            names: of the files that will be written.

        Raises:
            UserError: it is no folder, holds something and ``overwrite`` is false, holds a folder
                where a file is to be, or cannot be written to.
        """
        self._overwrite = overwrite
        with os_errors(f"use --output {self.output}"):
            self._remove_left_state()
            self._check()
            for name in names:
                if (self.output / name).is_dir():
                    raise UserError(
                        f"{self.output / name} is a folder, but a file of that name is to be "
                        "written: move it away, or give another --output"
                    )

    def _remove_left_state(self) -> None:
        """End what a run left undone that was killed in its last step: see :meth:`finish`."""
        left = self.output / STATE
        if (left / "lock").is_file() and (self.output / MARK).is_file() and not left.is_symlink():
            names = {self.journal.name, self._moving.name, "lock"}
            if all(entry.name in names for entry in left.iterdir()):  # nothing of somebody else's
                remove_folder(left)

    def _check(self) -> None:
        self._check_output()
        if wrong := _not_a_folder(self.path):
            raise UserError(
                f"{self.path} is {wrong}, but an unfinished run is kept in a folder of that name: "
                "move it away, or give another --output"
            )
        for folder in (self.path, self._state):  # what others left may lead anywhere
            if folder.is_symlink():
                raise UserError(
                    f"{folder} is a link, but an unfinished run is kept in a folder of that name: "
                    "move it away, or give another --output"
                )
        for folder in {_existing(self.output), _existing(self.output.parent)}:
            try:
                os.rmdir(tempfile.mkdtemp(dir=folder))
            except OSError as error:
                sentence = os_sentence(error, f"write in {folder}")
                raise UserError(f"--output {self.output} cannot be used: {sentence}") from None

    def _check_output(self) -> None:
        """Refuse to replace what is not this run's."""
        if wrong := _not_a_folder(self.output):
            raise UserError(
                f"--output {self.output} is {wrong}, expected a folder that is new or empty"
            )
        ours = self._overwrite or self._moving.exists()
        if self.output.is_dir() and any(self.output.iterdir()) and not ours:
            raise self._not_empty()

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
        for folder in (self.path, self._state):
            remove_parts(folder)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Let go of it. What is in it stays, to be continued, unless the input was at fault.

        It does not stay after an error before which there was nothing to continue.
        """
        self._lock.release()
        lost = isinstance(error, Exception) and not self.journal.exists()
        full = error is not None and isinstance(error.__cause__, OSError)  # the disk, say
        stays = full or isinstance(error, HostLostError | PluginError)
        at_fault = isinstance(error, UserError) and not stays and not self._kept
        if (at_fault or (lost and not self._kept)) and self._made:
            remove_folder(self.path)
        self.resumable = not at_fault and (self.path / SETTINGS).is_file()

    def keep(self) -> None:
        """From now on an error must not lose what is in it: a finished search, say."""
        self._kept = True

    def configure(self, config: str, overwrite: bool) -> None:
        """Say whose folder this is, unless an interrupted run has.

        Args:
            config: the run's ``config.yaml``.
            overwrite: discard the journal of a run with another one.
        """
        file = self.path / SETTINGS
        with os_errors(f"discard what is in {self.path}"):
            same = file.is_file() and file.read_bytes() == config.encode()
            if self._moving.exists() and not (same or overwrite):
                raise self._not_empty()
            if overwrite and not same:
                self._moving.unlink(missing_ok=True)
                self.journal.unlink(missing_ok=True)
        if not self.journal.exists():
            write_file(file, config)

    def _not_empty(self) -> UserError:
        return UserError(
            f"--output {self.output} is not empty; give another folder, or --overwrite to replace "
            "the results in it"
        )

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

    def finish(self, go_on: bool = False) -> None:
        """Move the results to the output folder: all at once where there is none yet.

        Else file by file, the mark of a whole result last. What a resumed run needs is removed only
        then, so that the same command also finishes a run that is killed here.

        Args:
            go_on: leave that behind, for files that are missing.

        Raises:
            UserError: something has come to lie in the output folder during the run, or the results
                cannot be moved there; they stay in the partial folder.
        """
        with os_errors(f"move the results to {self.output}"):
            try:
                self._check_output()
            except UserError as taken:
                raise UserError(
                    f"the results stay in {self.path}, for something has come to lie at "
                    f"{self.output} during the run: move that away, then run the same command again"
                ) from taken
            if not go_on and not os.path.lexists(self.output):
                os.replace(self.path, self.output)
                remove_folder(self.output / STATE)
                return
            make_folder(self.output)
            write_file(self._moving, "")
            (self.output / MARK).unlink(missing_ok=True)
            names = sorted(entry.name for entry in self.path.iterdir() if entry.name != STATE)
            for name in sorted(names, key=lambda name: name == MARK):
                if name == SETTINGS:  # by which the same command knows its journal
                    write_file(self.output / name, (self.path / name).read_bytes())
                else:
                    os.replace(self.path / name, self.output / name)
        if not go_on:
            remove_folder(self.path)
