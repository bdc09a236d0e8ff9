"""Every example of docs/extending.md, by the main command.

Each is a file of its own and one registration line: here the file is written, imported once by
``--plugin`` and used by its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optax
import pytest
from engine_cases import make_splits
from PIL import Image
from plugin_cases import QUICK, own_registries, plugin, write_table

from evojax_prune.cli import main as command
from evojax_prune.core.errors import UserError
from evojax_prune.core.head import head_spec
from evojax_prune.core.masks import dense_masks
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine import OPTIMIZERS, fit_population
from evojax_prune.features import BACKBONES
from evojax_prune.report.result import Result

GUIDE = (Path(__file__).resolve().parent.parent / "docs" / "extending.md").read_text("utf-8")
EXAMPLES = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```", GUIDE, re.M | re.S))
"""The first Python block of each section of the guide."""


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    with own_registries():
        yield


def run(folder: Path, file: Path, *args: str) -> Result:
    output = folder / "run"
    words = ["--plugin", str(file), "--output", str(output), *args]
    assert command.main(words) == 0
    assert json.loads((output / "result.json").read_text())["config"]["plugin"] == [str(file)]
    return Result.model_validate_json((output / "result.json").read_text())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path)


def test_a_third_method(tmp_path: Path, table: Path) -> None:
    file = plugin(tmp_path, "variance", EXAMPLES["A method"])
    words = ("--dataset", str(table), "--method", "variance", "--method-options", "share=0.25")
    result = run(tmp_path, file, *words, "--hidden", "8", "--final-protocol.epochs", "3")
    assert result.best_name == "most variance"
    assert result.best.active_units == 3


def test_an_objective(tmp_path: Path, table: Path) -> None:
    file = plugin(tmp_path, "half", EXAMPLES["An objective"])
    words = ("--dataset", str(table), "--objectives", "cross-entropy", "first-half")
    assert run(tmp_path, file, *words, *QUICK).search.objectives == ["cross-entropy", "first-half"]
    assert "first-half" in (tmp_path / "run" / "evaluations.csv").read_text().splitlines()[0]


@pytest.mark.slow
def test_an_optimizer(tmp_path: Path, table: Path) -> None:
    file = plugin(tmp_path, "clipped", EXAMPLES["An optimizer"])
    words = ("--method", "sensitivity", "--keep", "0.5", "--hidden", "8")
    words += ("--final-protocol.epochs", "2", "--final-protocol.optimizer", "clipped")
    result = run(tmp_path, file, "--dataset", str(table), *words)
    assert result.config["final_protocol"]["optimizer"] == "clipped"
    assert list(result.search.paths) == ["optax"]


@pytest.mark.slow
def test_an_optimizer_of_ones_own_trains_as_optaxs_does() -> None:
    splits, head = make_splits(), head_spec("features", 40, 3, (8,))
    OPTIMIZERS["mine"] = lambda learning_rate: optax.adam(learning_rate)
    mine, theirs = (
        fit_population(dense_masks(head), splits, Protocol(epochs=2, optimizer=name), head=head)
        for name in ("mine", "adam")
    )
    np.testing.assert_array_equal(mine.loss, theirs.loss)


def test_an_optimizer_that_is_none_is_refused() -> None:
    splits, head = make_splits(), head_spec("features", 40, 3, (8,))
    OPTIMIZERS["nothing"] = lambda learning_rate: None
    with pytest.raises(UserError, match="optimizer 'nothing' gives NoneType, expected an optax"):
        fit_population(dense_masks(head), splits, Protocol(optimizer="nothing"), head=head)


def test_a_source(tmp_path: Path, table: Path) -> None:
    file = plugin(tmp_path, "lines", EXAMPLES["A source of data"])
    result = run(tmp_path, file, "--dataset", str(table.with_suffix(".lines")), *QUICK)
    assert result.dataset.features == 12


def test_a_backbone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = plugin(tmp_path, "quarters", EXAMPLES["A backbone"])
    result = run(tmp_path, file, "--dataset", "digits", "--backbone", "quarters", *QUICK)
    assert result.dataset.features == 12
    assert "quarters" in result.dataset.source

    Image.new("RGB", (60, 40), "red").save(tmp_path / "red.png")
    BACKBONES.pop("quarters")  # as in a new process
    words = ["predict", str(tmp_path / "run"), str(tmp_path / "red.png")]
    assert command.main(words) == 2
    assert "which a plugin brought: give its file with --plugin" in capsys.readouterr().err
    assert command.main([*words, "--plugin", str(file)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_writer(tmp_path: Path, table: Path) -> None:
    file = plugin(tmp_path, "line", EXAMPLES["A file of the result"])
    result = run(tmp_path, file, "--dataset", str(table), *QUICK)
    assert (tmp_path / "run" / "line.txt").read_text() == result.comparison.sentence


def test_a_tracker(tmp_path: Path, table: Path) -> None:
    file = plugin(tmp_path, "lines", EXAMPLES["A tracker"])
    result = run(tmp_path, file, "--dataset", str(table), "--track", "lines", *QUICK)
    *generations, end = map(json.loads, (tmp_path / "run.jsonl").read_text().splitlines())
    assert [line["generation"] for line in generations] == list(range(len(generations)))
    assert generations[-1]["search/evaluations"] == result.search.evaluations
    assert end["result"] == result.comparison.sentence
    assert {"result.json", "head.safetensors"} <= set(end["files"])


def test_following_a_run_from_python(capsys: pytest.CaptureFixture[str]) -> None:
    exec(EXAMPLES["Following a run from Python"], {})
    *generations, end = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in generations] == [str(i) for i in range(len(generations))]
    assert re.fullmatch(r"\d+ features", end)


def test_every_example_is_run() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    assert all(f'EXAMPLES["{name}"]' in tests for name in EXAMPLES)
    assert len(EXAMPLES) == GUIDE.count("```python")
