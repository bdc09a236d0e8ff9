"""Several hosts (``jax.distributed``): one leads the run, all train, all fits come together.

Host 0 runs the program; the others :func:`serve` it. For every population host 0 tells them what to
train (:func:`announce`), each trains its share on its own devices, and :func:`gather` brings the
fits together. So one host alone reads data, decides and writes.

A program that every host runs alike needs neither: it calls ``fit_population`` everywhere.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os
import pickle
import queue
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import jax

from evojax_prune.core.errors import HostLostError, UserError, said_of
from evojax_prune.core.splits import FeatureSplits

Key = TypeVar("Key")
Value = TypeVar("Value")

PATIENCE = 120
"""Seconds that the processes of a run may take to come together."""

HEARTBEAT_SECONDS = 30
"""A host that has not been heard of for so long is lost."""

PART_BYTES = 2**20
"""Most bytes that the coordination service is sent at a time."""

BY_HAND = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
"""Variables that say who takes part, where no cluster does: host:port, count, place."""


@contextlib.contextmanager
def joined() -> Iterator[bool]:
    """Joins the other processes of the run; gives whether this one leads it.

    Raises:
        UserError: nothing says who takes part, or they do not all come.
    """
    # one lost host must not end the others before they have said so
    jax.config.update("jax_enable_recoverability", True)
    address, count, place = _by_hand()
    try:
        _await(
            lambda: jax.distributed.initialize(
                address,
                count,
                place,
                initialization_timeout=2 * PATIENCE,  # at which jaxlib ends the process
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            )
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            "--distributed found no other processes: start the command by srun or mpirun or on all"
            f" workers of a TPU pod, or set {', '.join(BY_HAND)} ({said_of(error)})"
        ) from None
    _team.leads = jax.process_index() == 0 and jax.process_count() > 1
    try:
        yield jax.process_index() == 0
    except BaseException as error:
        _leave(said_of(error))
        raise
    _leave(None)


def _by_hand() -> tuple[str | None, int | None, int | None]:
    """What the variables :data:`BY_HAND` say.

    Raises:
        UserError: one is no address, count or place.
    """
    address, *numbers = (os.environ.get(name) for name in BY_HAND)
    if address is not None and not _ADDRESS.fullmatch(address):
        raise UserError(f"{BY_HAND[0]} is {address!r}, expected host:port, such as 10.0.0.1:1234")
    for name, number in zip(BY_HAND[1:], numbers, strict=True):
        if number is not None and not (number.isascii() and number.isdecimal()):
            raise UserError(f"{name} is {number!r}, expected a whole number")
    count, place = (None if number is None else int(number) for number in numbers)
    if count is not None and place is not None and not place < count:
        raise UserError(
            f"{BY_HAND[2]} is {place}, expected 0 to {count - 1}, as {BY_HAND[1]} is {count}"
        )
    return address, count, place


_ADDRESS = re.compile(r".+:\d{1,5}", re.ASCII)


def _await(meet: Callable[[], object]) -> None:
    """Waits for the other processes, in a thread of its own, so that signals are heeded meanwhile.

    Raises:
        UserError: they do not come.
    """
    met: concurrent.futures.Future[object] = concurrent.futures.Future()

    def run() -> None:
        try:
            met.set_result(meet())
        except Exception as error:
            met.set_exception(error)

    threading.Thread(target=run, name="meeting", daemon=True).start()
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        with contextlib.suppress(TimeoutError):
            met.result(timeout=0.2)
            return
    raise UserError(
        f"not all processes of this run have come within {PATIENCE} s: start the command by srun or"
        " mpirun or on all hosts, or run it on this one alone with --no-distributed"
    )


def serve(train: Callable[[Any], None]) -> None:
    """Trains what host 0 announces, until it ends.

    Args:
        train: called with each announced job, which it trains and gathers.

    Raises:
        UserError: another host failed.
    """
    known: dict[int, FeatureSplits] = {}
    while True:
        try:
            new, alive, job = exchange(None)[0]
        except _EndedError:
            return
        known = {token: one for token, one in (known | new).items() if token in alive}
        train(dataclasses.replace(job, splits=[known[token] for token in job.splits]))


def announce(job: Any) -> None:
    """Tells the hosts that serve this one what is to be trained now; nothing if none does.

    Args:
        job: a dataclass with the attribute ``splits``; those that were sent before are not sent
            again.
    """
    if not _team.leads:
        return
    new = {_team.token(one): one for one in job.splits if not _team.knows(one)}
    tokens = [_team.token(one) for one in job.splits]
    exchange((new, _team.alive(), dataclasses.replace(job, splits=tokens)))


def counted(progress: Callable[[int], None] | None) -> Callable[[int], None] | None:
    """Of what this host trains, as many heads as all hosts train meanwhile, about."""
    hosts = jax.process_count()
    if progress is None or hosts == 1:
        return progress
    return lambda heads: progress(heads * hosts)


def own_rows(members: int) -> list[int]:
    """Rows of the population that this host trains: every n-th, so that the load is even."""
    return list(range(jax.process_index(), members, jax.process_count()))


def own_share(members: int) -> list[int]:
    """As many rows on every host, the last ones on several hosts where they cannot be shared out.

    So all hosts run programs of one size, and no member's numbers depend on how many hosts there
    are.
    """
    hosts = jax.process_count()
    places = range(jax.process_index(), -(-members // hosts) * hosts, hosts)
    return [place % members for place in places]


def gather(mine: dict[Key, Value]) -> dict[Key, Value]:
    """The union of all hosts' results, the same on each.

    Raises:
        UserError: another host failed.
        HostLostError: another host is gone.
    """
    if jax.process_count() == 1:
        return mine
    merged: dict[Any, Any] = {}
    for part in exchange(mine):
        merged |= part
    return merged


def exchange(message: Any) -> list[Any]:
    """Every host's message, in the hosts' order; of those that have none, None.

    Only this program's own processes take part. Messages go by JAX's coordination service and not
    by the devices, whose collectives may wait for ever for a host that is lost.

    Raises:
        UserError: another host failed.
        HostLostError: another host is gone.
    """
    _meet()
    _team.post(pickle.dumps(message))
    try:
        messages = [pickle.loads(_team.read(host)) for host in range(jax.process_count())]
    except jax.errors.JaxRuntimeError:
        if missing := _missing():
            _lost(missing)
        raise
    for host, each in enumerate(messages):
        if isinstance(each, _Farewell):
            _team.over = True
            if each.sentence is None:
                raise _EndedError
            raise UserError(f"host {host} of {len(messages)} stopped: {each.sentence}")
    return messages


class _EndedError(Exception):
    """The host that leads is done."""


@dataclasses.dataclass(frozen=True)
class _Farewell:
    """The last message of a host: why it stopped, or None if all is done."""

    sentence: str | None


class _Team:
    """What this process knows of the others, and its messages to them."""

    def __init__(self) -> None:
        self.leads = self.over = False
        self._sent: dict[int, tuple[weakref.ref[FeatureSplits], int]] = {}
        self._tokens = self._turn = 0
        self._posted: list[list[str]] = []

    def post(self, message: bytes) -> None:
        """Shows a message to all; those of two turns ago have been read by all, and go."""
        client, self._turn = _service(), self._turn + 1
        name = f"evojax_prune/{self._turn}/{jax.process_index()}"
        parts = [message[i : i + PART_BYTES] for i in range(0, len(message), PART_BYTES)]
        client.key_value_set(name, str(len(parts)))
        for i, part in enumerate(parts):
            client.key_value_set_bytes(f"{name}/{i}", part)
        self._posted.append([name, *(f"{name}/{i}" for i in range(len(parts)))])
        if len(self._posted) > 2:
            for old in self._posted.pop(0):
                client.key_value_delete(old)

    def read(self, host: int) -> bytes:
        """A host's message of this turn."""
        client, wait = _service(), 2000 * HEARTBEAT_SECONDS
        name = f"evojax_prune/{self._turn}/{host}"
        parts = range(int(client.blocking_key_value_get(name, wait)))
        return b"".join(client.blocking_key_value_get_bytes(f"{name}/{i}", wait) for i in parts)

    def knows(self, splits: FeatureSplits) -> bool:
        """Whether the others have them already."""
        entry = self._sent.get(id(splits))
        return entry is not None and entry[0]() is splits

    def token(self, splits: FeatureSplits) -> int:
        """What they are called in messages."""
        if not self.knows(splits):
            self._tokens += 1
            self._sent[id(splits)] = weakref.ref(splits), self._tokens
        return self._sent[id(splits)][1]

    def alive(self) -> set[int]:
        """Tokens of the splits that may be asked for again."""
        self._sent = {k: entry for k, entry in self._sent.items() if entry[0]() is not None}
        return {token for _, token in self._sent.values()}


