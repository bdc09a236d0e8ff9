"""The main command: ``python -m evojax_prune.run --dataset D``.

It parses, wires and reports; the work is done elsewhere. JAX and the other heavy libraries are
imported when there is something for them to do, so that ``--help`` and refusals are quick.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evojax_prune.cli import flags as cli
from evojax_prune.cli.config import RunConfig, validated
from evojax_prune.core.errors import UserError

if TYPE_CHECKING:
    from evojax_prune.core.splits import FeatureSplits
    from evojax_prune.report.result import Result


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    0: done. 2: the input is at fault, one sentence on standard error says how. 130: interrupted.
    """
    try:
        prune(cli.parse(args))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def prune(config: RunConfig) -> Result:
    """Find a pruned head, compare it with the dense one, report and write everything.

    Args:
        config: what to do; :func:`evojax_prune.cli.flags.parse` makes one of a command line.

    Returns:
        What ``result.json`` holds.

    Raises:
        UserError: the input is at fault; nothing has been written then but cached features.
    """
    from rich.console import Console

    from evojax_prune.cli.progress import say, show_notices
    from evojax_prune.run import folder

    started = time.monotonic()
    console = Console(stderr=True)
    output = config.output or default_output(config)
    folder.check(output, config.overwrite)

    from evojax_prune.engine.compilation import keep_compiled
    from evojax_prune.features import cache
    from evojax_prune.methods import pipeline
    from evojax_prune.methods.find import find
    from evojax_prune.report import write

    keep_compiled(cache.folder(None) / "compiled")
    with show_notices(console):
        problem = pipeline.load_problem(config)
        say(console, problem.describe())
        with folder.PartialFolder(output) as partial:
            partial.configure(cli.dump(config), config.overwrite)
            try:
                found = find(problem, partial, console)
            except (KeyboardInterrupt, UserError) as stopped:
                if isinstance(stopped, UserError) and not partial.kept:
                    raise
                file = partial.path / "config.yaml"
                say(console, f"to go on: {cli.PROGRAM} --config {file} --output {output}")
                raise
            result = write.make_result(problem, found, time.monotonic() - started)
            write.write_files(partial, problem, found, result)
            partial.finish()
    write.show(result, output)
    return result


def load_splits(config: RunConfig | str | Path) -> list[FeatureSplits]:
    """The splits that a run works on, one element or one a fold.

    Args:
        config: a run's configuration, or its ``config.yaml``.
    """
    from evojax_prune.methods import pipeline

    if not isinstance(config, RunConfig):
        config = validated(cli.layered(cli.load_file(Path(config))))
    return list(pipeline.load_problem(config).splits)


def default_output(config: RunConfig) -> Path:
    """``runs/<dataset>-<mode>-<time>``."""
    name = Path(config.dataset).stem if Path(config.dataset).exists() else config.dataset
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"
    return Path("runs") / f"{plain}-{config.mode}-{time.strftime('%Y%m%d-%H%M%S')}"


if __name__ == "__main__":
    sys.exit(main())
