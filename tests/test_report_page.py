"""The page of a run: every part is there, nothing is loaded, nothing of the data can act in it."""

from __future__ import annotations

import base64
import dataclasses
import html.parser
import io
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import evojax_prune
from evojax_prune.baselines import BaselineRow
from evojax_prune.cli import main as command
from evojax_prune.cli.main import TABLE_WIDTH
from evojax_prune.core.errors import UserError
from evojax_prune.core.forward import affine, layers_of
from evojax_prune.core.head import head_spec, init_params
from evojax_prune.core.mode import MODES, Grain, ModeName
from evojax_prune.core.objective import Objective
from evojax_prune.core.outcome import Outcome, judge
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.scaling import Scaling
from evojax_prune.core.splits import FeatureSplits, Given, Rows, Split
from evojax_prune.engine import EngineReport
from evojax_prune.features import BACKBONES, register_backbone
from evojax_prune.methods.found import Effort, Found, Trials
from evojax_prune.methods.options import TrainingOptions
from evojax_prune.methods.problem import Problem
from evojax_prune.report import figures, summary, writers
from evojax_prune.report.page import page_text
from evojax_prune.report.pruned import Pruned
from evojax_prune.report.result import BaselineResult
from evojax_prune.sensitivity import plain_sensitivities, sensitivities

