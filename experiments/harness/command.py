"""The command lines of experiments: of what reads finished sweeps, and of what takes files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from evojax_prune.core.errors import UserError
from experiments.harness.sweeps import Sweep, read_sweep


def reader_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Flags of a command that reads finished sweeps.

    Args:
        name: of its module.
        description: what it does.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}", description=description, allow_abbrev=False
    )
    parser.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="what python -m evojax_prune sweep wrote to, such as runs/models",
    )
    return parser


def sweeps_of(options: argparse.Namespace) -> list[Sweep]:
    """The sweeps that are named on the command line.

    Raises:
        UserError: one of them cannot be read.
    """
    sweeps = [read_sweep(folder) for folder in options.folders]
    for sweep in sweeps:
        if sweep.unfinished:
            print(f"{sweep.folder}: {sweep.unfinished} runs are not finished", file=sys.stderr)
    return sweeps


def read(
    name: str, description: str, write: Callable[[Sweep], object], args: Sequence[str] | None
) -> int:
    """A command that writes a table of each finished sweep, and prints it.

    Args:
        name: of its module.
        description: what it does.
        write: the table of a sweep.
        args: words of the command line; those of the process if None.

    Returns:
        The exit status.
    """
    parser = reader_parser(name, description)

    def work() -> None:
        for sweep in sweeps_of(parser.parse_args(args)):
            print(write(sweep))

    return finish(work)


def on_files(
    name: str,
    description: str,
    work: Callable[[argparse.Namespace], object],
    args: Sequence[str] | None,
    seeds: Sequence[int] = (0,),
    more: Callable[[argparse.ArgumentParser], object] | None = None,
) -> int:
    """A command that compares ways of pruning on features files.

    Args:
        name: of its module.
        description: what it does; of several paragraphs the first.
        work: is given ``data``, the files, and ``seeds``.
        args: words of the command line; those of the process if None.
        seeds: by default.
        more: adds flags of its own.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}",
        description=description.partition("\n\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="FILE.npz")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds), metavar="INT")
    if more is not None:
        more(parser)
    return finish(lambda: work(parser.parse_args(args)))


def finish(work: Callable[[], object]) -> int:
    """Exit status of an experiment: 0 done, 2 the input is at fault, 130 interrupted."""
    try:
        work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0
