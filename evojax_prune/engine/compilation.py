"""What XLA compiles: counted, timed, and kept on disk for the next process."""

from __future__ import annotations

import dataclasses
import functools
import threading
from pathlib import Path

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"


@dataclasses.dataclass
class Compilation:
    """Programs compiled (or read back from disk) in this process, and the seconds it took."""

    programs: int = 0
    seconds: float = 0.0


_lock = threading.Lock()


@functools.cache
def _tally() -> Compilation:
    tally = Compilation()

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == _COMPILED:
            with _lock:
                tally.programs += 1
                tally.seconds += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    return tally


def compiled_so_far() -> Compilation:
    """A copy of the tally since the first call of this function in the process."""
    tally = _tally()
    with _lock:
        return dataclasses.replace(tally)


def keep_compiled(folder: Path) -> None:
    """Keeps compiled programs in ``folder``, unless JAX was told of another place already."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