pytestmark = pytest.mark.pictures

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
    classes: Sequence[str] = HOSTILE,
    given: Given | None = None,
    on_test: bool = False,
) -> Problem:
    """Random features; of test rows the given split may be known."""
    rng = np.random.default_rng(0)
    hidden = (9,) if mode == "features" else (9, 7)

    def split(count: int) -> Split:
        y = (np.arange(count) % len(classes)).astype(np.int32)
        x = rng.normal(size=(count, 30)).astype(np.float32)
        rows = None if given is None else Rows(given, np.arange(count)[::-1])
        return Split(x, y, rows)

    test = split(24)
    names = tuple(classes)
    parts = [
        FeatureSplits(split(36), test if on_test else split(12), test, names, on_test)
        for _ in range(folds)
    ]
    pruning = Pruning(head_spec(mode, 30, len(classes), hidden), MODES[mode], grain)
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


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures without content, for tests that are about the rest of the page."""

    def svg_text(*_: object, **__: object) -> str:
        return "<svg></svg>"

    monkeypatch.setattr("evojax_prune.report.figures.svg_text", svg_text)


@pytest.mark.parametrize(("mode", "grain"), [("features", "neurons"), ("both", "connections")])
def test_every_picture_is_drawn(mode: ModeName, grain: Grain) -> None:
    page = read(make_pruned(make_problem(mode, grain)))
    assert len(page.of("svg")) == (8 if mode != "both" else 10)
    assert len(page.of("path")) > 100


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("grain", ["neurons", "connections"])
@pytest.mark.parametrize("mode", list(MODES))
def test_every_mode_and_grain_has_its_page(mode: ModeName, grain: Grain) -> None:
    page = read(make_pruned(make_problem(mode, grain)))
    text = " ".join(page.text)
    assert ("Unit " if mode != "features" else "Feature ") in text
    assert "of the parameters kept" in text if grain == "connections" else "kept" in text
    assert len(page.of("svg")) == (8 if mode != "both" else 10)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"objectives": 1}, "Progress of the search"),
        ({"search": False, "objectives": 1}, "Sizes that were tried"),
        ({"compare": True}, "way 6"),
    ],
)
def test_every_method_has_its_page(changed: dict[str, Any], said: str) -> None:
    assert said in " ".join(read(make_pruned(make_problem(), **changed)).text)


@pytest.mark.usefixtures("undrawn")
def test_folds_are_told_of() -> None:
    text = " ".join(read(make_pruned(make_problem("both", folds=3))).text)
    assert "Selection is by 3 folds" in text
    assert "of the first fold" in text


@pytest.mark.usefixtures("undrawn")
def test_selection_on_test_and_other_data_are_told_of() -> None:
    problem = make_problem(on_test=True)
    other = (problem.splits[0].train.x,)
    text = " ".join(read(make_pruned(dataclasses.replace(problem, outside=other))).text)
    assert "test and selection" in text
    assert "no forecast for new data" in text
    assert "36 rows of other are looked at" in " ".join(text.split())


def test_names_cannot_act() -> None:
    names = [f'<img src="http://evil/{i}" onerror=alert(1)>\udcff.png' for i in range(36)]
    groups = np.array([f"<i>{i // 4}" for i in range(36)])
    text = " ".join(read(make_pruned(make_problem(given=Given("test", names, groups)))).text)
    assert names[0][:-5] in text.replace("\\udcff", "")
    for name in HOSTILE:
        assert name in text
    assert "There are no pictures here, since the features did not come from images" in text
    assert "<b>data</b>" in text


@pytest.mark.usefixtures("undrawn")
def test_groups_are_counted_and_rows_numbered() -> None:
    groups = np.array([f"{i // 4}" for i in range(36)])
    page = read(make_pruned(make_problem(given=Given("test", None, groups))))
    text = " ".join(" ".join(page.text).split())
    assert "split rows groups training 36 9 selection 12 3 test 24 6" in text
    assert re.search(r"row \d+ of test", text)


@pytest.mark.usefixtures("undrawn")
def test_pictures_are_those_of_the_rows_and_no_others() -> None:
    asked: list[int] = []

    def images(rows: Sequence[int]) -> list[np.ndarray]:
        asked.extend(rows)
        return [np.full((200, 100, 3), 10 * row, np.uint8) for row in rows]

    page = read(make_pruned(make_problem(given=Given("test", None, None, images))))
    assert len(asked) == len(set(asked)) <= 24
    assert page.of("img")
    for image in page.of("img"):
        alt = re.match(r"row (\d+) of test", image["alt"] or "")
        assert alt is not None
        content = (image["src"] or "").partition("base64,")[2]
        thumbnail = Image.open(io.BytesIO(base64.b64decode(content)))
        assert thumbnail.size == (80, 160)
        assert np.abs(np.asarray(thumbnail, int) - 10 * int(alt[1])).max() <= 3


@pytest.mark.usefixtures("undrawn")
def test_images_that_are_gone_are_a_sentence() -> None:
    def gone(rows: Sequence[int]) -> list[np.ndarray]:
        raise UserError("a.png cannot be read as an image (No such file)")

    text = " ".join(read(make_pruned(make_problem(given=Given("all", None, None, gone)))).text)
    assert "There are no pictures here: a.png cannot be read as an image (No such file)" in text
    assert re.search(r"\brow \d+\b", text)


@pytest.mark.usefixtures("undrawn")
def test_a_head_without_errors_says_so() -> None:
    problem = make_problem()
    (splits,) = problem.splits
    pruned = make_pruned(problem)
    right = pruned.found.pruned.heads[0].predict(splits.test.x).astype(np.int32)
    splits = dataclasses.replace(splits, test=dataclasses.replace(splits.test, y=right))
    pruned = make_pruned(dataclasses.replace(problem, splits=[splits]))
    assert "makes no errors on the test rows" in " ".join(read(pruned).text)


def test_many_classes_are_cut_short_and_said_to_be() -> None:
    page = read(make_pruned(make_problem(classes=[f"class {i}" for i in range(50)])))
    text = " ".join(page.text)
    assert "Of 50 classes the 40 with the lowest recall" in text
    assert "class 49" in text  # in the table


@pytest.mark.parametrize("group", [0, 1, 2])
def test_plain_sensitivities_are_those_of_the_package(group: int) -> None:
    params = init_params(head_spec("both", 12, 3, (6, 5)), 0)
    units = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)
    expected = sensitivities(params, units, p=2.0, layer=group).scores(2.0)
    layers = layers_of(params)
    for layer in layers[:group]:
        units = np.maximum(affine(units, layer), np.float32(0))
    np.testing.assert_allclose(plain_sensitivities(layers[group:], units), expected, rtol=1e-4)


def test_pictures_are_drawn_on_an_axis_of_ones_own() -> None:
    from evojax_prune.report.figures import new_figure

    pruned = make_pruned(make_problem("both"))
    figure = new_figure()
    axes = iter(figure.subplots(2, 5).ravel())
    for name in (name for name in evojax_prune.__all__ if name.startswith("plot_")):
        ax = next(axes)
        draw = getattr(evojax_prune, name)
        assert draw(pruned, ax=ax) is ax
        assert ax.has_data()
    # from result.json alone
    for name in ("plot_front", "plot_recall", "plot_confusion"):
        getattr(evojax_prune, name)(pruned.result, ax=next(axes))
        if name == "plot_recall":
            break


FORMULA = "_$x^{2$, $y$"
"""A name that matplotlib would take for a formula, and leave out of a legend."""


@pytest.mark.parametrize("changed", [{"objectives": 1}, {}, {"search": False, "objectives": 1}])
def test_no_name_is_read_as_a_formula(
    changed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.mathtext import MathTextParser

    read_as_formulas = []
    monkeypatch.setattr(MathTextParser, "parse", lambda _, text, *__: read_as_formulas.append(text))
    problem = dataclasses.replace(make_problem(classes=(FORMULA, "a$b$", "$c")), name=FORMULA)
    pruned = make_pruned(problem, **changed)
    found = pruned.found
    objectives = tuple(
        dataclasses.replace(kind, name=FORMULA + str(i), label=FORMULA)
        for i, kind in enumerate(found.trials.objectives)
    )
    pruned = dataclasses.replace(
        pruned,
        found=dataclasses.replace(
            found,
            name=FORMULA,
            how=FORMULA,
            ranking=(FORMULA, found.finalists[1]),
            trials=dataclasses.replace(found.trials, objectives=objectives),
        ),
        baselines=tuple(
            BaselineRow(f"{FORMULA}!", at, 0.3, 0.5, 0.4, 50) for at in ("same", "best")
        ),
    )
    svgs = re.findall(r"<svg.*?</svg>", page_text(pruned), re.DOTALL)
    texts = {text.strip() for svg in svgs for text in re.findall(r"<text[^>]*>([^<]*)", svg)}
    for name in ("convergence.png", "front.png"):
        writers.WRITERS[name](tmp_path / name, pruned)
    if not changed:  # in the style of whoever draws
        figure = figures.new_figure(6, 40)
        plots = [name for name in evojax_prune.__all__ if name.startswith("plot_")]
        for name, ax in zip(plots, figure.subplots(len(plots)), strict=True):
            getattr(evojax_prune, name)(pruned, ax=ax)
        figure.canvas.draw()
    assert not read_as_formulas
    assert not [text for text in texts if "\\" in text]
    assert {FORMULA, f"{FORMULA}!", "a$b$", "$c"} <= texts
    if changed.get("search", True):
        assert f"best ranking: {FORMULA}" in texts
        assert (FORMULA if changed else f"({FORMULA}0, {FORMULA}1)") in texts


def test_an_axis_is_made_where_none_is_given() -> None:
    from matplotlib import pyplot

    ax = evojax_prune.plot_front(make_pruned(make_problem()))
    assert ax.get_xlabel() == "active features"
    pyplot.close(ax.figure)


def test_a_page_that_fails_holds_back_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no template")

    pruned = make_pruned(make_problem())
    monkeypatch.setattr("evojax_prune.report.page.page_text", fail)
    monkeypatch.setattr(writers, "_head", lambda path, _: path.write_text(""))
    essential = {**writers.ESSENTIAL, "head.safetensors": writers._head}
    monkeypatch.setattr(writers, "ESSENTIAL", essential)
    (failed,) = writers.write_results(tmp_path, pruned)
    assert failed == "report.html could not be made (RuntimeError: no template)"
    assert {file.name for file in tmp_path.iterdir()} == {
        *writers.ESSENTIAL,
        *writers.WRITERS,
    } - {"report.html"}


# --- a real run, in a real browser ---------------------------------------------------------------


FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture
def backbone() -> Iterator[str]:
    """A backbone that takes no time."""
    known = dict(BACKBONES)
    register_backbone("mean", _means, image_size=16, version="1")
    yield "mean"
    BACKBONES.clear()
    BACKBONES.update(known)


def _means(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), 4, 4, 4, 4, 3).mean((2, 4)).reshape(len(images), -1) / 255


@pytest.fixture
def run(tmp_path: Path, backbone: str) -> Path:
    """A run on image files with hostile names, as the main command makes it."""
    rng = np.random.default_rng(0)
    kinds = ("<b>ant", "bee & $wasp$", "猫" * 30)
    for level, kind in zip((60, 90, 120), kinds, strict=True):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for i in range(20):
            pixels = rng.normal(level, 60, (64, 48, 3)).clip(0, 255).astype(np.uint8)
            name = f"<img src=x onerror=alert({i})>.png"
            Image.fromarray(pixels).save(tmp_path / "images" / kind / name)
    words = ["--dataset", str(tmp_path / "images"), "--output", str(tmp_path / "run")]
    words += ["--backbone", backbone, "--groups", r"alert\((\d+)\)", "--hidden", "8"]
    words += ["--protocol", "holdout", "--population", "6", "--evaluations", "18"]
    words += ["--finalists", "2", "--search-protocol.epochs", "2", "--final-protocol.epochs", "4"]
    assert command.main(words) == 0
    return tmp_path / "run" / "report.html"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Headless Chromium, driven by selenium; the test is skipped where one of them is missing."""
    selenium = pytest.importorskip("selenium.webdriver")
    names = ("chromium", "chromium-browser", "google-chrome")
    binary = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium or no chromedriver on the PATH")
    options = selenium.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.mark.slow