_team = _Team()


def _service() -> Any:
    """JAX's coordination service, by the way that ``jax.experimental.multihost_utils`` takes."""
    from jax._src.distributed import global_state

    return global_state.client


def _meet() -> None:
    """Waits until every host is here.

    In a thread of its own, so that signals are heeded meanwhile.

    Raises:
        HostLostError: one is gone.
    """
    answer: queue.Queue[set[int]] = queue.Queue()
    threading.Thread(target=lambda: answer.put(_missing()), daemon=True).start()
    while True:
        with contextlib.suppress(queue.Empty):
            missing = answer.get(timeout=0.2)
            break
    if missing:
        _lost(missing)


def _missing() -> set[int]:
    from jax.experimental.multihost_utils import ProcessFailureError, live_devices

    devices = jax.devices()
    try:
        with live_devices(devices) as alive:
            return {d.process_index for d in devices} - {d.process_index for d in alive}
    except ProcessFailureError as error:
        return {device.process_index for device in error.failed_devices}


def _lost(missing: set[int]) -> NoReturn:
    _team.over = True
    named = ", ".join(map(str, sorted(missing)))
    raise HostLostError(
        f"host {named} of {jax.process_count()} is gone (it failed, was stopped, or cannot be"
        " reached): what was evaluated is kept; start the same command again on all hosts to go on"
    )


def _leave(sentence: str | None) -> None:
    """Says farewell, if the others still listen; the leader goes last, as it keeps the contact."""
    with contextlib.suppress(UserError, _EndedError):
        if jax.process_count() > 1 and not _team.over and (_team.leads or sentence):
            exchange(_Farewell(sentence))
    if _team.leads:
        _missing()  # returns when the others have left
    _team.leads = _team.over = False
    jax.distributed.shutdown()
