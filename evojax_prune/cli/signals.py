"""What a run does when it is told to stop: once to end in order, twice to end at once."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Ctrl-C, a polite kill (as schedulers send it), and a terminal that is closed."""

AGAIN = "to go on, run the same command again"

_asked: list[int] = []
"""The signal that asked to stop, if one did."""


class Stopped(KeyboardInterrupt):
    """A signal asked the run to stop.

    Attributes:
        number: of the signal.
        advice: how to go on.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.advice = AGAIN


def _stop(number: int, frame: FrameType | None) -> None:
    if _asked:
        name = signal.Signals(number).name
        os.write(2, f"stopped at once by {name}; {AGAIN}\n".encode())
        os._exit(128 + number)
    if _imports_jax(frame):  # an exception in the middle of that crashes the process
        _leave(number, frame)
    _asked.append(number)
    raise Stopped(number)


def _imports_jax(frame: FrameType | None) -> bool:
    """Whether JAX's own module is being executed, here or in a caller."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "jax":
            return True
        frame = frame.f_back
    return False


def _leave(number: int, _: FrameType | None) -> None:
    """End the process at once, while nothing has been done yet."""
    os.write(2, f"stopped by {signal.Signals(number).name}; {AGAIN}\n".encode())
    os._exit(128 + number)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """The first signal raises :class:`Stopped` in the main thread, a second one ends the process.

    Heads that are being trained are dropped; what the journal holds stays. Outside the main thread,
    where handlers cannot be set, nothing changes.
    """
    with _handled_by(_stop), _nothing_lost():
        try:
            yield
        except Exception as error:
            if _asked:  # a library took the exception for a failure of its own
                raise Stopped(_asked[0]) from error
            raise
        finally:
            _asked.clear()


def check_stopped() -> None:
    """Stop if a signal asked for it and its exception was lost in a library.

    Raises:
        Stopped: in the main thread.
    """
    if _asked and threading.current_thread() is threading.main_thread():
        raise Stopped(_asked[0])


@contextlib.contextmanager
def _nothing_lost() -> Iterator[None]:
    """Raise again what Python drops, as it does in a finalizer or a callback from C."""
    before = sys.unraisablehook

    def dropped(what: sys.UnraisableHookArgs) -> None:
        if not isinstance(what.exc_value, Stopped):
            before(what)
        elif hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, lambda *_: check_stopped())
            signal.setitimer(signal.ITIMER_REAL, 0.01)

    sys.unraisablehook = dropped
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    # A run under nohup must go on when its terminal is closed.
    heeded = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number] or signal.SIG_DFL)


def exit_status(error: KeyboardInterrupt) -> int:
    """128 + the signal's number, as shells have it."""
    return 128 + (error.number if isinstance(error, Stopped) else int(signal.SIGINT))


def _ignore_signals() -> None:
    """Python has no handlers for the last moments of a process, in which its status is known."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def program() -> NoReturn:
    """The command line as a process of its own, which heeds signals from before its imports on."""
    atexit.register(_ignore_signals)  # the first that is registered is called last
    with _handled_by(_leave):  # but where main has handlers of its own
        from evojax_prune.cli.main import main
        from evojax_prune.cli.streams import guard
        from evojax_prune.core.errors import UserError

        guard()
        # No window is opened; what a notebook asks for may not be installed here.
        os.environ["MPLBACKEND"] = "agg"
        try:
            status = main()
        except SystemExit as help_was_shown:
            status = int(help_was_shown.code or 0)
    for number in SIGNALS:  # all is done and said
        signal.signal(number, lambda *_: os._exit(status))
    try:
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = status or 2
    sys.stderr.flush()
    alone = any(thread.name == "meeting" for thread in threading.enumerate())
    if status >= 128 or alone:
        os._exit(status)  # heads that were in training, and other hosts, are not waited for
    sys.exit(status)
