"""From a run's folder to its heads and their card, whatever the folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evojax_prune.core.compact_head import CompactHead, read_heads
from evojax_prune.core.errors import UserError
from evojax_prune.core.head_card import OLD_FORMAT, HeadCard

HEAD = "head.safetensors"
RESULT = "result.json"

_LARGEST_RESULT = 2**26
"""Bytes of the largest ``result.json`` that is read."""


def open_run(run: Path) -> tuple[tuple[CompactHead, ...], HeadCard]:
    """The heads of a finished run, one per fold, and what they say of themselves.

    Args:
        run: the run's folder, or a head's file, which needs no folder.

    Raises:
        UserError: it is missing, not a finished run, or damaged.
    """
    file = run / HEAD if run.is_dir() else run
    if not file.is_file():
        raise UserError(_missing(run))
    heads, card = read_heads(file)
    if card.format == OLD_FORMAT and run.is_dir():
        card = _completed(card, run / RESULT)
    return heads, card


def _missing(run: Path) -> str:
    if not run.exists():
        hint = ""
        if run.with_name(f"{run.name}.partial").is_dir():
            hint = " (it has not finished: the same command with the same --output continues it)"
        return f"there is no run in {run}{hint}: give the folder that a run wrote"
    if not run.is_dir():
        return f"{run} is not a regular file: give the folder that a run wrote"
    holds = "is empty" if not any(run.iterdir()) else f"has no {HEAD}"
    return f"{run} {holds}, so it is not a finished run: give the folder that a run wrote"


def _completed(card: HeadCard, result: Path) -> HeadCard:
    """An old card with what ``result.json`` knows besides; without it, the card as it is."""
    if not result.is_file():
        return card
    try:
        if result.stat().st_size > _LARGEST_RESULT:
            raise ValueError("it is too large")
        told = json.loads(result.read_bytes())
        return HeadCard.model_validate(card.model_dump() | _from_result(card, told))
    except OSError as error:
        raise UserError(f"cannot read {result}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{result} is damaged ({reason}): restore it, or give {HEAD} by itself"
        ) from None


def _from_result(card: HeadCard, told: dict[str, Any]) -> dict[str, Any]:
    config, data = told["config"], told["dataset"]
    metrics = ("test_accuracy", "test_interval", "selection_accuracy", "parameters")
    backbone = None
    if card.backbone is not None:
        size = {"image_size": config["image_size"]} if config["image_size"] else {}
        backbone = card.backbone.model_dump() | size
    return {
        "backbone": backbone,
        "features": data["features"],
        "hidden": config["hidden"],
        "groups": config["groups"],
        "data": {name: data[name] for name in ("name", "version", "train", "selection", "test")},
        "metrics": {
            name: {metric: told[row][metric] for metric in metrics}
            for name, row in (("pruned", "best"), ("dense", "dense"), ("random", "random"))
        },
        "selected_on_test": told["selected_on_test"],
        "sentence": told["comparison"]["sentence"],
    }
