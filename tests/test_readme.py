"""What the README says can be typed."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import re
import stat
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evojax_prune.cli import main as command
from evojax_prune.cli.commands import Export, Predict
from evojax_prune.cli.sweep import Sweep
from evojax_prune.methods.problem import random_genomes
from evojax_prune.report.result import Result
from evojax_prune.run import config
from experiments import published

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_recipe_for_numpy_gives_the_reported_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(size=(90, 12)) + 1.5 * np.eye(3, 12)[y]
    y_test = np.arange(30) % 3
    x_test = (rng.normal(size=(30, 12)) + 1.5 * np.eye(3, 12)[y_test]).astype(np.float32)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    output = tmp_path / "demo"
    args = ["--dataset", str(tmp_path / "data.npz"), "--output", str(output), "--hidden", "8"]
    args += ["--population", "6", "--evaluations", "12", "--final-protocol.epochs", "5"]
    assert command.main(args) == 0
    capsys.readouterr()
    (recipe,) = re.findall(r"```python\n([^`]*safe_open[^`]*)```", README)
    np.save(tmp_path / "features.npy", x_test)
    names: dict[str, Any] = {}
    recipe = recipe.replace("features.npy", str(tmp_path / "features.npy"))
    exec(recipe.replace("runs/demo", str(output)), names)
    result = Result.model_validate_json((output / "result.json").read_text())
    assert np.mean(names["x"].argmax(1) == y_test) == result.best.test_accuracy
    assert capsys.readouterr().out.startswith("['")


def test_every_python_block_imports_what_it_uses() -> None:
    """A block that is typed alone fails only where it says that another one went before."""
    later = "from evojax_prune.sklearn import FeatureMask, HeadPruner"
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        if block.startswith(later):
            continue
        tree = ast.parse(block)
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        known = {node.id for node in names if isinstance(node.ctx, ast.Store)} | set(dir(builtins))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                known |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        assert {node.id for node in names} <= known


@pytest.mark.slow
def test_the_python_blocks_run_as_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after another, only with a smaller budget."""
    monkeypatch.chdir(tmp_path)
    text = README[README.index("## From Python") : README.index("## Development")]
    small = "size=16, population=4, evaluations=8, hidden=(8,)"
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block.replace("size=16", small), names)
    said = capsys.readouterr().out
    assert said.startswith("On test the evolved head scores")
    assert "(1797, " in said
    assert names["features"].shape == (2, 1280)
    assert len(blocks) == 2


def test_every_flag_in_the_documents_exists() -> None:
    known = {f"--{name.replace('_', '-')}" for name in config.RunConfig.model_fields}
    known |= {"--config", "--help", "--logdir"}
    for words in (Predict, Export, Sweep):
        known |= {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(words)}
    guides = ("index", "how", "search", "extending", "trackers", "faq")
    files = [ROOT / "docs" / f"{name}.md" for name in guides]
    files += (ROOT / "configs").glob("*.yaml")
    texts = [README, *(path.read_text(encoding="utf-8") for path in files)]
    for text in texts:
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text):
            assert flag in known, flag


@pytest.mark.parametrize("name", published.PRUNING)
def test_the_configurations_tell_the_papers_figures(name: str) -> None:
    text = (ROOT / "configs" / f"{name.lower()}.yaml").read_text(encoding="utf-8")
    said = " ".join(text.replace("#", " ").split())
    for mode, heads in published.PRUNING[name].items():
        assert f"{mode} {heads.evolved:.3f} with {heads.active}%" in said


def test_the_command_that_ci_runs_is_the_readmes() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    lines = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert lines[0].endswith(
        "-m evojax_prune.run --dataset digits --image-size 96 --size 64 --evaluations 2000"
    )
    assert lines[1].endswith("-m pytest")


def test_every_extra_in_the_readme_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = set(re.findall(r"'\.\[([\w-]+)\]'", README))
    assert named <= extras["optional-dependencies"].keys()


@pytest.mark.skipif(sys.platform == "win32", reason="paths differ")
def test_the_default_output_is_named_after_the_data() -> None:
    for dataset, start in {
        "cifar10": "cifar10-features-",
        "imagenet_resized/32x32:1.0": "imagenet_resized-32x32-1.0-features-",
        str(ROOT / "tests"): "tests-features-",
    }.items():
        assert command.default_output(config.RunConfig(dataset=dataset)).name.startswith(start)


def test_random_masks_have_exactly_the_density() -> None:
    masks = random_genomes(7, 20, 50, seed=3)
    assert (masks.sum(1) == 7).all()
    assert len(np.unique(masks, axis=0)) > 40
    np.testing.assert_array_equal(masks, random_genomes(7, 20, 50, seed=3))
    assert random_genomes(20, 20, 50, seed=3).tolist() == [[True] * 20]
