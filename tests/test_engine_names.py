"""The engine's names: its public ones, its registry, and none that means two things."""

from __future__ import annotations

import ast
import collections
import subprocess
import sys
from pathlib import Path

import pytest

import evojax_prune
from evojax_prune import engine
from evojax_prune.engine.plan import PATHS

PACKAGE = Path(evojax_prune.__file__).parent


def test_engines_are_auto_and_the_registered_paths() -> None:
    assert ("auto", *PATHS) == engine.ENGINES


@pytest.mark.parametrize("name", engine.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(engine, name).__doc__


@pytest.mark.slow
def test_names_of_engines_cost_nothing_and_training_needs_no_flax() -> None:
    program = (
        "import sys\n"
        "from evojax_prune.engine import ENGINES\n"
        "light = {'jax', 'optax'} & sys.modules.keys()\n"
        "from evojax_prune.engine import HeadTrainer, fit_population, optimizer_names\n"
        "print(sorted(light), 'flax' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[] False", done.stderr


def test_no_class_of_the_engine_has_the_name_of_another() -> None:
    homes = collections.defaultdict(list)
    for file in PACKAGE.rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(file.relative_to(PACKAGE).as_posix())
    twice = {
        name: files
        for name, files in homes.items()
        if len(files) > 1 and any(file.startswith("engine/") for file in files)
    }
    assert twice == {}
