"""Plugins that fail: a sentence that names the file and the line, and nothing lost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_cases import QUICK, own_registries, plugin, write_table

from evojax_prune.cli import main as command
from evojax_prune.cli.plugins import load_plugins


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    with own_registries():
        yield


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path)


METHODS_OF = "from evojax_prune.methods import METHODS"
WRITERS_OF = "from evojax_prune.report.writers import WRITERS"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no file"),
        ("import nowhere_at_all", "nowhere_at_all"),
        ("x = (", "was never closed"),
        ("raise ValueError('so')", "ValueError: so"),
        (f"{METHODS_OF}; METHODS.clear()", "removes method search: add to the registries only"),
        (f"{WRITERS_OF}; WRITERS['../x'] = print", "expected the name of a new file in the run"),
        (f"{WRITERS_OF}; WRITERS['result.json'] = print", "expected the name of a new file"),
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


OBJECTIVE = """
from evojax_prune.core.objective import Objective
from evojax_prune.objectives import OBJECTIVES, Measure

calls = []

def of(scored):
    calls.append(1)
    {mistake}
    return scored.genomes.sum(1).astype(float)

OBJECTIVES["mine"] = Measure(Objective("mine", "label", maximised=False), of)
"""
BEST = "return [-float('inf')] * len(scored.genomes)"
METHOD = """
from evojax_prune.core.options import Options
from evojax_prune.methods import METHODS, Method

def find(problem, options, session):
    {mistake}

METHODS["mine"] = Method(Options, lambda: find)
"""
SOURCE = """
from evojax_prune.data import SOURCES, Source

class Mine(Source):
    title = "mine"
    def claims(self, dataset):
        return dataset.endswith(".npz")
    def load(self, dataset, options):
        {mistake}

SOURCES["mine"] = Mine()
"""
OPTIMIZER = """
from evojax_prune.engine import OPTIMIZERS

def make(learning_rate):
    {mistake}

OPTIMIZERS["mine"] = make
"""
BACKBONE = """
from evojax_prune.features import register_backbone

def see(images):
    if len(images) > 1:  # the first call is for its width
        {mistake}
    return images.reshape(len(images), -1)[:, :9]

register_backbone("mine", see, image_size=8, version="1")
"""
WRITER = """
from evojax_prune.report.writers import WRITERS

def write(path, pruned):
    {mistake}

WRITERS["mine"] = write
"""


TABLE = """
        import numpy as np
        from evojax_prune.data import FeatureTable
        x, y = np.{x}.astype("f4"), np.arange(9) % 3 + {y}
        return FeatureTable("a", "1", ("p", "q", "r"), {{"train": x}}, {{"train": y}}, None, "a")
