"""Who is better than whom: against brute force, ties and failures included."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evojax_prune.core.errors import UserError
from evojax_prune.core.objective import Objective
from evojax_prune.methods.finalists import finalists
from evojax_prune.methods.options import SearchOptions
from evojax_prune.methods.problem import Problem
from evojax_prune.search import Best, Front, SearchResult, selection_of
from evojax_prune.search.selection import crowding, hypervolume, nondominated

SCORE = Objective("score", "score")
LOSS = Objective("loss", "loss", maximised=False)
SIZE = Objective("size", "size", maximised=False, scale="log", noisy=False)
levels = st.sampled_from([1.0, 2.0, 3.0, 4.0])
quick = settings(max_examples=60, deadline=None)


def rows(width: int, values: st.SearchStrategy[float] = levels) -> st.SearchStrategy[np.ndarray]:
    row = st.lists(values, min_size=width, max_size=width)
    return st.lists(row, min_size=1, max_size=12).map(lambda given: np.array(given, float))


def dominates(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one <= other).all() and (one < other).any())


@quick
@given(st.integers(1, 4).flatmap(rows))
def test_nondominated_is_what_no_other_row_dominates(costs: np.ndarray) -> None:
    expected = [not any(dominates(other, row) for other in costs) for row in costs]
    np.testing.assert_array_equal(nondominated(costs), expected)


def test_no_rows_have_no_front() -> None:
    assert nondominated(np.empty((0, 2))).shape == (0,)
    assert hypervolume(np.empty((0, 2)), np.ones(2)) == 0


@quick
@given(st.integers(1, 3).flatmap(rows))
def test_hypervolume_counts_the_cells_below_it(costs: np.ndarray) -> None:
    reference = np.full(costs.shape[1], 4.0)
    cells = itertools.product([1.5, 2.5, 3.5], repeat=costs.shape[1])
    expected = sum((costs <= cell).all(1).any() for cell in cells)
    assert hypervolume(costs, reference) == expected


def test_crowding_is_debs() -> None:
    costs = np.array([[0.0, 9.0], [1.0, 5.0], [3.0, 4.0], [6.0, 1.0]])
    expected = [np.inf, 3 / 6 + 5 / 8, 5 / 6 + 4 / 8, np.inf]
    np.testing.assert_allclose(crowding(costs), expected)
    np.testing.assert_array_equal(crowding(np.ones((3, 2))), 0)  # of equal rows none is lonely
    np.testing.assert_array_equal(crowding(np.array([[1.0, 2.0]])), [0])


@quick
@given(rows(1, st.sampled_from([0.5, 0.25, -1.0, np.nan])), st.integers(1, 12), st.booleans())
def test_of_one_objective_value_then_size_then_age_decide(
    values: np.ndarray, count: int, maximised: bool
) -> None:
    objective = SCORE if maximised else LOSS
    active = np.arange(len(values)) % 3
    sign = -1 if maximised else 1
    costs = [np.inf if np.isnan(v) else sign * v for v in values[:, 0]]
    expected = sorted(range(len(values)), key=lambda i: (costs[i], active[i], i))
    best = selection_of([objective])
    assert isinstance(best, Best)
    assert best.order(values, active).tolist() == expected
    sound = [i for i in expected if not np.isnan(values[i, 0])]
    assert best.finalists(values, active, count).tolist() == sound[:count]
    assert best.leaders(values, active).tolist() == sound[:1]
    ends = range(1, len(values) + 1)
    so_far = [values[best.leaders(values[:end], active[:end]), 0] for end in ends]
    expected_curve = [v[0] if len(v) else np.nan for v in so_far]
    np.testing.assert_array_equal(best.curve(values, active, ends), expected_curve)


@quick
@given(rows(2, st.sampled_from([1.0, 2.0, 4.0, np.nan])))
def test_of_several_the_front_leads_and_failures_never_do(values: np.ndarray) -> None:
    front = selection_of([SCORE, SIZE])
    assert isinstance(front, Front)
    active = np.arange(len(values)) % 2
    failed = np.isnan(values).any(1)
    costs = np.where(failed[:, None], np.inf, values * [-1, 1])
    leaders = front.leaders(values, active)
    expected = {i for i, c in enumerate(costs) if not any(dominates(o, c) for o in costs)}
    assert set(leaders) == {i for i in expected if not failed[i]}
    assert (np.diff(values[leaders, 0]) <= 0).all()  # from the highest score on
    order = front.order(values, active)
    assert sorted(order) == list(range(len(values)))
    assert set(order[: len(leaders)]) == set(leaders)
    assert failed[order].tolist() == sorted(failed)  # failures last
    for place, i in enumerate(order):  # nobody comes before what dominates it
        assert not any(dominates(costs[j], costs[i]) for j in order[place + 1 :])
    best = front.finalists(values, active, 3)
    assert best.tolist() == order[~failed[order]][:3].tolist()


@pytest.mark.parametrize("resampled", [False, True])
@pytest.mark.parametrize("consensus", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 4, None])
def test_finalists_are_no_larger_than_was_asked_for(
    size: int | None, consensus: bool, resampled: bool
) -> None:
    """The more bits a genome has, the better it is here; each size is there twice."""
    genomes = np.array([np.arange(6) < n + 1 for n in range(6)] * 2)
    genomes[6:] = genomes[6:, ::-1]
    active = genomes.sum(1)
    result = SearchResult(
        objectives=(SCORE,),
        genome_length=6,
        packed=np.packbits(genomes, axis=1),
        hashes=tuple(map(str, range(12))),
        active=active,
        values=active[:, None] + 0.0,
        generation=np.zeros(12, int),
        columns={},
        population=np.arange(12),
        cached=0,
        generations=1,
        stopped="",
        exhausted=True,
        evaluations=12,
    )
    found = finalists(
        cast(Problem, SimpleNamespace(resampled=resampled)),
        result,
        SearchOptions(objectives=("accuracy",), size=size, finalists=2, consensus=consensus),
    )
    largest = size or 6
    assert set(found.sum(1)) == {largest}
    own, taken = {*map(tuple, genomes[active == largest])}, {*map(tuple, found)}
    assert own <= taken
    assert len(taken - own) <= consensus


def test_no_head_as_small_as_was_asked_for_is_a_sentence() -> None:
    with pytest.raises(UserError, match="found no head of at most 3 active bits: raise --size"):
        finalists(
            cast(Problem, SimpleNamespace(resampled=False)),
            cast(SearchResult, SimpleNamespace(values=np.ones((2, 1)), active=np.array([4, 5]))),
            SearchOptions(size=3),
        )


def test_the_extremes_of_the_front_come_first() -> None:
    values = np.array([[0.5, 10], [0.9, 100], [0.1, 1], [0.52, 11], [0.4, 50]])
    order = Front([SCORE, SIZE]).order(values, np.ones(5, int))
    assert set(order[:2]) == {1, 2}
    assert order[-1] == 4  # dominated


def test_the_fronts_curve_never_falls_and_sizes_count_by_their_ratio() -> None:
    generator = np.random.default_rng(0)
    values = np.stack([generator.random(50), generator.integers(1, 100, 50)], 1)
    values[:3] = np.nan
    curve = Front([SCORE, SIZE]).curve(values, np.ones(50, int), [2, 10, 25, 50])
    assert curve[0] == 0
    assert (np.diff(curve) >= 0).all()
    doubled = Front([SCORE, SIZE]).curve(values * [1, 2], np.ones(50, int), [50])
    assert doubled[0] == pytest.approx(curve[-1])
