"""``python -m evojax_prune sweep SWEEP.yaml``: many runs, one table."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from evojax_prune.cli.flags import parsed_words
from evojax_prune.cli.plugins import load_plugins
from evojax_prune.core.errors import UserError, one_line
from evojax_prune.core.files import checked_path

if TYPE_CHECKING:
    from evojax_prune.sweep.plan import SweepPlan
    from evojax_prune.sweep.results import RunGroup
    from evojax_prune.sweep.run import Executor, SweepOutcome

EXECUTORS = ("local", "ray", "slurm")

TABLE_WIDTH = 160
"""Columns of the table where the output is not a terminal."""


@dataclasses.dataclass
class Sweep:
    """Do every run of a sweep file that is not finished, and put all of them into one table."""

    file: Annotated[
        tyro.conf.Positional[Path],
        tyro.conf.arg(metavar="SWEEP.yaml", help="settings that vary; see docs/sweeps.md"),
    ]
    executor: Annotated[
        str,
        tyro.conf.arg(
            metavar="{local,ray,slurm}",
            help="local: worker processes on this machine; ray: tasks on a Ray cluster, or on a "
            "local one (extra ray); slurm: job arrays (extra slurm)",
        ),
    ] = "local"
    workers: Annotated[
        int | None,
        tyro.conf.arg(
            metavar="INT",
            help="local: processes, one per core or accelerator if not given; ray: most runs at "
            "once; slurm: jobs of the array",
        ),
    ] = None
    output: Annotated[
        Path | None,
        tyro.conf.arg(
            metavar="DIR", help="folder of the sweep; runs/<name of the file> if not given"
        ),
    ] = None
    by: Annotated[
        tuple[str, ...],
        tyro.conf.arg(
            metavar="FIELD ...",
            help="fields by which the table has its lines; all that vary but the seed if not given",
        ),
    ] = ()
    timeout: Annotated[
        float | None, tyro.conf.arg(metavar="SECONDS", help="most time that one run may take")
    ] = None
    dry_run: Annotated[
        bool, tyro.conf.arg(help="check the file, count the runs, estimate the time; write nothing")
    ] = False
    cpus: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help="cores of a run (ray, slurm); 1 if not given")
    ] = None
    gpus: Annotated[
        float | None, tyro.conf.arg(metavar="FLOAT", help="GPUs of a run (ray, slurm)")
    ] = None
    tpus: Annotated[
        float | None, tyro.conf.arg(metavar="FLOAT", help="TPU chips of a run (ray)")
    ] = None
    address: Annotated[
        str | None,
        tyro.conf.arg(metavar="HOST:PORT", help="Ray cluster; $RAY_ADDRESS, else a local one"),
    ] = None
    slurm: Annotated[
        tuple[str, ...],
        tyro.conf.arg(
            metavar="NAME=VALUE ...",
            help="options of the job array as submitit names them, such as partition=gpu time=120",
        ),
    ] = ()
    plugin: Annotated[
        tuple[str, ...],
        tyro.conf.arg(metavar="FILE.py ...", help="Python files to import first, as in a run"),
    ] = ()


def sweep(words: Sequence[str]) -> int:
    """Run ``sweep``; returns 1 if some runs did not finish, 2 if the file is at fault, else 0."""
    from evojax_prune.sweep.file import MistakesError

    try:
        return _sweep(_checked(parsed_words(Sweep, words, "sweep")))
    except MistakesError as error:
        for sentence in error.sentences:
            print(f"error: {one_line(sentence)}", file=sys.stderr)
        count = len(error.sentences)
        print(
            f"{count} {'mistake' if count == 1 else 'mistakes'}; nothing was run", file=sys.stderr
        )
        return 2


def _sweep(asked: Sweep) -> int:
    from evojax_prune.sweep.file import load_sweep

    content = load_sweep(asked.file)
    load_plugins(asked.plugin, content.base)
    from rich.console import Console

    from evojax_prune.cli.progress import Terminal, say
    from evojax_prune.sweep.page import write_all
    from evojax_prune.sweep.plan import make_plan
    from evojax_prune.sweep.run import check_folder, run_sweep

    folder = asked.output or content.output or Path("runs") / asked.file.stem
    plan = make_plan(content, folder, asked.file.stem, asked.by, asked.timeout)
    console = Console(stderr=True)
    say(console, _announcement(plan, asked.workers))
    if asked.dry_run:
        check_folder(plan.folder, plan.tasks)
        return 0
    setup = functools.partial(load_plugins, asked.plugin, content.base)
    executor = _executor(asked, plan.folder, setup)
    text = asked.file.read_text(encoding="utf-8")
    try:
        outcome = run_sweep(plan, text, executor, Terminal(console))
    except KeyboardInterrupt:
        say(console, "stopped: the same command goes on from here")
        raise
    groups, _ = write_all(plan, outcome.failed)
    _show(plan, outcome, groups)
    return 1 if outcome.failed else 0


def _checked(asked: Sweep) -> Sweep:
    """The words, each looked at on its own.

    Raises:
        UserError: an unknown executor, an option that it does not read, an impossible number.
    """
    asked.file = checked_path(asked.file, "SWEEP.yaml")
    if asked.output is not None:
        asked.output = checked_path(asked.output, "--output")
    if asked.executor not in EXECUTORS:
        raise UserError(f"--executor is {asked.executor}, expected one of {', '.join(EXECUTORS)}")
    for name, least in (("workers", 1), ("cpus", 1), ("timeout", 0.1), ("gpus", 0), ("tpus", 0)):
        value = getattr(asked, name)
        if value is not None and not least <= value <= 10**6:
            raise UserError(f"--{name} is {value}, expected a number from {least} to 1000000")
    readers = {
        "cpus": ("ray", "slurm"),
        "gpus": ("ray", "slurm"),
        "tpus": ("ray",),
        "address": ("ray",),
        "slurm": ("slurm",),
    }
    for name, executors in readers.items():
        if getattr(asked, name) not in (None, ()) and asked.executor not in executors:
            needed = " or ".join(executors)
            raise UserError(f"--{name} does nothing without --executor {needed}: drop it")
    return asked


def _executor(asked: Sweep, folder: Path, setup: Callable[[], object]) -> Executor:
    """Where the runs are done.

    Raises:
        UserError: what it needs is not installed, or an option that it does not know.
    """
    if asked.executor == "ray":
        from evojax_prune.sweep.on_ray import RayExecutor

        return RayExecutor(
            setup, asked.workers, asked.address, asked.cpus or 1, asked.gpus or 0, asked.tpus or 0
        )
    if asked.executor == "slurm":
        from evojax_prune.sweep.on_slurm import SlurmExecutor

        return SlurmExecutor(setup, asked.workers, folder, asked.slurm, asked.cpus, asked.gpus)
    from evojax_prune.sweep.local import LocalExecutor

    return LocalExecutor(asked.workers, setup)


def _announcement(plan: SweepPlan, workers: int | None) -> str:
    """How many runs there are, and how long they will take."""
    from evojax_prune.cli.progress import duration
    from evojax_prune.sweep.local import default_workers
    from evojax_prune.sweep.run import seconds_left

    left = sum(not task.finished for task in plan.tasks)
    workers = min(workers or default_workers(), max(left, 1))
    said = f"{plan.title}: {len(plan.tasks)} run{'s' * (len(plan.tasks) > 1)}"
    if left < len(plan.tasks):
        said += f", {len(plan.tasks) - left} of them finished"
    if left:
        said += f"; about {duration(seconds_left(plan, workers))} with {workers} at once"
    if plan.images:
        said += f", and features of {plan.images:,} images first"
    return f"{said}; in {plan.folder}"


def _show(plan: SweepPlan, outcome: SweepOutcome, groups: Sequence[RunGroup]) -> None:
    """Print the table, and what did not finish."""
    from rich.console import Console

    from evojax_prune.cli.progress import say
    from evojax_prune.sweep.page import console_table

    console = Console(markup=False, emoji=False)  # names are the user's
    if not console.is_terminal:
        console.width = max(console.width, TABLE_WIDTH)
    if groups:
        console.print()
        console.print(console_table(plan, groups))
    done = len(plan.tasks) - len(outcome.failed)
    say(console, f"{done} of {len(plan.tasks)} runs are finished. Everything is in {plan.folder}")
    if outcome.failed:
        say(console, f"{len(outcome.failed)} did not finish: the same command tries them again")
