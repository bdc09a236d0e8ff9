"""``python -m experiments.pnorm``: report on finished sweeps of the method ``norms``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from evojax_prune.core.errors import UserError
from experiments.harness.command import finish, reader_parser, sweeps_of
from experiments.harness.sweeps import Run, Sweep
from experiments.pnorm import report
from experiments.pnorm.networks import Network, make_network


def networks(sweep: Sweep) -> list[Network]:
    """A network per line of the sweep.

    Raises:
        UserError: a run of another method, or seeds with other rankings or levels.
    """
    return [
        make_network(labels, [_cell(run) for run in runs]) for labels, runs in sweep.lines().items()
    ]


def _cell(run: Run) -> dict[str, Any]:
    """What ``norms.json`` of a run holds, and whose it is."""
    file = run.folder / "norms.json"
    if not file.is_file():
        raise UserError(
            f"{run.folder} is not of the method norms: see configs/sweeps/norms.yaml for a sweep "
            "that is"
        )
    told = {"seed": run.settings["seed"], "selected_on_test": run.result["selected_on_test"]}
    return json.loads(file.read_text(encoding="utf-8")) | told


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = reader_parser("pnorm", "Which p-norm, and how far: a report on finished sweeps.")

    def work() -> None:
        for sweep in sweeps_of(parser.parse_args(args)):
            print(report.write(sweep, networks(sweep)))

    return finish(work)


if __name__ == "__main__":
    sys.exit(main())