def test_the_page_of_a_run_in_a_browser(run: Path, browser: Any) -> None:
    page = Page(run.read_text(encoding="utf-8"))
    assert page.of("img")
    for scheme, width in (("light", 1280), ("dark", 360)):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(run.as_uri())
        browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert browser.get_log("browser") == []
        widths = browser.execute_script("return [...document.images].map(i => i.naturalWidth)")
        assert len(widths) == len(page.of("img"))
        assert all(widths)
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width, f"{wide} pixels"
        drawn = browser.execute_script(
            "return [...document.querySelectorAll('figure > svg')].map("
            "s => [s.getBoundingClientRect().width, s.querySelectorAll('path').length])"
        )
        assert len(drawn) == len(page.of("svg"))
        assert all(w > 200 and paths > 3 for w, paths in drawn)
        colour = "return getComputedStyle(document.body).backgroundColor"
        light = browser.execute_script(colour) == "rgb(255, 255, 255)"
        assert light == (scheme == "light")
        _keep(browser, f"report-{scheme}-{width}.png")


def _keep(browser: Any, name: str) -> None:
    """Keep a picture of the whole page where the environment names a folder."""
    if folder := os.environ.get("EVOJAX_PRUNE_SCREENSHOTS"):
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / name).write_bytes(base64.b64decode(shot["data"]))


