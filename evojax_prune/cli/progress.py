"""How far a run is: a bar on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column
from rich.text import Text

from evojax_prune.cli.signals import check_stopped
from evojax_prune.core.errors import one_line
from evojax_prune.methods.observer import Observer, Stage

LINE_SECONDS = 10.0
"""Least time between two plain lines."""


class Counter(Stage):
    """One part of a run that takes a known number of steps; may be told of them by any thread.

    Attributes:
        detail: what else there is to say.
    """

    def __init__(
        self, name: str, total: int, unit: str, parts: int, show: Callable[[int, str], None]
    ):
        self.name, self.total, self.unit, self.parts = name, total, unit, parts
        self.detail = ""
        self._done = self._skipped = 0.0
        self._show = show
        self._start = time.monotonic()
        self._lock = threading.Lock()

    def advance(self, parts: int) -> None:
        """Some more parts of steps are done."""
        with self._lock:
            self._done += parts / self.parts
            self._tell()

    def reach(self, done: int, detail: str, skipped: bool = False) -> None:
        """So many steps are done in all; ``skipped``: they took no work, so say no rate."""
        with self._lock:
            if skipped:
                self._skipped += done - self._done
            self._done, self.detail = done, detail
            self._tell()

    def finish(self) -> None:
        """All steps are done, though not every part may have been told of."""
        if self._done < self.total:
            self.reach(self.total, self.detail)

    def _tell(self) -> None:
        check_stopped()
        # Shares of a step add up to a little less than the whole.
        done = min(self.total, int(self._done + 1e-6))
        parts = [f"{self.name}: {done}/{self.total} {self.unit}", self.detail, self._speed()]
        self._show(done, ", ".join(part for part in parts if part))

    def _speed(self) -> str:
        seconds, worked = time.monotonic() - self._start, self._done - self._skipped
        if worked <= 0 or seconds <= 0:
            return ""
        rate, left = worked / seconds, self.total - self._done
        rest = f"{duration(left / rate)} left" if left > 1e-6 else f"took {duration(seconds)}"
        pace = f"{rate:.1f}/s" if rate >= 0.95 else f"{60 * rate:.1f}/min"
        return f"{pace}, {rest}"


class Terminal(Observer):
    """Shows a run on a console."""

    def __init__(self, console: Console):
        self.console = console

    def stage(
        self, name: str, total: int, unit: str, parts: int = 1
    ) -> contextlib.AbstractContextManager[Stage]:
        """See :class:`Observer`."""
        return stage(self.console, name, total, unit, parts)

    def note(self, text: str) -> None:
        """See :class:`Observer`."""
        say(self.console, text)


@contextlib.contextmanager
def stage(console: Console, name: str, total: int, unit: str, parts: int = 1) -> Iterator[Counter]:
    """Show a stage for as long as the ``with`` block lasts.

    Args:
        console: where to.
        name: what is being done.
        total: steps that it takes.
        unit: what the steps are called, in the plural.
        parts: parts that each step is done in, such as folds.
    """
    if not console.is_terminal:
        lines = _Lines(console)
        yield Counter(name, total, unit, parts, lines.show)
        lines.flush()
        return
    said = TextColumn("{task.description}", table_column=Column(no_wrap=False), markup=False)
    with Progress(BarColumn(bar_width=20), said, console=console) as bar:
        task = bar.add_task(name, total=total)

        def show(done: int, text: str) -> None:
            bar.update(task, completed=done, description=text)

        yield Counter(name, total, unit, parts, show)


class _Lines:
    """Prints a line now and then, and the last one."""

    def __init__(self, console: Console):
        self._console = console
        self._printed = time.monotonic()
        self._waiting = ""

    def show(self, _: int, text: str) -> None:
        self._waiting = text
        if time.monotonic() - self._printed >= LINE_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            say(self._console, self._waiting)
        self._printed, self._waiting = time.monotonic(), ""


@contextlib.contextmanager
def show_notices(console: Console) -> Iterator[None]:
    """Print what the package logs among the progress: what it says of the data, and warnings."""
    logger = logging.getLogger("evojax_prune")
    handler = _Notices(console)
    # Modules that log under their own names tell developers; only their warnings are for users.
    handler.addFilter(lambda record: record.name == logger.name or record.levelno > logging.INFO)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Notices(logging.Handler):
    def __init__(self, console: Console):
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        say(self._console, f"note: {record.getMessage()}")


def say(console: Console, text: str) -> None:
    """Print one line as it is: no markup, no colours, not broken at the console's width.

    Names of files may hold control characters, which are made visible.
    """
    console.print(Text(one_line(text)), soft_wrap=True)


def duration(seconds: float) -> str:
    """A time in words: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