"""


FAILING = [
    ("objective", OBJECTIVE, "1 / 0", "line 9 (ZeroDivisionError: division by zero)"),
    ("method", METHOD, "raise ValueError('so\\nlong')", "line 6 (ValueError: so long)"),
    ("source", SOURCE, "raise SystemExit(0)", "line 9 (SystemExit: 0)"),
    ("optimizer", OPTIMIZER, "raise OSError('no')", "line 5 (OSError: no)"),
    ("backbone", BACKBONE, "images[0, 0, 0, 9]", "line 6 (IndexError: index 9 is out of bounds"),
]
WORDS = {
    "objective": (
        *("--objectives", "mine", "--size-penalty", "0.1"),
        *("--strategy", "generational", "--init", "random"),  # compiles faster than the default
    ),
    "method": ("--method", "mine", "--hidden", "8"),
    "optimizer": ("--search-protocol.optimizer", "mine"),
    "backbone": ("--dataset", "digits", "--backbone", "mine"),
}


def words_of(kind: str, folder: Path, file: Path, table: Path) -> list[str]:
    """The words of a run that uses a plugin."""
    words = ["--plugin", str(file), "--output", str(folder / "run"), "--dataset", str(table)]
    return [*words, *(() if kind == "method" else QUICK), *WORDS.get(kind, ())]


@pytest.mark.parametrize(("kind", "text", "mistake", "said"), FAILING)
def test_a_plugin_that_fails_in_a_run_is_a_sentence(
    kind: str,
    text: str,
    mistake: str,
    said: str,
    tmp_path: Path,
    table: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = plugin(tmp_path, "mine", text.format(mistake=mistake))
    words = words_of(kind, tmp_path, file, table)
    monkeypatch.setenv("EVOJAX_PRUNE_TRACEBACK", "0")
    assert command.main(words) == 2
    err = capsys.readouterr().err
    last = err.splitlines()[-1]
    assert last.startswith(f"error: the plugin {file} ({kind} mine) failed in {said}")
    assert "Traceback" not in err
    assert not list(tmp_path.glob("run*"))  # there is nothing yet to go on from
    monkeypatch.setenv("EVOJAX_PRUNE_TRACEBACK", "1")
    assert command.main(words) == 2
    assert f'File "{file}", {said.split(" (")[0]}' in capsys.readouterr().err


def test_a_run_goes_on_once_its_plugin_is_mended(
    tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = plugin(tmp_path, "mine", OBJECTIVE.format(mistake="assert len(calls) < 3"))
    words = words_of("objective", tmp_path, file, table)
    assert command.main(words) == 2
    advice = capsys.readouterr().err.splitlines()[-2]
    journal = (tmp_path / "run.partial" / "state" / "journal.jsonl").read_text().splitlines()
    plugin(tmp_path, "mine", OBJECTIVE.format(mistake="pass"))
    assert advice.startswith("to go on: python -m evojax_prune.run ")
    assert command.main(advice.split()[6:]) == 0
    trained = sys.modules["evojax_prune_plugin_mine"].calls
    assert len(journal) == 2  # its head, and the first generation
    whole = tmp_path / "whole"
    assert command.main([*words, "--output", str(whole)]) == 0
    again = sys.modules["evojax_prune_plugin_mine"].calls
    assert len(trained) < len(again)
    for name in ("best_mask.npz", "front.csv"):
        assert (whole / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


@pytest.mark.parametrize(
    ("kind", "text", "given", "said"),
    [
        ("objective", OBJECTIVE, "return None", "objective mine gives NoneType of shape ()"),
        ("objective", OBJECTIVE, "return [[1.0]]", "objective mine gives list of shape (1, 1)"),
        ("objective", OBJECTIVE, BEST.replace("inf", "1e308"), "gives a number beyond 1e+100"),
        ("objective", OBJECTIVE, BEST, "objective mine gives -inf, which nothing can beat"),
        ("objective", OBJECTIVE, "return 'ab'", "objective mine gives str of shape ()"),
        ("objective", OBJECTIVE, "return scored.genomes[:, 0] * 1j", "gives ndarray of shape"),
        ("objective", OBJECTIVE, "scored.genomes[:] = True", "destination is read-only"),
        ("method", METHOD, "return 3", "--method mine gives int, expected Found"),
        ("source", SOURCE, "return {}", "(mine) gives dict, expected a FeatureTable or an Image"),
        ("source", SOURCE, TABLE.format(x="zeros((9, 2, 2))", y=0), "features are float32 [9, 2"),
        ("source", SOURCE, TABLE.format(x="full((9, 2), np.nan)", y=0), "NaN or infinite"),
        ("source", SOURCE, TABLE.format(x="zeros((9, 2))", y=5), "labels are 5 to 7, expected 0"),
        ("backbone", BACKBONE, "return images[:, 0, 0, :0]", "[2, 0] for 2 images, expected num"),
        ("backbone", BACKBONE, "return images[:, 0, 0, :1]", "[2, 1] for 2 images, expected [2, 9"),
        ("backbone", BACKBONE, "return images[:, 0, 0, 0] * 1j", "gives complex128 [2]"),
    ],
)
def test_a_plugin_that_gives_something_else_is_a_sentence(
    kind: str,
    text: str,
    given: str,
    said: str,
    tmp_path: Path,
    table: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = plugin(tmp_path, "mine", text.replace("{mistake}", given))
    assert command.main(words_of(kind, tmp_path, file, table)) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_writer_that_writes_nothing_is_told(
    tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = plugin(tmp_path, "mine", WRITER.format(mistake="pass"))
    words = ["--plugin", str(file), "--dataset", str(table), "--output", str(tmp_path / "run")]
    words += ["--method", "sensitivity", "--keep", "0.5", "--hidden", "8"]
    assert command.main([*words, "--final-protocol.epochs", "1"]) == 2
    assert "mine: its writer wrote no such file" in capsys.readouterr().err.splitlines()[-1]


def test_a_writer_that_fails_costs_only_its_own_file(
    tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = plugin(tmp_path, "mine", WRITER.format(mistake="pruned.nothing"))
    words = ["--method", "sensitivity", "--keep", "0.5", "--hidden", "8"]
    words += ["--final-protocol.epochs", "3", "--dataset", str(table)]
    assert command.main([*words, "--plugin", str(file), "--output", str(tmp_path / "run")]) == 2
    said = f"mine could not be made (the plugin {file} (file mine) failed in line 5 (AttributeErr"
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "run" / "result.json").is_file()


def test_a_plugin_may_have_dataclasses(tmp_path: Path) -> None:
    file = tmp_path / "shapes.py"
    lines = ["from __future__ import annotations", "import dataclasses", "@dataclasses.dataclass"]
    file.write_text("\n".join([*lines, "class Shape:", "    sides: int = 3", "Shape(4)", ""]))
    load_plugins([str(file)], {})
    assert sys.modules.pop("evojax_prune_plugin_shapes").Shape().sides == 3


def test_a_plugin_that_leaves_the_folder_does_not_take_the_run_along(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path)
    file = plugin(tmp_path, "mine", "import os\nos.chdir('away')\n")
    words = ["--method", "sensitivity", "--keep", "0.5", "--hidden", "8", "--plugin", str(file)]
    words += ["--final-protocol.epochs", "3", "--dataset", table.name, "--output", "run"]
    assert command.main(words) == 0
    assert (tmp_path / "run" / "result.json").is_file()
