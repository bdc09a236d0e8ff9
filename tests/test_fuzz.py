"""Untrusted bytes of every format: a result or one sentence, in bounded time and memory.

A few hundred cases of each by default; ``pytest -m soak tests/test_fuzz.py`` gives 10,000 of each.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_cache
from deadlines import deadline
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from untrusted_formats import FORMATS, PICTURES, configure, settings_like

from evojax_prune.core.errors import UserError, one_line
from evojax_prune.data import load
from evojax_prune.data.sources.source import LoadOptions
from evojax_prune.features import cache

SECONDS = 10
"""After which a case hangs."""


MEMORY = 400 * 2**20
"""Bytes by which the memory may grow over all cases of a format."""


CASES = pytest.mark.parametrize(
    "soak", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["quick", "soak"]
)


def attack(
    cases: st.SearchStrategy[Any], read: Callable[[Any], object], count: int, soak: bool
) -> None:
    """Read cases; whatever is raised but a UserError of one good sentence fails."""
    # The same cases in every run but a soak, so that nobody's change is blamed for an old fault.
    quick = settings(max_examples=count, derandomize=True)
    profile = settings.get_profile("soak") if soak else quick

    @settings(profile, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases)
    def each(case: Any) -> None:
        nonlocal grown
        said = "a result, so no sentence"
        begun, peak = time.monotonic(), peak_memory()
        try:
            with deadline(SECONDS):
                read(case)
        except UserError as error:
            said = one_line(str(error))
        assert 10 < len(said) < 3000
        assert time.monotonic() - begun < SECONDS
        grown += peak_memory() - peak

    grown = 0  # while cases are read: Hypothesis, too, keeps something of each of 10,000
    each()
    assert grown < MEMORY


def peak_memory() -> int:
    """Most bytes that this process has had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@CASES
@pytest.mark.parametrize("name", FORMATS)
def test_any_bytes_give_a_result_or_a_sentence(name: str, soak: bool, tmp_path: Path) -> None:
    made, place = tmp_path / "made", tmp_path / "place"
    made.mkdir()
    place.mkdir()
    form = FORMATS[name]

    def read(content: bytes) -> None:
        (place / form.name).write_bytes(content)
        form.read(place / form.name)

    attack(form.cases(made), read, form.count, soak)
    left = {entry.name for entry in place.iterdir()}
    assert left <= {form.name, cache.path_of(place, test_cache.KEY).name}


@CASES
def test_any_settings_give_a_configuration_or_a_sentence(soak: bool) -> None:
    attack(settings_like(), configure, 100, soak)


KINDS = ["text", "good", "good", "good", "empty", "pipe", "link", "circle", "folder"]
PARTS = st.sampled_from(["train", "test", "a", "b", "c", ".x", "é", " ", "\udcff", "a b", "A"])
TREE = st.dictionaries(
    st.lists(PARTS, min_size=1, max_size=3).map("/".join),
    st.tuples(st.sampled_from(KINDS), st.integers(0, 3)),
    min_size=1,
    max_size=12,
)


def planted(root: Path, tree: dict[str, tuple[str, int]]) -> None:
    for name, (kind, number) in tree.items():
        folder = root / name
        with contextlib.suppress(OSError):  # what is a file already cannot hold one
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{number}.png"
            match kind:
                case "text" | "empty":
                    file.write_bytes(b"text"[: 4 * (kind == "text")])
                case "good":
                    file.write_bytes(PICTURES[number])
                case "pipe":
                    os.mkfifo(file)
                case "link":
                    file.symlink_to("nowhere")
                case "circle":
                    file.symlink_to("..")
                case "folder":
                    file.mkdir()


@CASES
@pytest.mark.parametrize("skip", [False, True])
def test_any_folder_gives_images_or_a_sentence(skip: bool, soak: bool, tmp_path: Path) -> None:
    count = iter(range(10**9))

    def read(tree: dict[str, tuple[str, int]]) -> None:
        root = tmp_path / f"{next(count)}"
        root.mkdir()
        planted(root, tree)
        images = load(str(root), LoadOptions(skip_unreadable=skip))
        for split in images.splits.values():
            assert len(list(split.images(lambda image: image))) == len(split)

    attack(TREE, read, 60, soak)
