"""``python -m experiments.pnorm``: run what is missing of a study, then report on all of it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from evojax_prune.core.errors import UserError
from evojax_prune.data import find_source
from evojax_prune.features import load_table
from experiments.pnorm import report
from experiments.pnorm.cell import run_cell
from experiments.pnorm.settings import Study, parse


def run(study: Study) -> None:
    """Run every data set, backbone and seed that is not done yet, and write the reports.

    Raises:
        UserError: data or settings that cannot be used; results in the folder of other settings.
    """
    folder = study.output / "cells"
    folder.mkdir(parents=True, exist_ok=True)
    cells = []
    for dataset, backbone in product(study.datasets, study.backbones):
        table = None
        for seed in study.seeds:
            path = folder / f"{_plain(dataset)}--{_plain(backbone)}--{seed}.json"
            digest = study.digest(dataset, backbone)
            cell = _done(path, digest)
            if cell is None:
                # Loaded late: a study that only reports needs no features.
                table = table or load_table(
                    dataset,
                    data_dir=study.data_dir if "data_dir" in find_source(dataset).reads else None,
                    backbone=backbone,
                    backbone_weights=study.backbone_weights.get(backbone),
                    image_size=study.image_size,
                    groups=study.split_of(dataset).groups,
                    progress=True,
                )
                began = time.monotonic()
                cell = run_cell(study, table, dataset, backbone, seed) | {"settings": digest}
                cell["seconds"] = time.monotonic() - began
                _write(path, cell)
                _say(path, cell)
            cells.append(cell)
    report.write(cells, study.output)


def _done(path: Path, digest: str) -> dict[str, Any] | None:
    if not path.exists():
        return None
    cell = json.loads(path.read_text(encoding="utf-8"))
    if cell["settings"] != digest:
        raise UserError(
            f"{path} holds results of other settings: give another --output, or delete it"
        )
    return cell


def _write(path: Path, cell: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(cell), encoding="utf-8")
    os.replace(part, path)


def _say(path: Path, cell: dict[str, Any]) -> None:
    print(
        f"{path.stem}: {cell['heads_trained']} heads in {cell['seconds']:.0f} s on "
        f"{cell['device']}",
        file=sys.stderr,
        flush=True,
    )


def _plain(name: str) -> str:
    stem = Path(name).stem if "/" in name or name.endswith(".npz") else name
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in stem)


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    try:
        run(parse(args))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
