"""The page of a run: every part is there, nothing is loaded, nothing of the data can act in it."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_cases import HOSTILE, make_problem, make_pruned, read
from PIL import Image
from rich.console import Console

import evojax_prune
from evojax_prune.baselines import BaselineRow
from evojax_prune.cli.main import TABLE_WIDTH
from evojax_prune.core.errors import UserError
from evojax_prune.core.forward import affine, layers_of
from evojax_prune.core.head import head_spec, init_params
from evojax_prune.core.mode import MODES, Grain, ModeName
from evojax_prune.core.splits import Given
from evojax_prune.report import figures, summary, writers
from evojax_prune.report.page import page_text
from evojax_prune.report.result import BaselineResult
from evojax_prune.sensitivity import plain_sensitivities, sensitivities

pytestmark = pytest.mark.pictures


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures without content, for tests that are about the rest of the page."""

    def svg_text(*_: object, **__: object) -> str:
        return "<svg></svg>"

    monkeypatch.setattr("evojax_prune.report.figures.svg_text", svg_text)


@pytest.mark.parametrize(
    ("mode", "grain"),
    [
        pytest.param("features", "neurons", marks=pytest.mark.slow),
        ("both", "connections"),
    ],
)
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


@pytest.mark.usefixtures("undrawn")
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


@pytest.mark.usefixtures("undrawn")
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


def test_large_masks_and_many_classes_are_drawn_without_a_label_each() -> None:
    classes = [f"class {i}" for i in range(50)]
    pruned = make_pruned(make_problem(features=200, classes=classes))
    mask = evojax_prune.plot_mask(pruned)
    assert mask.get_images()[0].get_array().shape == (4, 64, 4)  # the last line is not full
    assert [label.get_text() for label in mask.get_yticklabels()] == ["0", "64", "128", "192"]
    confusion = evojax_prune.plot_confusion(pruned)
    assert confusion.get_images()[0].get_array().shape == (50, 50)
    assert not confusion.get_xticklabels()


FORMULA = "_$x^{2$, $y$"
"""A name that matplotlib would take for a formula, and leave out of a legend."""


@pytest.mark.parametrize(
    "changed",
    [
        {},
        pytest.param({"objectives": 1}, marks=pytest.mark.slow),
        pytest.param({"search": False, "objectives": 1}, marks=pytest.mark.slow),
    ],
)
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


@pytest.mark.parametrize(
    ("changed", "label"),
    [
        ({"objectives": 1}, "best so far"),
        ({"search": False, "objectives": 1}, "pruned"),
    ],
)
def test_one_objective_and_sizes_have_lines_of_their_own(
    changed: dict[str, Any], label: str
) -> None:
    ax = figures.new_figure().subplots()
    evojax_prune.plot_convergence(make_pruned(make_problem(), **changed), ax=ax)
    assert label in {line.get_label() for line in ax.lines}


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
