"""What a search remembers: which genomes it has evaluated, and what they are worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.core.objective import LARGEST, Objective, beyond
from evojax_prune.search.archive import Archive, digests, pack
from evojax_prune.search.estimate import Estimates, Estimator
from evojax_prune.search.journal import REMEDY, Journal
from evojax_prune.search.result import Evaluation

Evaluate = Callable[..., "np.ndarray | Evaluation"]


@dataclasses.dataclass(frozen=True)
class Told:
    """What is known of one generation's genomes.

    Attributes:
        entries: their places in the archive ``int64``; where the budget cut the generation short,
            of those that are in it.
        complete: none is missing.
        new: how many were evaluated for the first time.
        cached: how many were known, or came twice.
        replayed: the evaluations came from the journal.
    """

    entries: np.ndarray
    complete: bool
    new: int
    cached: int
    replayed: bool


@dataclasses.dataclass(eq=False)
class Memory:
    """Evaluates what it does not know, as far as the budget goes.

    Attributes:
        archive: every genome that was evaluated.
        evaluate: gives the values of genomes.
        objectives: what the values are.
        budget: most evaluations.
        journal: keeps every evaluation on disk, or None.
    """

    archive: Archive
    evaluate: Evaluate
    objectives: Sequence[Objective]
    budget: int
    journal: Journal | None = None

    @property
    def spent(self) -> int:
        """Evaluations so far."""
        return len(self.archive)

    @property
    def left(self) -> int:
        """Evaluations that the budget still has."""
        return self.budget - self.spent

    def look_up(self, genomes: np.ndarray, generation: int, population: np.ndarray) -> Told:
        """Find a generation's genomes ``bool [n, G]``, all new ones evaluated in one call.

        Args:
            genomes: that the strategy asks for.
            generation: its number.
            population: entries of the members that live, ``int64 [P]``.
        """
        packed = pack(genomes)
        names = digests(packed)
        known = self.archive.find(names)
        first = _first_places(names)
        new = sorted(i for i in first.values() if known[i] < 0)
        rows = new[: self.left]
        replayed = False
        if rows:
            fresh = [names[i] for i in rows]
            evaluation, replayed = self._evaluated(fresh, genomes[rows])
            self.archive.add(fresh, packed[rows], generation, evaluation)
            known = self.archive.find(names)
        return Told(
            entries=known[known >= 0],
            complete=len(rows) == len(new),
            new=len(rows),
            cached=len(names) - len(new),
            replayed=replayed,
        )

    def places(self, population: np.ndarray | None) -> np.ndarray:
        """Entries ``int64 [P]`` of a population; none of None."""
        if population is None:
            return np.empty(0, np.int64)
        return self.archive.find(digests(pack(population)))

    def contenders(self, leaders: np.ndarray, seen: int, population: np.ndarray) -> np.ndarray:
        """Entries ``int64`` among which the leaders are, given those before and what is new."""
        return np.concatenate([leaders, np.arange(seen, len(self.archive))])

    def columns(self, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The result's further columns ``[E]``, given the archive's."""
        return columns

    def _evaluated(
        self, names: list[str], genomes: np.ndarray, occasion: int | None = None
    ) -> tuple[Evaluation, bool]:
        """The evaluation of genomes, and whether all of it came from the journal."""
        there = np.zeros(len(names), bool)
        recalled = Evaluation(np.empty((0, len(self.objectives))))
        if self.journal is not None:
            there, recalled = self.journal.recall(names, occasion or 0)
            try:
                recalled = _checked(recalled, int(there.sum()), self.objectives)
            except ValueError as error:
                raise UserError(
                    f"the journal {self.journal.path} is damaged or of another run, where "
                    f"{error}: {REMEDY}"
                ) from None
            if there.all():
                return recalled, True
        missing = np.flatnonzero(~there)
        asked = genomes[missing]
        returned = self.evaluate(asked) if occasion is None else self.evaluate(asked, occasion)
        evaluation = _checked(returned, len(missing), self.objectives)
        if self.journal is not None:
            self.journal.record([names[i] for i in missing], occasion or 0, evaluation)
        return _merged(there, recalled, evaluation), False


