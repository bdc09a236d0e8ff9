"""What a run does when it is told to stop: once to end in order, twice to end at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Ctrl-C, a polite kill (as schedulers send it), and a terminal that is closed."""


class Stopped(KeyboardInterrupt):
    """A signal asked the run to stop.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """The first signal raises :class:`Stopped` in the main thread, a second one ends the process.

    Heads that are being trained are dropped; what the journal holds stays. Outside the main thread,
    where handlers cannot be set, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    asked: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        if asked:
            os._exit(128 + number)
        asked.append(number)
        raise Stopped(number)

    # A run under nohup must go on when its terminal is closed.
    heeded = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number] or signal.SIG_DFL)


def exit_status(error: KeyboardInterrupt) -> int:
    """128 + the signal's number, as shells have it."""
    return 128 + (error.number if isinstance(error, Stopped) else int(signal.SIGINT))
