"""A run on several hosts: ``--distributed``, or what SLURM, Open MPI and TPU pods set."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

FLAG = "--distributed"

HELP = (
    "train on all devices of all hosts: this command runs on each of them, started by srun, mpirun "
    "or a TPU pod's ssh --worker=all, or with JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and "
    "JAX_PROCESS_ID set; where srun or mpirun starts several processes it need not be given"
)

SEVERAL: dict[str, Callable[[str], bool]] = {
    "SLURM_STEP_NUM_TASKS": lambda value: int(value) > 1,
    "OMPI_COMM_WORLD_SIZE": lambda value: int(value) > 1,
    "TPU_WORKER_HOSTNAMES": lambda value: "," in value,
    "JAX_NUM_PROCESSES": lambda value: int(value) > 1,
}
"""Variables by which a process learns that it is one of several."""

Result = TypeVar("Result")


def asked(words: Sequence[str]) -> bool:
    """Whether the flag or the environment says that this process is one of several."""
    if FLAG in words or f"--no-{FLAG[2:]}" in words:
        return FLAG in words
    with contextlib.suppress(ValueError):
        return any(
            name in os.environ and tells(os.environ[name]) for name, tells in SEVERAL.items()
        )
    return False


def led(run: Callable[[], Result]) -> Result | None:
    """Calls ``run`` on the host that leads; the others train what it asks for, and give None.

    Raises:
        UserError: no other processes are found, or another host failed.
        HostLostError: another host is gone.
    """
    # jaxlib warns of what it is told to do here
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    from evojax_prune.engine import hosts
    from evojax_prune.engine.api import train_share
    from evojax_prune.engine.compilation import keep_compiled
    from evojax_prune.features import cache

    told = [f"{name}={os.environ[name]}" for name in SEVERAL if name in os.environ]
    print(
        f"waiting at most {hosts.PATIENCE} s for the other processes of the run "
        f"({', '.join(told) or FLAG})",
        file=sys.stderr,
    )
    with hosts.joined() as leads:
        if leads:
            return run()
        keep_compiled(cache.folder(None) / "compiled")
        hosts.serve(train_share)
    return None
