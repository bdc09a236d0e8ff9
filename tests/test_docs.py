"""The docs site builds, with warnings as errors."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import evojax_prune

ROOT = Path(__file__).resolve().parent.parent
EYES = ["sick/12_left.png", "sick/12_right.png", "well/control.png"]


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("material", "mkdocstrings")),
    reason="the extra 'docs' is not installed",
)
def test_the_site_builds(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in ("index.html", "api/index.html", "engine/index.html", "results/honest/index.html"):
        assert "<article" in (tmp_path / page).read_text(encoding="utf-8")
    api = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    assert ":func:" not in api
    assert "fit_population" in api


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"heading: evojax_prune\.(\w+)$", text, re.MULTILINE))
    assert named == set(evojax_prune.__all__) - {"__version__"}
    for path in re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE):
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name).__doc__, path


def test_the_patterns_of_the_first_steps_name_groups() -> None:
    from evojax_prune.data import group_names

    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    hand, pair, named = re.findall(r"`--groups '([^']+)'`", text)
    assert group_names(["rock/rock01-003.png"], hand).tolist() == ["01"]
    assert group_names(EYES[:2], pair).tolist() == ["12", "12"]
    assert group_names(EYES, named).tolist() == ["12", "12", "control.png"]


@pytest.mark.slow
def test_the_python_of_the_first_steps_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(from sklearn.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block.replace("size=16", "size=16, population=4, evaluations=8"), names)
    assert "On test the evolved head" in capsys.readouterr().out
