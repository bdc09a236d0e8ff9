"""Runs of which nothing was trained, and pages read as a browser reads them."""

from __future__ import annotations

import html.parser
import re
from collections.abc import Sequence

import numpy as np

from evojax_prune.baselines import BaselineRow
from evojax_prune.core.head import head_spec, init_params
from evojax_prune.core.mode import MODES, Grain, ModeName
from evojax_prune.core.objective import Objective
from evojax_prune.core.outcome import Outcome, judge
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.scaling import Scaling
from evojax_prune.core.splits import FeatureSplits, Given, Rows, Split
from evojax_prune.engine import EngineReport
from evojax_prune.methods.found import Effort, Found, Trials
from evojax_prune.methods.options import TrainingOptions
from evojax_prune.methods.problem import Problem
from evojax_prune.report.page import page_text
from evojax_prune.report.pruned import Pruned

SECTIONS = ("heads", "size", "classes", "calibration", "errors", "features", "data", "settings")
SECTIONS = (*SECTIONS, "reading")
HOSTILE = ("<script>alert(1)</script>", "a\"b'c & $x^{2$", "猫 \N{BLACK SUN WITH RAYS}")
VOID = {"meta", "link", "br", "img", "path", "use", "image", "rect"}


class Page(html.parser.HTMLParser):
    """The elements of a page, their text, and whether every one is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def make_problem(
    mode: ModeName = "features",
    grain: Grain = "neurons",
    *,
    folds: int = 1,
    features: int = 30,
    classes: Sequence[str] = HOSTILE,
    given: Given | None = None,
    on_test: bool = False,
) -> Problem:
    """Random features; of test rows the given split may be known."""
    rng = np.random.default_rng(0)
    hidden = (9,) if mode == "features" else (9, 7)

    def split(count: int) -> Split:
        y = (np.arange(count) % len(classes)).astype(np.int32)
        x = rng.normal(size=(count, features)).astype(np.float32)
        rows = None if given is None else Rows(given, np.arange(count)[::-1])
        return Split(x, y, rows)

    test = split(24)
    names = tuple(classes)
    parts = [
        FeatureSplits(split(36), test if on_test else split(12), test, names, on_test)
        for _ in range(folds)
    ]
    pruning = Pruning(head_spec(mode, features, len(classes), hidden), MODES[mode], grain)
    scaling = Scaling.fit("none", parts[0].train.x)
    return Problem(
        "<b>data</b>", "1", "a & b", parts, pruning, TrainingOptions(), [scaling] * folds
    )


def make_pruned(
    problem: Problem, *, objectives: int = 2, search: bool = True, compare: bool = False
) -> Pruned:
    """A run of which nothing was trained: random heads, random values."""
    rng, pruning = np.random.default_rng(1), problem.pruning

    def outcome(genome: np.ndarray) -> Outcome:
        params = [init_params(pruning.spec, seed) for seed in range(problem.folds)]
        return judge(params, genome, pruning, problem.splits, loss=0.5, epochs=1)

    count, length = 12, pruning.genome_length
    genomes = rng.random((count, length)) < 0.4
    heads = tuple(outcome(genome) for genome in genomes[:4])
    kinds = (
        Objective("cross-entropy", "cross-entropy", maximised=False),
        Objective("size", "active bits", maximised=False, noisy=False),
    )
    values = np.column_stack([rng.random(count), genomes.sum(1)])[:, :objectives]
    values[3] = np.nan
    trials = Trials(
        kinds[:objectives],
        tuple(f"{i:032x}" for i in range(count)),
        genomes.sum(1),
        length,
        values,
        np.arange(count) // 4 if search else None,
        {"epochs": np.ones(count), "seconds": np.ones(count)},
    )
    report = EngineReport("cpu", {"native": 12}, "it is <fast>", 0, 0.0, 1.0, 12)
    found = Found(
        name="evolved",
        kind="evolved",
        how="nsga2",
        dense=outcome(pruning.dense[0]),
        pruned=heads[0],
        random=outcome(genomes[5]),
        masks=3,
        trials=trials,
        best=0.1,
        dense_values=np.full(objectives, 0.5),
        effort=Effort(1.0, "the budget is used", (report,), 3),
        packed=np.packbits(genomes, axis=1),
        finalists=heads,
        chosen="it is the smallest",
        ranking=("ANOVA F", heads[1]) if search else None,
        scores=None if search else tuple(rng.random(n) for n in pruning.parts),
    )
    rows = [
        BaselineRow(f"way {i}", at, 0.3, value, 0.4, 50)
        for i in range(7)
        for at, value in (("same", 0.5), ("best", 0.6 if i else np.nan))
    ]
    settings = {
        "mode": pruning.mode.name,
        "grain": pruning.grain,
        "dataset": "<img src=x onerror=alert(1)>",
        "search_protocol": {"epochs": 3},
        "ood": "other",
    }
    return Pruned(problem, found, tuple(rows) if compare else (), settings, 2.0)


def read(pruned: Pruned) -> Page:
    """The page, once it is seen to load and run nothing and to be well-formed."""
    text = page_text(pruned)
    text.encode()  # which a file name need not be
    page = Page(text)
    for section in SECTIONS:
        assert [a for a in page.of("section") if a.get("id") == section], section
    assert not page.of("script")
    assert not page.of("iframe")
    for image in page.of("img"):
        assert (image["src"] or "").startswith("data:image/")
        assert image["alt"]
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("href", "src", "xlink:href"):
            if value := attributes.get(name):
                assert value.startswith(("#", "data:")), (tag, value)
    assert not re.findall(r"url\((?!#)", text)
    assert "@import" not in text
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    pictures = page.of("svg")
    assert len(pictures) >= 7
    for picture in pictures:
        assert picture["role"] == "img"
        assert picture["aria-label"]
    return page
