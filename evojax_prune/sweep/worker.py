"""One run of a sweep, in whatever process an executor has for it.

The process may stay for many runs: they share the features that it has loaded and the programs that
it has compiled.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import faulthandler
import functools
import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, TextIO

from evojax_prune.core.errors import UserError, described, plugin_error
from evojax_prune.core.files import make_folder, os_errors
from evojax_prune.sweep.task import Task, data_key, tidy

if TYPE_CHECKING:
    from evojax_prune.data import FeatureTable
    from evojax_prune.methods.observer import Observer
    from evojax_prune.run.config import RunConfig

Status = Literal["done", "failed", "killed", "timed out", "not started"]

LOCK_SECONDS = 15.0
"""How long a run waits for the process of an earlier sweep that is still ending."""

TABLES = 4
"""Data sets whose features a process keeps."""

DENSE_HEADS = 2
"""Dense heads that a process keeps: runs on the same data and seed come one after another."""

GENERATIONS = 200
"""Generations of which a process keeps the evaluations; a default search has 25, of 4 KB each."""

TIMED_OUT = "Timeout ("
"""What the watchdog's report begins with."""

OWN_PROCESS = False
"""This process is there for the runs alone, so what it prints goes to their logs."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        status: ``done`` or what else.
        seconds: that it took here.
        sentence: why it did not finish.
    """

    status: Status
    seconds: float = 0.0
    sentence: str = ""


def prepare(setup: Callable[[], object], cores: int | None = None) -> None:
    """What a process does once, before its first run.

    Args:
        setup: imports what the runs need besides this package.
        cores: that its runs may use; all that it has if None.
    """
    global _cores
    _cores = cores
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # those of libraries, which a user cannot act on
    setup()


_cores: int | None = None


@functools.cache
def _ready() -> None:
    """Get JAX ready, when there is something for it to do."""
    from evojax_prune.engine.compilation import keep_compiled
    from evojax_prune.engine.workers import limit_cores
    from evojax_prune.features import cache
    from evojax_prune.methods.shared import share

    share(DENSE_HEADS, GENERATIONS)
    if _cores is not None:
        limit_cores(_cores)
    keep_compiled(cache.folder(None) / "compiled")


def extract(task: Task) -> None:
    """Put the features of a run's data sets into the cache, with progress bars.

    Raises:
        UserError: the data cannot be used.
    """
    from evojax_prune.methods.observer import Observer
    from evojax_prune.run.data import load_data

    _ready()
    for dataset in (task.config.dataset, task.config.ood):
        if dataset is not None:
            load_data(task.config, dataset, Observer())


def work(task: Task) -> Ended:
    """Do a run, unless it is finished; nothing that goes wrong in it is raised."""
    started = time.monotonic()
    status: Status = "failed"
    with _log(task) as log:
        try:
            with _watchdog(task.timeout, log):
                _run(task)
            status, sentence = "done", ""
        except UserError as error:
            sentence = str(error)
        except (Exception, SystemExit) as error:  # a plugin that leaves has no result either
            traceback.print_exc(file=log)
            sentence = str(plugin_error(error) or described(error))
            sentence += f"; {task.log} has the traceback"
        if sentence:
            print(sentence, file=log)
    return Ended(status, time.monotonic() - started, sentence)


def died(task: Task) -> Ended:
    """How a run ended whose process is gone."""
    if task.finished:
        return Ended("done")
    with contextlib.suppress(OSError):
        said = task.log.read_text(encoding="utf-8", errors="replace")
        if any(line.startswith(TIMED_OUT) for line in said.splitlines()):
            return timed_out(task)
    return Ended("killed", sentence="its process was killed (by hand, or for want of memory)")


def timed_out(task: Task) -> Ended:
    """How a run ended that took too long."""
    return Ended(
        "timed out",
        task.timeout or 0.0,
        f"it took more than the {task.timeout:g} s of --timeout; {task.log} has where it was",
    )


def _run(task: Task) -> None:
    from evojax_prune.methods.observer import Observer
    from evojax_prune.run.data import load_problem
    from evojax_prune.run.run import prune_into
    from evojax_prune.run.store import PartialFolder

    store = PartialFolder(task.folder, patience=LOCK_SECONDS)
    if task.finished:
        tidy(task)
        return
    _ready()
    problem = load_problem(task.config, None, functools.partial(_table, task))
    prune_into(store, task.config, Observer(), problem=problem)


_TABLES: collections.OrderedDict[tuple[str, str, str], FeatureTable] = collections.OrderedDict()
"""By content of the data, way of making features, and name."""


def _table(task: Task, config: RunConfig, dataset: str, _: Observer | None) -> FeatureTable:
    """Features that this process has loaded already, or loads now.

    Raises:
        UserError: the data are not those that the sweep was planned with.
    """
    from evojax_prune.run.data import content_digest, load_data

    key = task.data, data_key(config), dataset
    if key not in _TABLES:
        if content_digest(config) != task.data:
            raise UserError(f"{config.dataset} has changed since the sweep began: start it again")
        _TABLES[key] = load_data(config, dataset, None)
        while len(_TABLES) > TABLES:
            _TABLES.popitem(last=False)
    _TABLES.move_to_end(key)
    return _TABLES[key]


@contextlib.contextmanager
def _log(task: Task) -> Iterator[TextIO]:
    """The run's log, which gets its notices and, in a process of its own, all that it prints."""
    make_folder(task.log.parent)
    with os_errors(f"write {task.log}"):
        stream = task.log.open("w", encoding="utf-8", errors="backslashreplace", buffering=1)
    logger = logging.getLogger("evojax_prune")
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.WARNING)
    logger.addHandler(handler)
    with stream:
        if OWN_PROCESS:
            for standard in (1, 2):
                os.dup2(stream.fileno(), standard)
        try:
            yield stream
        finally:
            logger.removeHandler(handler)


@contextlib.contextmanager
def _watchdog(seconds: float | None, log: TextIO) -> Iterator[None]:
    """End this process after so many seconds, whatever it hangs in, and say where it was."""
    if seconds is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=log)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
