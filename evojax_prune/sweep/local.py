"""Runs on this machine: processes that stay, each with cores of its own."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import functools
import glob
import multiprocessing
import os
import pkgutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Self

from evojax_prune.core.errors import UserError
from evojax_prune.sweep import worker
from evojax_prune.sweep.task import Task
from evojax_prune.sweep.worker import Ended

TICK = 1.0
"""Seconds between two looks at the clock."""

GRACE = 30.0
"""Seconds after its time that a run has to end itself, before its process is killed."""


class LocalExecutor:
    """Worker processes on this machine.

    A process that dies takes only its own run with it, and is replaced.

    Args:
        workers: processes; one per core if None, but no more than there are runs.
        setup: what each process does first.
    """

    def __init__(self, workers: int | None, setup: Callable[[], object]):
        self._workers, self._setup = workers, setup
        self._lanes: list[_Lane] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the processes: a run that is still going on has its journal."""
        for lane in self._lanes:
            lane.stop()
        self._lanes = []

    def prepare(self, tasks: Sequence[Task]) -> None:
        """Extract features on all cores, one data set after the other.

        Raises:
            UserError: the images cannot be used.
        """
        lane = _Lane(machine_cores(), 0 if accelerators() else None, self._setup)
        self._lanes = [lane]
        for task in {task.data: task for task in tasks}.values():
            lane.call(worker.extract, task)
        self.__exit__()

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Ended] | None]:
        """Do the runs; gives each as it ends, and None about once a second."""
        self._open(len(tasks))
        waiting = collections.deque(tasks)
        running: dict[Future[Ended], tuple[_Lane, Task]] = {}
        idle = list(self._lanes)
        while waiting or running:
            while waiting and idle:
                lane, task = idle.pop(0), waiting.popleft()
                running[lane.start(task)] = lane, task
            ended, _ = concurrent.futures.wait(
                running, timeout=TICK, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in ended:
                lane, task = running.pop(future)
                idle.append(lane)
                yield task, lane.outcome(future, task)
            for lane, task in running.values():
                lane.check(task)
            yield None

    def _open(self, tasks: int) -> None:
        if self._lanes:
            return
        cores, cards = machine_cores(), accelerators()
        count = min(self._workers or default_workers(), tasks)
        for i in range(count):
            share = cores[i::count] or [cores[i % len(cores)]]
            self._lanes.append(_Lane(share, i % cards if cards else None, self._setup))


def machine_cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def accelerators() -> int:
    """Accelerators that JAX would use here, told without taking hold of one."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return 0
    packages = {module.name for module in pkgutil.iter_modules()}
    if any(name.startswith("jax_cuda") for name in packages):
        return len(glob.glob("/dev/nvidia[0-9]*"))
    return int("libtpu" in packages and bool(glob.glob("/dev/accel*") + glob.glob("/dev/vfio/*")))


def default_workers() -> int:
    """Worker processes if none are asked for: one per accelerator, or else per core."""
    return accelerators() or len(machine_cores())


class _Lane:
    """One worker process at a time, and the cores that are its own."""

    def __init__(self, cores: Sequence[int], card: int | None, setup: Callable[[], object]):
        self._begin = functools.partial(_begin, tuple(cores), card, setup)
        self._pool: ProcessPoolExecutor | None = None
        self._process: Future[int] = Future()
        self._due = 0.0
        self._late = False

    def call(self, work: Callable[[Task], object], task: Task) -> None:
        """Wait for something that is no run.

        Raises:
            UserError: the process died.
        """
        try:
            self._open().submit(work, task).result()
        except BrokenProcessPool:
            raise UserError(
                f"the features of {task.config.dataset} could not be extracted: the process was "
                "killed, perhaps for want of memory"
            ) from None

    def start(self, task: Task) -> Future[Ended]:
        """Begin a run."""
        self._due = time.monotonic() + (task.timeout or 0.0) + GRACE
        self._late = False
        return self._open().submit(worker.work, task)

    def _open(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, context, self._begin)
            self._process = self._pool.submit(os.getpid)
        return self._pool

    def check(self, task: Task) -> None:
        """Kill the process where it did not end itself in time."""
        if task.timeout is not None and time.monotonic() > self._due and not self._late:
            self._late = True
            self._kill()

    def outcome(self, future: Future[Ended], task: Task) -> Ended:
        """How the run ended; where its process died, the next one has a new one."""
        try:
            return future.result()
        except BrokenProcessPool:
            self.stop()
            return worker.timed_out(task) if self._late else worker.died(task)

    def stop(self) -> None:
        """End the process at once."""
        if self._pool is not None:
            self._kill()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _kill(self) -> None:
        # One that is still starting is not known yet; it ends when it sees its parent gone.
        if self._process.done() and not self._process.exception():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.result(), getattr(signal, "SIGKILL", signal.SIGTERM))


def _begin(cores: tuple[int, ...], card: int | None, setup: Callable[[], object]) -> None:
    """The first thing that a worker process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    if card is not None:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", str(card))
    worker.OWN_PROCESS = True
    worker.prepare(setup, len(cores))


def _end_with_parent() -> None:
    """A sweep that is killed leaves no process behind, which would hold the runs' locks."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
