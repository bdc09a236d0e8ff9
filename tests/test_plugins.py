"""A method, an objective, a source, a backbone and a writer of one's own, by the main command.

Each is a file of its own and one registration line: here the file is written, imported once by
``--plugin`` and used by its name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evojax_prune.cli import main as command
from evojax_prune.data import SOURCES
from evojax_prune.features import BACKBONES
from evojax_prune.methods import METHODS
from evojax_prune.objectives import OBJECTIVES
from evojax_prune.report.result import Result
from evojax_prune.report.writers import WRITERS

METHOD = '''
"""Keeps the features that vary most."""
import time
import numpy as np
from evojax_prune.core.options import Options
from evojax_prune.core.objective import Objective
from evojax_prune.methods import METHODS, Method
from evojax_prune.methods.found import Effort, Found, Trials
from evojax_prune.methods.problem import best_outcome, random_genomes
from evojax_prune.search.archive import digests, pack

class VarianceOptions(Options):
    share: float = 0.5

def find(problem, options, session):
    began = time.monotonic()
    scores = problem.splits[0].train.x.var(0)
    bits = problem.pruning.keep([scores], (options.share,))[None]
    fits = problem.final_fits(problem.pruning.dense)
    (dense,), (pruned,) = problem.judged(fits, problem.pruning.dense), problem.refit(bits)
    random = best_outcome(problem.refit(random_genomes(int(bits.sum()), bits.shape[1], 1, 0)))
    names = tuple(digests(pack(bits)))
    values = np.array([[pruned.selection]])
    columns = {"epochs": np.array([1]), "seconds": np.array([0.0])}
    trials = Trials((Objective("accuracy", "accuracy"),), names, bits.sum(1), bits.shape[1], values,
                    None, columns)
    effort = Effort(time.monotonic() - began, "one size was asked for", (fits.report,))
    return Found("most variance", "pruned", "variance", dense, pruned, random, 1, trials,
                 pruned.selection, np.array([dense.selection]), effort, pack(bits), (pruned,), "it")

METHODS["variance"] = Method(VarianceOptions, lambda: find)
'''

OBJECTIVE = '''
"""How evenly a head does over its bits' places: only to be different."""
from evojax_prune.core.objective import Objective
from evojax_prune.objectives import OBJECTIVES, Measure

OBJECTIVES["first-half"] = Measure(
    Objective("first-half", "active bits of the first half", maximised=False, noisy=False),
    lambda scores: scores.genomes[:, : scores.genomes.shape[1] // 2].sum(1).astype(float),
)
'''

SOURCE = '''
"""Features of a text file, the class last on each line."""
import numpy as np
from evojax_prune.data import SOURCES, Source, table_of

class Lines(Source):
    title = "a text file of numbers"

    def claims(self, dataset):
        return dataset.endswith(".lines")

    def load(self, dataset, options):
        rows = np.loadtxt(dataset)
        return table_of(rows[:, :-1], rows[:, -1].astype(int))

SOURCES["lines"] = Lines()
'''

BACKBONE = '''
"""Means of the image's nine fields."""
import numpy as np
from evojax_prune.features import register_backbone

def fields(images):
    n, size = images.shape[:2]
    return images.reshape(n, 3, size // 3, 3, size // 3, 3).mean((2, 4)).reshape(n, -1) / 255

register_backbone("fields", fields, image_size=48, version="1")
'''

WRITER = '''
"""One line about the run."""
from evojax_prune.core.files import write_file
from evojax_prune.report.writers import WRITERS

WRITERS["line.txt"] = lambda path, pruned: write_file(path, pruned.result.comparison.sentence)
'''

QUICK = (
    *("--hidden", "8", "--population", "4", "--evaluations", "12", "--finalists", "2"),
    *("--search-protocol.epochs", "1", "--final-protocol.epochs", "3"),
)


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """Each test has its own."""
    known = (METHODS, OBJECTIVES, SOURCES, BACKBONES, WRITERS)
    before = [dict(registry) for registry in known]
    yield
    for registry, content in zip(known, before, strict=True):
        registry.clear()
        registry.update(content)


def plugin(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.py"
    file.write_text(text)
    return file


def run(folder: Path, file: Path, *args: str) -> Result:
    output = folder / "run"
    words = ["--plugin", str(file), "--output", str(output), *args]
    assert command.main(words) == 0
    assert json.loads((output / "result.json").read_text())["config"]["plugin"] == [str(file)]
    return Result.model_validate_json((output / "result.json").read_text())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(size=(90, 12)) + 1.5 * np.eye(3, 12)[y]
    np.savez(tmp_path / "table.npz", x_train=x, y_train=y)
    np.savetxt(tmp_path / "table.lines", np.column_stack([x, y]))
    return tmp_path / "table.npz"


def test_a_third_method(tmp_path: Path, table: Path) -> None:
    file = plugin(tmp_path, "variance", METHOD)
    words = ("--dataset", str(table), "--method", "variance", "--method-options", "share=0.25")
    result = run(tmp_path, file, *words, "--hidden", "8", "--final-protocol.epochs", "3")
    assert result.best_name == "most variance"
    assert result.best.active_units == 3


def test_an_objective(tmp_path: Path, table: Path) -> None:
    file = plugin(tmp_path, "half", OBJECTIVE)
    words = ("--dataset", str(table), "--objectives", "cross-entropy", "first-half")
    assert run(tmp_path, file, *words, *QUICK).search.objectives == ["cross-entropy", "first-half"]
    assert "first-half" in (tmp_path / "run" / "evaluations.csv").read_text().splitlines()[0]


def test_a_source(tmp_path: Path, table: Path) -> None:
    file = plugin(tmp_path, "lines", SOURCE)
    result = run(tmp_path, file, "--dataset", str(table.with_suffix(".lines")), *QUICK)
    assert result.dataset.features == 12


def test_a_backbone(tmp_path: Path) -> None:
    file = plugin(tmp_path, "fields", BACKBONE)
    result = run(tmp_path, file, "--dataset", "digits", "--backbone", "fields", *QUICK)
    assert result.dataset.features == 27
    assert "fields" in result.dataset.source


def test_a_writer(tmp_path: Path, table: Path) -> None:
    file = plugin(tmp_path, "line", WRITER)
    result = run(tmp_path, file, "--dataset", str(table), *QUICK)
    assert (tmp_path / "run" / "line.txt").read_text() == result.comparison.sentence


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no file"),
        ("import nowhere_at_all", "nowhere_at_all"),
        ("x = (", "was never closed"),
        ("raise ValueError('so')", "ValueError: so"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_a_sentence(
    tmp_path: Path, text: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.py"
    if text is not None:
        file.write_text(text)
    assert command.main(["--plugin", str(file), "--dataset", "digits"]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert "bad" not in sys.modules
