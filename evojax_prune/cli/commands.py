"""Commands besides the main one: ``python -m evojax_prune predict``, ``export`` and ``sweep``."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TextIO, TypeVar

import tyro

from evojax_prune.cli.flags import parsed_words
from evojax_prune.cli.plugins import load_plugins
from evojax_prune.cli.streams import as_written_to_a_file
from evojax_prune.cli.sweep import sweep
from evojax_prune.core.errors import UserError, one_line, shortened
from evojax_prune.core.files import checked_path
from evojax_prune.core.options import suggestion

_Weights = Annotated[
    Path | None,
    tyro.conf.arg(metavar="FILE", help="the backbone's weights, if the run had weights of its own"),
]
_Plugin = Annotated[
    tuple[str, ...],
    tyro.conf.arg(metavar="FILE.py ...", help="Python files to import first, as in the run"),
]


@dataclasses.dataclass
class Predict:
    """Predict the classes of images and features with the head of a finished run, as a table."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN", help="a run's folder")]
    inputs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(
            metavar="IMAGE|FOLDER|FILE.npz",
            help="images, folders of images, or features (x or x_test) of the run's backbone",
        ),
    ]
    output: Annotated[
        Path | None,
        tyro.conf.arg(
            metavar="FILE.csv",
            help="file for the table, which may replace an older table; standard output if not "
            "given",
        ),
    ] = None
    backbone_weights: _Weights = None
    plugin: _Plugin = ()


@dataclasses.dataclass
class Export:
    """Write a finished run's head to one file that needs nothing of this package."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN", help="a run's folder")]
    format: Annotated[
        str,
        tyro.conf.arg(
            metavar="{onnx,stablehlo,safetensors}",
            help="onnx and stablehlo are programs, safetensors is the weights alone",
        ),
    ]
    output: Annotated[
        Path | None,
        tyro.conf.arg(
            metavar="FILE",
            help="the file, which may replace an older export; in the run's folder by default",
        ),
    ] = None
    with_backbone: Annotated[
        bool, tyro.conf.arg(help="take images instead of features; the backbone is shortened")
    ] = False
    backbone_weights: _Weights = None
    plugin: _Plugin = ()


T = TypeVar("T", Predict, Export)


def predict(words: Sequence[str]) -> int:
    """Run ``predict``; returns 1 if some images could not be read, else 0."""
    from evojax_prune.core.files import save_file
    from evojax_prune.deploy.classifier import load
    from evojax_prune.deploy.files import check_output, check_replaced, own_files
    from evojax_prune.deploy.predict import has_features, is_table, listed, prediction_table

    asked = _checked(parsed_words(Predict, words, "predict"))
    files = listed(asked.inputs)
    if asked.backbone_weights is not None and all(map(has_features, files)):
        raise UserError("--backbone-weights does nothing for features files: drop it")
    if asked.output is not None:
        check_output(asked.output, [*files, *own_files(asked.run)])
        check_replaced(asked.output, is_table)
    counts: Counter[str] = Counter()

    def write(stream: TextIO) -> None:
        csv.writer(stream, lineterminator="\n").writerows(table)

    def save(part: Path) -> None:
        with part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            write(stream)

    out = as_written_to_a_file(sys.stdout)
    with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is not a row
        load_plugins(asked.plugin, {})
        classifier = load(asked.run, backbone_weights=asked.backbone_weights)
        table = prediction_table(classifier, files, counts)
        if asked.output is None:
            write(out)
        else:
            save_file(asked.output, save)
    print(_summary(counts), file=sys.stderr)
    return 1 if counts[""] else 0


def export(words: Sequence[str]) -> int:
    """Run ``export``; returns 0."""
    from evojax_prune.deploy.export import card_file, export
    from evojax_prune.deploy.model_card import bought, cost_table

    asked = _checked(parsed_words(Export, words, "export"))
    load_plugins(asked.plugin, {})
    file, program, costs = export(
        asked.run,
        asked.format,
        asked.output,
        with_backbone=asked.with_backbone,
        backbone_weights=asked.backbone_weights,
    )
    takes = f"{program.dtype} [n, {', '.join(map(str, program.shape))}]"
    size = file.stat().st_size / 1e6
    print(f"{cost_table(costs)}\n\n{bought(costs)}\n")
    if program.note:
        print(f"note: {program.note}", file=sys.stderr)
    print(f"{file}: {size:.2f} MB, takes {program.input_name} {takes}; {card_file(file).name}")
    return 0


def _checked(asked: T) -> T:
    """The arguments of a command, once every path in them can be one."""
    for field in dataclasses.fields(asked):
        value, called = getattr(asked, field.name), field.name.replace("_", "-")
        if isinstance(value, Path):
            setattr(asked, field.name, checked_path(value, called))
        elif isinstance(value, tuple) and field.name != "plugin":  # load_plugins checks its own
            setattr(asked, field.name, tuple(checked_path(path, called) for path in value))
    return asked


def _summary(counts: Counter[str]) -> str:
    """One line: how many of which class."""
    named = [f"{n} {one_line(name)}" for name, n in counts.most_common() if name]
    shown = ", ".join(named[:5]) + (f", {len(named) - 5} other classes" if len(named) > 5 else "")
    said = f"{counts.total() - counts['']} predicted" + (f": {shown}" if shown else "")
    return said + (f"; {counts['']} could not be read" if counts[""] else "")


COMMANDS = {"predict": predict, "export": export, "sweep": sweep}
"""By the first word of the command line; each takes the words after it, returns the status."""


def run(words: Sequence[str]) -> int:
    """Run the command that the first word names, with notices on standard error.

    Raises:
        UserError: an unknown command, or its words or data are at fault.
    """
    from rich.console import Console

    from evojax_prune.cli.progress import show_notices

    if words[0] not in COMMANDS:
        known = suggestion(words[0][:80], COMMANDS)
        raise UserError(
            f"unknown command {shortened(words[0])}{known}; a data set is named by --dataset"
        )
    with show_notices(Console(stderr=True)):
        return COMMANDS[words[0]](words[1:])
