"""Members that train in one program: same form, same padded size, same steps an epoch."""

from __future__ import annotations

import collections
from collections.abc import Sequence

from evojax_prune.core.compaction import Active
from evojax_prune.engine.buckets import bucket_widths
from evojax_prune.engine.form import Form
from evojax_prune.engine.lanes import Group
from evojax_prune.engine.plan import Choice
from evojax_prune.engine.problem import Problem


def groups_of(
    problems: Sequence[Problem],
    actives: Sequence[Active],
    choices: Sequence[Choice],
    rows: Sequence[int],
    batch_size: int,
    *,
    together: bool,
) -> list[tuple[Form, Group]]:
    """Groups of some members on all folds.

    Args:
        problems: the folds.
        actives: active parts of every member of the population.
        choices: the planner's choice for every member.
        rows: the members to group.
        batch_size: rows a step.
        together: as large groups as can be; else one member on one fold each.
    """
    head = problems[0].head
    pick = any(actives[row].widths[0] < head.features for row in rows)
    sized: dict[tuple[Form, tuple[int, ...]], list[int]] = collections.defaultdict(list)
    for row in rows:
        sized[choices[row].form, bucket_widths(actives[row], head, joint=together)].append(row)
    folds: dict[int, list[Problem]] = collections.defaultdict(list)
    for problem in problems:
        folds[-(-problem.rows // batch_size)].append(problem)
    groups = [
        (form, Group(tuple(same), tuple(members), tuple(actives[m] for m in members), widths, pick))
        for (form, widths), members in sized.items()
        for same in folds.values()
    ]
    if together:
        return groups
    return [
        (form, Group((problem,), (row,), (active,), group.widths, group.own_columns))
        for form, group in groups
        for problem in group.problems
        for row, active in zip(group.rows, group.actives, strict=True)
    ]
