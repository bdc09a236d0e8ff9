"""The command line of an experiment: its own flags, and every flag of the main command."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from evojax_prune.cli import flags as cli
from evojax_prune.core.errors import UserError
from evojax_prune.run.config import RunConfig
from experiments import published
from experiments.harness.runs import WHOLE, Run, Variant, find_or_run

MODES = ("fc1", "fc2", "both", "features")
"""Prune modes in the paper's order."""

PROTOCOL = ("--protocol", "holdout")
"""What the experiments start from: the paper's training, on features as they are."""

HOME = Path("runs/experiments")

OWN = ("--mode", "--seed", "--output", "--overwrite")
"""Flags of the main command that an experiment sets itself."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """An experiment as it was asked for.

    Attributes:
        name: of the experiment.
        options: its own flags.
        words: flags for the main command.
        given: everything that was typed.
    """

    name: str
    options: argparse.Namespace
    words: tuple[str, ...]
    given: tuple[str, ...]

    def config(self, mode: str, seed: int, *more: str) -> RunConfig:
        """The configuration of one run; ``more`` are further flags of the main command."""
        words = self.words if "--protocol" in self.words else (*PROTOCOL, *self.words)
        return cli.parse([*words, "--mode", mode, "--seed", str(seed), *more])

    def run(self, mode: str, seed: int, *more: str, variant: Variant = WHOLE) -> Run:
        """One finished run."""
        return find_or_run(self.config(mode, seed, *more), self.options.home, variant)

    def runs(self, *more: str, variant: Variant = WHOLE) -> dict[str, list[Run]]:
        """For each mode asked for, a finished run a seed."""
        return {
            mode: [self.run(mode, seed, *more, variant=variant) for seed in self.options.seeds]
            for mode in self.options.modes
        }

    @property
    def base(self) -> RunConfig:
        """Configuration of the first run."""
        return self.config(self.options.modes[0], self.options.seeds[0])

    @property
    def dataset(self) -> str:
        """Short name of the data set."""
        config = self.base
        path = Path(config.dataset)
        return path.stem if path.exists() else config.dataset

    @property
    def paper_name(self) -> str | None:
        """What the paper calls the data set; None for one that is not in it."""
        return self.options.paper_name or published.NAMES.get(self.dataset.lower())

    @property
    def label(self) -> str:
        """Name of the files of the results."""
        config = self.base
        parts = (self.dataset, config.selection, config.backbone)
        plain = re.sub(r"[^\w.-]+", "-", "-".join(parts))
        return self.options.label or (f"{plain}-paper" if config.protocol == "paper" else plain)

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.options.home / self.name

    @property
    def command(self) -> str:
        """What to type to get the same figures; modes and seeds are spelt out."""
        said = ["python", "-m", f"experiments.{self.name}", *self.given]
        for flag in ("modes", "seeds"):
            if f"--{flag}" not in self.given:
                said += [f"--{flag}", *map(str, getattr(self.options, flag))]
        return shlex.join(said)


def parse(
    name: str,
    description: str,
    args: Sequence[str] | None,
    modes: Iterable[str] = MODES,
    add: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> Experiment:
    """An experiment's command line.

    Args:
        name: module of the experiment.
        description: what it does.
        args: the words after the program's name; those of this process if None.
        modes: prune modes that are run if none are asked for.
        add: adds further flags.

    Raises:
        UserError: a flag that the experiment sets itself.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}",
        description=description,
        epilog="Every other flag goes to the main command (--dataset, --selection, --protocol, "
        "--backbone, --groups, --evaluations, ...): python -m evojax_prune.run --help",
        allow_abbrev=False,
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="INT")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(modes))
    parser.add_argument("--home", type=Path, default=HOME, help="runs and results (%(default)s)")
    parser.add_argument("--label", help="name of the files of the results")
    parser.add_argument(
        "--paper-name",
        choices=sorted(set(published.NAMES.values())),
        help="what the paper calls the data set, to print its figures beside ours",
    )
    add(parser)
    given = sys.argv[1:] if args is None else args
    options, words = parser.parse_known_args(given)
    for word in words:
        if word.split("=")[0] in OWN:
            raise UserError(f"{word} is set by the experiment: see --modes, --seeds and --home")
    return Experiment(name, options, tuple(words), tuple(given))


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
