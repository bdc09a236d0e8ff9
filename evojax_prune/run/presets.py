"""Named sets of settings, and how settings are laid over one another."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from evojax_prune.core.protocol import PAPER
from evojax_prune.search.strategies import options as genetics

Preset = Literal["default", "holdout", "paper"]

_RAW: dict[str, Any] = {"scale": "none", "final_protocol": dataclasses.asdict(PAPER)}
_ACCURACY: dict[str, Any] = {"objectives": ["accuracy"], "init": "random"}

_HOLDOUT = _RAW | {
    "selection": "holdout",
    "search_protocol": {"epochs": 5, "learning_rate": 1e-2},
}
_HOLDOUT_SEARCH = _ACCURACY | {
    "strategy": "generational",
    "population": 30,
    "evaluations": 200,
    "finalists": 5,
}
_PAPER = _RAW | {"selection": "test", "search_protocol": dataclasses.asdict(PAPER)}
_PAPER_SEARCH = _ACCURACY | {"strategy": "steady-state", "finalists": 1, **genetics.PAPER}


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Nested settings laid over one another; the later layer wins."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old: Any = result.get(key)
            nested = isinstance(old, dict) and isinstance(value, dict)
            result[key] = merged(old, value) if nested else value
    return result


def preset(given: dict[str, Any]) -> dict[str, Any]:
    """The settings that a named protocol stands for.

    Args:
        given: settings; ``protocol``, ``mode`` and ``method`` of them decide.
    """
    name, searches = given.get("protocol", "default"), given.get("method", "search") == "search"
    if name == "holdout":
        return _HOLDOUT | (_HOLDOUT_SEARCH if searches else {})
    if name != "paper":
        return {}
    evaluations = 300 if given.get("mode") == "both" else 200
    return _PAPER | (_PAPER_SEARCH | {"evaluations": evaluations} if searches else {})