@dataclasses.dataclass(eq=False)
class FreshMemory(Memory):
    """Looks at genomes anew in each generation, the members that live included.

    Each generation is an occasion of its own, such as a fresh split of the data. Values in the
    archive are estimates out of all looks (:mod:`evojax_prune.search.estimate`).
    """

    def __post_init__(self) -> None:
        self._estimator = Estimator(self.objectives)
        self._estimates: Estimates | None = None
        self._again: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []

    @property
    def spent(self) -> int:
        """Looks so far."""
        return len(self._estimator)

    def look_up(self, genomes: np.ndarray, generation: int, population: np.ndarray) -> Told:
        """See :class:`Memory`; members that live come first, should the budget not last."""
        packed = pack(genomes)
        names = digests(packed)
        members = np.unique(population)
        again = self.archive.names(members)
        first = _first_places(names)
        asked = [i for name, i in sorted(first.items(), key=lambda item: item[1])]
        living = set(again)
        rows = [i for i in asked if names[i] not in living]
        wanted = len(again) + len(rows)
        again, rows = again[: self.left], rows[: max(0, self.left - len(again))]
        looked = again + [names[i] for i in rows]
        bits = np.concatenate([self.archive.genomes(members[: len(again)]), genomes[rows]])
        evaluation, replayed = self._evaluated(looked, bits, generation)
        new = self._keep(looked, pack(bits), generation, evaluation)
        known = self.archive.find(names)
        return Told(
            entries=known[known >= 0],
            complete=len(looked) == wanted,
            new=new,
            cached=len(names) - len(first),
            replayed=replayed,
        )

    def contenders(self, leaders: np.ndarray, seen: int, population: np.ndarray) -> np.ndarray:
        """The members that live: what was left behind was looked at less often."""
        return np.unique(population)

    def columns(self, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Numbers are summed over all looks; how many there were, and the estimates' errors."""
        total = {name: values.copy() for name, values in columns.items()}
        for places, more in self._again:
            for name, values in more.items():
                if np.issubdtype(total[name].dtype, np.number):
                    np.add.at(total[name], places, values)
        if self._estimates is not None:
            total["looks"] = self._estimates.looks
            for objective, errors in zip(self.objectives, self._estimates.errors.T, strict=True):
                if objective.noisy:
                    total[f"{objective.name} error"] = errors
        return total

    def _update(self, places: np.ndarray) -> None:
        """New estimates for the genomes that compete; the others keep their last ones."""
        found = self._estimator.estimates(self.archive.active, places)
        old = self._estimates
        values, errors, looks = found.values, found.errors, found.looks
        if old is not None:
            rest = np.setdiff1d(np.arange(len(old.looks)), places)
            pairs = ((values, old.values), (errors, old.errors), (looks, old.looks))
            for new, before in pairs:
                new[rest] = before[rest]
        self._estimates = Estimates(values, errors, looks)
        self.archive.set_values(values)

    def _keep(
        self, names: list[str], packed: np.ndarray, generation: int, evaluation: Evaluation
    ) -> int:
        """Add looks; returns how many of the genomes are new."""
        fresh = np.flatnonzero(self.archive.find(names) < 0)
        old = np.setdiff1d(np.arange(len(names)), fresh)
        self.archive.add(
            [names[i] for i in fresh], packed[fresh], generation, _rows_of(evaluation, fresh)
        )
        places = self.archive.find(names)
        if len(old):
            self._again.append((places[old], dict(_rows_of(evaluation, old).columns)))
        self._estimator.observe(places, generation, evaluation.values)
        self._update(places)
        return len(fresh)


def _first_places(names: list[str]) -> dict[str, int]:
    """The first place of each name."""
    return {name: i for i, name in reversed(list(enumerate(names)))}


def _rows_of(evaluation: Evaluation, rows: np.ndarray) -> Evaluation:
    columns = {name: np.asarray(values)[rows] for name, values in evaluation.columns.items()}
    return Evaluation(evaluation.values[rows], columns)


def _merged(there: np.ndarray, recalled: Evaluation, evaluation: Evaluation) -> Evaluation:
    """One evaluation of two: of the rows that are there, and of the others."""
    if not there.any():
        return evaluation
    if recalled.columns.keys() != evaluation.columns.keys():
        raise ValueError(
            f"evaluate gave the columns {sorted(evaluation.columns)}, "
            f"before it gave {sorted(recalled.columns)}"
        )
    places = np.argsort(np.concatenate([np.flatnonzero(there), np.flatnonzero(~there)]))

    def both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.concatenate([one, other])[places]

    columns = {c: both(v, evaluation.columns[c]) for c, v in recalled.columns.items()}
    return Evaluation(both(recalled.values, evaluation.values), columns)


def _checked(
    returned: np.ndarray | Evaluation, count: int, objectives: Sequence[Objective]
) -> Evaluation:
    """What ``evaluate`` gave, if it is M sound values for each of ``count`` genomes."""
    evaluation = returned if isinstance(returned, Evaluation) else Evaluation(returned)
    values = np.array(evaluation.values, np.float64)
    shape = count, len(objectives)
    if values.ndim == 1 and len(objectives) == 1:
        values = values[:, None]
    if values.shape != shape:
        raise ValueError(f"evaluate gave values of shape {values.shape}, expected {shape}")
    for column, objective in zip(values.T, objectives, strict=True):
        best = np.inf if objective.maximised else -np.inf
        if (column == best).any():
            raise ValueError(
                f"evaluate gave a {objective.name} of {best}, which no genome could ever beat"
            )
        if beyond(column).any():
            raise ValueError(f"evaluate gave a {objective.name} beyond {LARGEST:g} either way")
        if objective.scale == "log" and (column <= 0).any():
            raise ValueError(f"evaluate gave a {objective.name} of 0 or less, on a log scale")
    # Of the types that a journal gives back: whole numbers int64, others float64.
    columns = {name: np.array(np.asarray(c).tolist()) for name, c in evaluation.columns.items()}
    for name, given in columns.items():
        if given.shape != (count,):
            raise ValueError(f"evaluate gave {name} of shape {given.shape}, expected ({count},)")
    return Evaluation(values, columns)
