"""Runs as tasks of a Ray cluster."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from evojax_prune.core.errors import UserError, said_of
from evojax_prune.sweep import worker
from evojax_prune.sweep.task import Task
from evojax_prune.sweep.worker import Ended

TICK = 1.0
"""Seconds between two looks."""


class RayExecutor:
    """Ray tasks, one per run; Ray's workers stay, so runs share what they have loaded.

    The sweep's folder and the data have to be on a file system that all nodes see.

    Args:
        setup: what each worker does first.
        workers: most runs at once; None for what the cluster has room for.
        address: of a cluster; None for ``$RAY_ADDRESS``, else one that runs on this machine, else
            a new one.
        cpus: cores of a run.
        gpus: GPUs of a run.
        tpus: TPU chips of a run, Ray's resource ``TPU``.

    Raises:
        UserError: Ray is not installed.
    """

    def __init__(
        self,
        setup: Callable[[], object],
        workers: int | None = None,
        address: str | None = None,
        cpus: int = 1,
        gpus: float = 0,
        tpus: float = 0,
    ):
        try:
            import ray
        except ImportError:
            raise UserError(
                "--executor ray needs Ray, which is not installed: pip install 'evojax-prune[ray]'"
            ) from None
        self._ray: Any = ray
        self._workers, self._address = workers, address
        self._ours = False
        self._running: dict[Any, Task] = {}
        self._resources: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus}
        if tpus:
            self._resources["resources"] = {"TPU": tpus}
        self._first = setup, cpus

    def __enter__(self) -> Self:
        """Connect to the cluster.

        Raises:
            UserError: there is none at the address.
        """
        if not self._ray.is_initialized():
            _check_address(self._address)
            try:
                self._ray.init(self._address, log_to_driver=False, logging_level=logging.ERROR)
            except ConnectionError as error:
                raise UserError(f"no Ray cluster at {self._address}: {said_of(error)}") from None
            self._ours = True
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what is going on, and let go of the cluster."""
        for future in self._running:
            self._ray.cancel(future, force=True)
        self._running = {}
        if self._ours:
            self._ray.shutdown()
            self._ours = False

    def prepare(self, tasks: Sequence[Task]) -> None:
        """Nothing: of the runs that need the same features, one extracts them."""

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Ended] | None]:
        """Do the runs; gives each as it ends, and None about once a second.

        Raises:
            UserError: no node of the cluster has what a run needs.
        """
        ray = self._ray
        self._check_resources()
        remote = ray.remote(**self._resources, max_retries=0, max_calls=0)(_work)
        waiting = list(reversed(tasks))
        most = self._workers or len(waiting)
        while waiting or self._running:
            while waiting and len(self._running) < most:
                task = waiting.pop()
                self._running[remote.remote(*self._first, task)] = task
            ended, _ = ray.wait(list(self._running), num_returns=1, timeout=TICK)
            for future in ended:
                task = self._running.pop(future)
                yield task, self._outcome(future, task)
            yield None

    def _outcome(self, future: Any, task: Task) -> Ended:
        try:
            return self._ray.get(future)
        except self._ray.exceptions.RayTaskError as error:
            return Ended("failed", sentence=" ".join(str(error.cause or error).split()))
        except self._ray.exceptions.RayError:  # the worker, or its node, is gone
            return worker.died(task)

    def _check_resources(self) -> None:
        wanted = {"CPU": self._resources["num_cpus"], "GPU": self._resources["num_gpus"]}
        wanted |= self._resources.get("resources", {})
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(n.get(k, 0) >= v for k, v in wanted.items()) for n in nodes):
            told = ", ".join(f"{value:g} {name}" for name, value in wanted.items() if value)
            raise UserError(
                f"no node of the Ray cluster has what a run needs, {told}: lower --cpus, --gpus or "
                "--tpus"
            )


def _check_address(address: str | None) -> None:
    """Ask at an address whether somebody is there: Ray itself would wait for minutes.

    Raises:
        UserError: nobody is.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not (colon and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"no Ray cluster answers at {address}: {said_of(error)}") from None


_ready = False


def _work(setup: Callable[[], object], cpus: int, task: Task) -> Ended:
    """One run in one of Ray's workers."""
    global _ready
    if not _ready:
        worker.prepare(setup, cpus)
        _ready = True
    if not task.folder.parents[1].is_dir():
        return Ended("failed", sentence=f"this node does not see {task.folder.parents[1]}")
    return worker.work(task)
