"""Runs that are kept: one that is finished is never run again, one that was stopped goes on.

A run is a folder named by a hash of everything that decides its numbers: settings, content of the
data, version of the package. It holds what the main
command writes, every genome that the search tried (``search.npz``), and JSON files of what was
computed from the run later.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from evojax_prune.cli.progress import Terminal, show_notices
from evojax_prune.core.files import save_file
from evojax_prune.core.head import head_spec
from evojax_prune.core.mode import MODES
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.splits import FeatureSplits
from evojax_prune.methods.problem import Problem
from evojax_prune.report.pruned import Pruned
from evojax_prune.run.config import RunConfig
from evojax_prune.run.data import digest, run_digest
from evojax_prune.run.run import load_problem, prune_into
from evojax_prune.run.store import MARK, PartialFolder
from evojax_prune.version import __version__

SEARCH = "search.npz"


@dataclasses.dataclass(frozen=True)
class Variant:
    """Part of the data, such as all classes but one.

    Attributes:
        words: what it is; empty for all of the data. It names the run, so it must say everything.
        cut: takes the part.
    """

    words: str = ""
    cut: Callable[[FeatureSplits], FeatureSplits] = lambda splits: splits


WHOLE = Variant()


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where its files are.
        config: its configuration.
        variant: its part of the data.
        result: what its ``result.json`` holds.
    """

    folder: Path
    config: RunConfig
    variant: Variant
    result: Mapping[str, Any]

    @functools.cached_property
    def problem(self) -> Problem:
        """The data and the head, loaded anew."""
        return load(self.config, self.variant)

    @property
    def genome(self) -> np.ndarray:
        """The evolved head's genome ``bool [G]``."""
        with np.load(self.folder / "best_mask.npz") as file:
            return file["genome"]

    def searched(self) -> dict[str, np.ndarray]:
        """``genomes bool [E, G]``, ``fitness``, ``generation`` ``[E]``, in order of evaluation."""
        with np.load(self.folder / SEARCH) as file:
            found = dict(file)
        length = int(found.pop("length"))
        found["genomes"] = np.unpackbits(found.pop("packed"), axis=1, count=length).astype(bool)
        return found

    def once(self, name: str, settings: object, compute: Callable[[], Any]) -> Any:
        """What was computed from this run before, or is now, as JSON can hold it."""
        return once(self.folder, name, settings, compute)


def once(folder: Path, name: str, settings: object, compute: Callable[[], Any]) -> Any:
    """What settings gave before, or give now, kept in a JSON file of its own.

    Args:
        folder: of such files.
        name: what is computed.
        settings: plain data; with the package's version it decides the result and the file's name,
            so it has to tell of the content of the data, too.
        compute: gives something that JSON can hold.
    """
    file = folder / f"{name}-{digest([settings, __version__])}.json"
    if not file.exists():
        made = compute()
        folder.mkdir(parents=True, exist_ok=True)
        _write(file, {"settings": settings, "result": made})
    return json.loads(file.read_text(encoding="utf-8"))["result"]


def load(config: RunConfig, variant: Variant = WHOLE) -> Problem:
    """The problem of a run: the main command's, on a part of its data."""
    problem = load_problem(config)
    if not variant.words:
        return problem
    splits = [variant.cut(part) for part in problem.splits]
    old = problem.pruning.spec
    spec = head_spec(config.mode, old.features, len(splits[0].classes), old.hidden)
    return dataclasses.replace(
        problem,
        name=f"{problem.name} {variant.words}",
        splits=splits,
        pruning=Pruning(spec, MODES[config.mode], config.grain),
    )


def find_or_run(config: RunConfig, home: Path, variant: Variant = WHOLE) -> Run:
    """The finished run of a configuration; it is run first if it has not been.

    Args:
        config: what the main command would be asked to do.
        home: folder of all experiments.
        variant: the part of the data.
    """
    folder = home / "runs" / run_digest(config, more=variant.words)
    if not (folder / MARK).exists():
        _run(config, variant, folder)
    result = json.loads((folder / MARK).read_text(encoding="utf-8"))
    return Run(folder, config, variant, result)


def _run(config: RunConfig, variant: Variant, folder: Path) -> None:
    """What the main command does, on a part of the data, with the search kept whole."""
    console = Console(stderr=True)
    with show_notices(console):
        observer = Terminal(console)
        problem = load(config, variant)
        observer.note(f"seed {config.seed}, mode {config.mode}, {problem.name}")
        prune_into(
            PartialFolder(folder), config, observer, problem=problem, writers={SEARCH: _search}
        )


def _search(path: Path, pruned: Pruned) -> None:
    """Every genome that was tried."""
    trials, packed = pruned.found.trials, pruned.found.packed

    def save(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(
                file,
                allow_pickle=False,
                packed=packed,
                length=np.int64(trials.genome_length),
                fitness=trials.values[:, 0],
                generation=np.zeros(len(trials))
                if trials.generation is None
                else trials.generation,
            )

    save_file(path, save)


def _write(file: Path, content: object) -> None:
    part = file.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(part, file)
