"""Which path trains a population, and in which form each member.

``auto`` takes the first path of ``PATHS`` that trains the population exactly on JAX's default
backend: on a CPU the native kernel, one member per core; without it, or on an accelerator, XLA;
and optax for what only automatic differentiation can do. Of the path's forms the cheapest is
chosen, member by member (:mod:`evojax_prune.engine.cost`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evojax_prune.core.compaction import Active
from evojax_prune.core.errors import UserError
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine.fold import Fold
from evojax_prune.engine.native.path import NativePath
from evojax_prune.engine.optax.path import OptaxPath
from evojax_prune.engine.paths import EnginePath
from evojax_prune.engine.xla.path import XlaPath

PATHS: dict[str, EnginePath] = {path.name: path for path in (NativePath(), XlaPath(), OptaxPath())}
"""Every path by its name, in the order in which ``auto`` prefers them."""


def plan(
    fold: Fold,
    actives: Sequence[Active],
    protocol: Protocol,
    engine: str = "auto",
    form: str | None = None,
) -> tuple[EnginePath, list[Any]]:
    """The path of a population and the form of every member.

    Args:
        fold: a fold; those of one population differ by a row at most.
        actives: the members' active parts.
        protocol: how they are trained.
        engine: ``auto`` or a path's name.
        form: words that the forms must answer to; None leaves the choice to the cost.

    Raises:
        UserError: an unknown engine, or one that cannot train these members exactly.
    """
    path = _path(actives, protocol, engine)
    wanted = frozenset((form or "").split())
    if not wanted <= path.words:
        raise UserError(
            f"unknown form {form!r} of engine {path.name!r}; expected some of the words"
            f" {', '.join(sorted(path.words))}"
        )
    forms: dict[Any, Any] = {}  # by all that they depend on: members of one size are many
    for active in actives:
        if (size := _size(active)) not in forms:
            forms[size] = _cheapest(path, fold, active, protocol, wanted)
    return path, [forms[_size(active)] for active in actives]


def _size(active: Active) -> tuple[Any, ...]:
    return active.widths, tuple(mask is None for mask in active.connections)


def _path(actives: Sequence[Active], protocol: Protocol, engine: str) -> EnginePath:
    if engine == "auto":
        reasons = []
        for path in PATHS.values():
            if path.at_home():
                reasons.append(path.supports(actives, protocol))
                if reasons[-1] is None:
                    return path
        raise UserError(f"no engine can train this: {reasons[-1]}")
    if engine not in PATHS:
        names = ", ".join(("auto", *PATHS))
        raise UserError(f"unknown engine {engine!r}; expected one of {names}")
    reason = PATHS[engine].supports(actives, protocol)
    if reason is not None:
        raise UserError(f"engine {engine!r} cannot be used: {reason}; choose engine 'auto'")
    return PATHS[engine]


def _cheapest(
    path: EnginePath, fold: Fold, active: Active, protocol: Protocol, wanted: frozenset[str]
) -> Any:
    forms = path.forms(fold, active, protocol, wanted)
    if len(forms) == 1:
        return forms[0]
    return min(forms, key=lambda form: path.cost(fold, active, protocol, form).seconds)
