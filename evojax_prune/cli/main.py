"""The main command: ``python -m evojax_prune.run --dataset D``.

It parses, shows and reports; the work is done elsewhere. JAX and the other heavy libraries are
imported when there is something for them to do, so that ``--help`` and refusals are quick.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evojax_prune.cli import commands, distributed, flags
from evojax_prune.cli.plugins import plugin_errors
from evojax_prune.cli.signals import AGAIN, Stopped, exit_status, stoppable
from evojax_prune.core.errors import (
    HostLostError,
    UserError,
    described,
    one_line,
    said_of,
    shortened,
    show_traceback,
)
from evojax_prune.run.config import RunConfig
from evojax_prune.run.store import SETTINGS, PartialFolder

if TYPE_CHECKING:
    from evojax_prune.report.pruned import Pruned

TABLE_WIDTH = 160
"""Columns of the table where the output is not a terminal."""


_MEMORY = "the memory that this process may use is too small, so raise the limit (ulimit -v)"
OF_THE_MACHINE = {
    "Unable to initialize backend": "JAX does not start",
    "for environment 'JAX_": "JAX does not start",
    "for JAX flag": "JAX does not start",
    "Disallowed": "JAX may not move data to its devices, so unset JAX_TRANSFER_GUARD",
    "MemoryError": _MEMORY,
    "bad_alloc": _MEMORY,
    "RESOURCE_EXHAUSTED": "the device's memory is used up, so lower --member-batch",
    "failed to map segment": _MEMORY,
}
"""Sentences on exceptions that come from where the program runs, by what is in them."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    0: done. 1: predicted, but some images could not be read. 2: the input is at fault, one sentence
    on standard error says how. 3: another host of a distributed run is gone. 128 + n: stopped by
    signal n, which is 130 for Ctrl-C.
    """
    words = list(sys.argv[1:] if args is None else args)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # those of libraries, which a user cannot act on
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # says where its cache is
    try:
        with stoppable(), plugin_errors():
            _check_current_folder()
            _check_environment()
            if "" in words or "--" in words:
                raise UserError("an argument is empty, or a lone --: give a value, or drop it")
            if words and not words[0].startswith("-"):
                return commands.run(words)
            config = flags.parse(words)
            if distributed.asked(words):
                distributed.led(lambda: run(config))
            else:
                run(config)
    except HostLostError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 3
    except UserError as error:
        show_traceback(error)
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:  # of a file of which no part of the program knew more to say
        if error.filename is None:
            raise
        show_traceback(error)
        what = f"{error.filename}: {error.strerror}"
        print(f"error: cannot use {one_line(what)}", file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError, ImportError, ValueError, AssertionError) as error:
        told = _of_the_machine(error)
        if told is None:
            raise
        show_traceback(error)
        print(f"error: {told}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        advice = getattr(stopped, "advice", AGAIN)
        print(f"stopped by {str(stopped) or 'SIGINT'}; {advice}", file=sys.stderr)
        return exit_status(stopped)
    return 0


def _check_current_folder() -> None:
    """Refuse to start in a folder that has been removed: no relative path leads anywhere."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the current folder is gone: change to one that exists") from None


def _check_environment() -> None:
    """Refuse a variable at which NumPy's import would fail."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "0")
    try:
        int(seconds)
    except ValueError:
        shown = shortened(one_line(seconds))
        raise UserError(
            f"SOURCE_DATE_EPOCH is {shown!r}, expected whole seconds: unset it"
        ) from None


def _of_the_machine(error: Exception) -> str | None:
    """The sentence on an exception that comes from where the program runs; None for others."""
    if isinstance(error, AssertionError):  # says nothing but by its line
        line = traceback.extract_tb(error.__traceback__)[-1].line or ""
        if "_default_backend" not in line:
            return None
        asked = one_line(os.environ.get("JAX_PLATFORMS", ""))
        return f"JAX has no device of JAX_PLATFORMS={asked}: unset it, or install JAX for it"
    said = described(error)
    told = (sentence for part, sentence in OF_THE_MACHINE.items() if part in said)
    sentence = next(told, None)
    return None if sentence is None else f"{sentence}: {said_of(error)}"


def run(config: RunConfig) -> Pruned:
    """Prune as the configuration says, with progress on standard error and the table at the end."""
    from rich.console import Console

    from evojax_prune.cli.progress import Terminal, say, show_notices

    console = Console(stderr=True)
    output = config.output or default_output(config)
    store = PartialFolder(output)
    store.check(config.overwrite)

    from evojax_prune.engine.compilation import keep_compiled
    from evojax_prune.features import cache
    from evojax_prune.run.run import prune_into

    keep_compiled(cache.folder(None) / "compiled")
    with show_notices(console):
        try:
            pruned = prune_into(store, config, Terminal(console))
        except BaseException as error:
            if store.resumable:
                advice = f"to go on: {_command(config, store)}"
                if isinstance(error, Stopped):
                    error.advice = advice
                else:
                    say(console, advice)
            raise
    show(pruned, output)
    return pruned


def _command(config: RunConfig, store: PartialFolder) -> str:
    """The command that goes on from a store."""
    words = ["--config", store.path / SETTINGS, "--output", store.output]
    if config.plugin:  # code is only run where the command line names it
        words += ["--plugin", *config.plugin]
    if config.track:
        words += ["--track", *config.track]
    if config.overwrite:
        words.append("--overwrite")
    return f"{flags.PROGRAM} {shlex.join(map(str, words))}"


def show(pruned: Pruned, output: Path) -> None:
    """Print the table and what it means."""
    from rich.console import Console

    from evojax_prune.cli.progress import say
    from evojax_prune.report import summary

    # Names are the user's: [...] and :...: in them mean nothing.
    result, console = pruned.result, Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = max(console.width, TABLE_WIDTH)
    console.print()
    console.print(summary.table(result))
    if result.baselines:
        console.print(summary.baselines_table(result))
    say(console, result.comparison.sentence)
    kind = "search" if pruned.found.trials.generation is not None else "pruning"
    say(console, f"The {kind} ended: {result.search.ended}.")
    say(console, f"Everything is in {output}: open report.html there")


def default_output(config: RunConfig) -> Path:
    """``runs/<dataset>-<mode>-<time>``."""
    name = Path(config.dataset).stem if Path(config.dataset).exists() else config.dataset
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"
    return Path("runs") / f"{plain}-{config.mode}-{time.strftime('%Y%m%d-%H%M%S')}"