def test_sizes_are_those_of_the_dense_head() -> None:
    """The table's shares, and the places of other ways of pruning in the picture."""
    result = make_pruned(make_problem()).result
    units = result.dense.active_units
    other = BaselineResult(
        name="other",
        at="same",
        selection_accuracy=0.5,
        test_accuracy=0.5,
        active_fraction=0.5,
        parameters=7,
        heads=1,
    )
    ax = figures.plot_front(
        result.model_copy(update={"baselines": [other]}), figures.new_figure().subplots()
    )
    (line,) = [line for line in ax.lines if line.get_label() == "other"]
    assert list(line.get_xdata()) == [units / 2]
    cells = next(
        [str(cell) for cell in column.cells]
        for column in summary.table(result).columns
        if str(column.header).startswith("active")
    )
    shown = f"{result.best.active_units:,} ({result.best.active_units / units:.0%})"
    assert result.best.active_units < units
    assert cells[0] == f"{units:,} (100%)"
    assert shown in cells


def test_no_column_of_other_ways_is_cut_at_the_width_of_a_file() -> None:
    result = make_pruned(make_problem(), compare=True).result
    long = result.baselines[0].model_copy(
        update={"name": "logistic regression, the found features"}
    )
    table = summary.baselines_table(result.model_copy(update={"baselines": [long]}))
    console = Console(width=TABLE_WIDTH, file=io.StringIO())
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert long.name in text
    assert "…" not in text
