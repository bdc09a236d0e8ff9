"""Reads back what ``experiments.baselines`` has written."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from evojax_prune.core.errors import UserError
from experiments.harness.command import HOME


def table_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Flags of a command that reads such tables."""
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}", description=description, allow_abbrev=False
    )
    parser.add_argument("--home", type=Path, default=HOME, help="runs and results (%(default)s)")
    parser.add_argument("--tables", nargs="+", metavar="NAME", help="only these (all)")
    return parser


def baseline_tables(
    home: Path, names: Sequence[str] | None = None
) -> dict[str, list[dict[str, str]]]:
    """Rows of the tables of baselines, by the tables' names.

    Args:
        home: folder of all results.
        names: the tables wanted; all if None.

    Raises:
        UserError: there are no tables, or not those named.
    """
    folder = home / "baselines"
    found = {file.stem: file for file in sorted(folder.glob("*.csv"))}
    if not found:
        raise UserError(f"no tables in {folder}: run python -m experiments.baselines first")
    for name in names or ():
        if name not in found:
            raise UserError(f"no table {name} in {folder}, expected one of {', '.join(found)}")
    return {name: _rows(found[name]) for name in names or found}


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))
