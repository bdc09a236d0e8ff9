"""The shape of the package, read from its imports: one way down, no circles, nothing too long."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "evojax_prune"

ROOMS = (
    ("core",),
    ("data",),
    ("features",),
    ("engine",),
    ("search", "sensitivity", "analysis"),
    ("objectives", "baselines"),
    ("methods",),
    ("report",),
    ("deploy",),
    ("run",),
    ("sklearn", "sweep"),
    ("cli",),
)
"""From the bottom to the top; rooms of one level do not import one another."""

RANK = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}

FREE = {"version"}
"""Modules that anything may import."""

ENTRY_POINTS = {"__init__", "__main__", "run.__main__"}
"""They only forward: to the public names, or to the command line."""

LONGEST_FILE = 400
LONGEST_FUNCTION = 60


def modules() -> Iterator[tuple[str, Path]]:
    """Name below the package, and file, of every module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        yield name, path


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports(path: Path) -> list[tuple[int, str]]:
    """Line, and name below the package, of every import; those for types only are left out."""
    tree = parsed(path)
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("evojax_prune"):
            base = (node.module or "").split(".")[1:]
            found += [(node.lineno, ".".join([*base, alias.name])) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [
                (node.lineno, alias.name.removeprefix("evojax_prune."))
                for alias in node.names
                if alias.name.startswith("evojax_prune.")
            ]
    return found


def room(name: str) -> str:
    """The room of a module."""
    return name.split(".")[0]


def upward(name: str, path: Path) -> list[str]:
    """The imports of a module that do not run down."""
    if name in ENTRY_POINTS:
        return []
    own = room(name)
    return [
        f"{path.relative_to(ROOT)}:{line} imports evojax_prune.{target}"
        for line, target in imports(path)
        if room(target) not in FREE
        and room(target) != own
        and RANK.get(room(target), len(ROOMS)) >= RANK[own]
    ]


def test_every_module_is_in_a_room() -> None:
    strange = {room(name) for name, _ in modules()} - RANK.keys() - FREE - {"__init__", "__main__"}
    assert not strange, f"name the level of {strange} in ROOMS"


def test_imports_run_down() -> None:
    found = [line for name, path in modules() if room(name) in RANK for line in upward(name, path)]
    assert not found, "\n".join(found)


def test_an_upward_import_is_found(tmp_path: Path) -> None:
    for text in ("from evojax_prune.cli import flags", "import evojax_prune.methods.search"):
        file = tmp_path / f"bad_{len(text)}.py"
        file.write_text(f"def f():\n    {text}\n")
        assert [line for line, target in imports(file) if RANK[room(target)] > RANK["core"]] == [2]


def test_no_circles() -> None:
    """Modules that import one another at their top level; those inside functions may wait."""
    known = dict(modules())
    edges = {name: _top_level(path, known) for name, path in known.items()}
    state: dict[str, int] = {}

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert state.get(name) != 1, " -> ".join([*way[way.index(name) :], name])
        if state.get(name) == 2:
            return
        state[name] = 1
        for target in edges[name]:
            visit(target, (*way, name))
        state[name] = 2

    for name in edges:
        visit(name, ())


def _top_level(path: Path, known: dict[str, Path]) -> set[str]:
    tree = parsed(path)
    deferred = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    lines = {node.lineno for node in deferred if isinstance(node, ast.Import | ast.ImportFrom)}
    found = set()
    for line, target in imports(path):
        if line in lines:
            continue
        parts = target.split(".")
        names = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
        found |= names & known.keys()
    return found


@pytest.mark.parametrize("folder", ["evojax_prune", "experiments", "tests"])
def test_nothing_is_too_long(folder: str) -> None:
    long = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if (count := len(text.splitlines())) > LONGEST_FILE:
            long.append(f"{path.relative_to(ROOT)}: {count} lines")
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or 0) - node.lineno + 1 - _docstring(node)
                if count > LONGEST_FUNCTION:
                    long.append(f"{path.relative_to(ROOT)}: {node.name} has {count} lines")
    assert not long, "\n".join(long)


def _docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return (first.end_lineno or 0) - first.lineno + 1 if text else 0
