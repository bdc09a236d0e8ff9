"""Every experiment is a command that says what it does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PROGRAM = """
import contextlib, io, runpy, sys
for name in sys.argv[1:]:
    said, sys.argv = io.StringIO(), [name, "--help"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(said):
        runpy.run_module(name, run_name="__main__")
    assert said.getvalue().startswith("usage: "), name
"""


@pytest.mark.slow
def test_every_experiment_says_what_it_does() -> None:
    """All in one process: some set up the environment when they are imported."""
    every = (ROOT / "experiments").rglob("*.py")
    marks = ("ArgumentParser(", "sys.exit(main())")  # either of them
    files = [file for file in every if any(mark in file.read_text() for mark in marks)]
    files = [file for file in files if 'if __name__ == "__main__"' in file.read_text()]
    assert len(files) > 10
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in sorted(files)]
    subprocess.run([sys.executable, "-c", PROGRAM, *names], check=True, cwd=ROOT)
