"""What is compiled for members side by side: full float32, few programs, little padding."""

from __future__ import annotations

import collections
import functools
import logging
import re
from collections.abc import Callable

import jax
import numpy as np
import pytest
from engine_cases import make_head, make_masks, make_splits, way
from hypothesis import given
from hypothesis import strategies as st

from evojax_prune.core.compaction import active_parts
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import decode
from evojax_prune.engine import fit_population
from evojax_prune.engine.fold import make_fold
from evojax_prune.engine.paths import Population
from evojax_prune.engine.xla import groups, path, programs, side_by_side
from evojax_prune.engine.xla.dispatch import ProgramForm

SPLITS = make_splits()
PROTOCOL = Protocol(epochs=2, learning_rate=1e-2)


@pytest.fixture(autouse=True)
def single_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "BLOCKS", (1,))


def train(mode: str, words: str) -> None:
    head = make_head(mode, SPLITS)
    fit_population(make_masks(head, mode), SPLITS, PROTOCOL, head=head, **way(words))


def products(text: str) -> list[str]:
    return [line for line in text.splitlines() if "stablehlo.dot_general" in line]


@pytest.mark.parametrize(
    ("words", "least"),
    [
        ("xla dual side-by-side", 6),
        pytest.param("xla primal side-by-side", 6, marks=pytest.mark.slow),
        ("optax side-by-side", 4),
    ],
)
def test_products_are_full_float32(words: str, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def recorded(program: Callable) -> Callable:
        def run(*args: object) -> object:
            texts.append(program.lower(*args).as_text())
            return program(*args)

        return run

    for name in ("begin", "train", "dual_data", "finish"):
        made = getattr(programs, name)
        monkeypatch.setattr(programs, name, lambda *key, made=made: recorded(made(*key)))
    monkeypatch.setattr(programs, "initial", recorded(programs.initial))
    train("features", words)
    assert not any(re.search(r"\bf64\b|xf64>", text) for text in texts)
    lines = [line for text in texts for line in products(text)]
    assert len(lines) >= least
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in lines), lines


def test_a_product_at_default_precision_would_be_seen() -> None:
    x = np.ones((4, 4), np.float32)
    (line,) = products(jax.jit(lambda a: a @ a).lower(x).as_text())
    assert "HIGHEST" not in line


def test_a_search_compiles_few_programs_and_these(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: collections.Counter[str] = collections.Counter()

    class Names(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if found := re.match(r"Compiling jit\((\w+)\)", record.getMessage()):
                compiled[found[1]] += 1

    head = make_head("features", SPLITS, (20,))  # of a width that no other test has compiled
    rng = np.random.default_rng(0)
    generations = [rng.random((24, 40)) < rng.random((24, 1)) for _ in range(5)]

    def search() -> None:
        for genomes in generations:
            masks = decode(genomes, head, "features")
            words = way("xla primal side-by-side")
            fit_population(masks, SPLITS, PROTOCOL, head=head, evaluate=("selection",), **words)

    logger, handler = logging.getLogger("jax"), Names()
    logger.addHandler(handler)
    monkeypatch.setattr(logger, "propagate", False)
    with jax.log_compiles():
        search()
        # what trains is `run`; its states begin and its scores are taken by a `member` each
        assert compiled.keys() == {"initial", "member", "run"}
        assert compiled["run"] <= len(groups.FINE_LEVELS)
        assert compiled["member"] == 2 * compiled["run"]
        compiled.clear()
        search()
    logger.removeHandler(handler)
    assert not compiled


@given(st.integers(1, 20_000), st.integers(1, 16), st.integers(0, 5000))
def test_programs_have_few_sizes(members: int, devices: int, more: int) -> None:
    size = side_by_side.capacity(members, members + more, devices)
    assert size >= members
    assert size % devices == 0
    assert size < 1.5 * members + devices
    fits = side_by_side.largest_size(members, devices)
    assert fits <= members
    if members >= devices:
        assert fits == side_by_side.capacity(fits, 10**9, devices)
        assert side_by_side.capacity(fits + 1, 10**9, devices) > members


def test_the_whole_population_is_not_padded() -> None:
    assert side_by_side.capacity(1000, 1000, 1) == 1000
    sizes = {side_by_side.capacity(n, 10_000, 1) for n in range(1, 10_001)}
    assert len(sizes) < 30


def group_sizes(sizes: list[int]) -> dict[int, int]:
    """Members by padded width, of genomes with so many of 40 features."""
    head = make_head("features", SPLITS)
    genomes = np.arange(40)[None] < np.asarray(sizes)[:, None]
    masks = decode(genomes, head, "features")
    fold = make_fold(SPLITS, head)
    actives = [active_parts(masks, row) for row in range(len(masks))]
    form = ProgramForm("xla", path._program(fold, PROTOCOL, False, 1), True)
    population = Population([fold], actives, [form] * len(sizes), PROTOCOL, (), False, None, None)
    found = groups.groups_of(population, range(len(sizes)), joint=True)
    rows = functools.reduce(lambda a, b: a + b, (group.rows for group in found))
    assert sorted(rows) == list(range(len(sizes)))
    assert all(list(group.rows) == sorted(group.rows) for group in found)
    return {group.widths[0]: len(group.rows) for group in found}


def test_small_groups_join_the_next_larger() -> None:
    many = groups.COMPANY
    assert group_sizes([2] * many + [9] * many) == {3: many, 10: many}
    assert group_sizes([2, 9, 15, 39]) == {40: 4}
    assert group_sizes([2] * many + [9] * 3 + [39] * 2) == {3: many, 40: 5}
    assert group_sizes([2] * 5 + [9] * many + [39]) == {10: many + 5, 40: 1}
