"""What surrounds a run: permissions, the platform that JAX is to use, the locale."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hostile_cases import DENSE, saved
from plugin_cases import own_registries
from test_signals import images

from evojax_prune.cli import main as command
from evojax_prune.features import register_backbone

CAPABILITIES_VERSION = 0x20080522
OVERRIDING = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root's right to pass over permissions."""


@contextlib.contextmanager
def as_a_user() -> Iterator[None]:
    """Permissions count in this thread, whoever runs the tests."""
    if sys.platform != "linux" or os.geteuid() != 0:
        yield
        return
    libc, header = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION, 0)
    held = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, and their upper halves
    assert libc.capget(header, held) == 0
    before = held[0]
    held[0] &= ~OVERRIDING
    assert libc.capset(header, held) == 0
    try:
        yield
    finally:
        held[0] = before
        assert libc.capset(header, held) == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose classes have names that are not ASCII."""
    folder = tmp_path_factory.mktemp("finished")
    table = saved(folder / "t.npz", classes=np.array(["猫", "hôte", "x"]))
    words = ["--dataset", str(table), "--output", str(folder / "run"), *DENSE]
    assert command.main(words) == 0
    return folder / "run"


@pytest.fixture
def pictured(tmp_path: Path) -> Iterator[list[str]]:
    """Words of a run on images, whose backbone takes no time to compile."""
    with own_registries():
        corners = {"image_size": 8, "version": "1"}
        register_backbone("corners", lambda b: b[:, ::7, ::7].reshape(len(b), 12), **corners)
        yield ["--dataset", str(images(tmp_path / "images")), "--backbone", "corners", *DENSE]


# --- permissions ---------------------------------------------------------------------------------

PLACES: dict[str, str] = {
    "--dataset {t} --output {read_only}/run": "cannot write in {read_only}: permission is denied",
    "--dataset {t} --output {closed}/run": "cannot use --output {closed}/run: permission is denied",
    "--dataset {unreadable}.npz": "cannot read {unreadable}.npz: Permission denied",
    "--dataset {closed}": "cannot read the image folder {closed}: Permission denied",
    "--dataset {closed}/t.npz": "cannot use {closed}/t.npz: Permission denied",
    "--config {unreadable}": "cannot read the configuration {unreadable}: Permission denied",
    "--config {closed}/c.yaml": "cannot read the configuration {closed}/c.yaml: Permission denied",
    "--dataset {t} --plugin {unreadable}.py": "cannot be imported (PermissionError",
    "--dataset {t} --plugin {closed}/p.py": "cannot use {closed}/p.py: Permission denied",
    "--dataset x --data-dir {closed}": "Permission denied",
    "predict {run} {unreadable}.npz": "cannot read {unreadable}.npz: Permission denied",
    "predict {unreadable} {t}": "cannot read {unreadable}: Permission denied",
    "predict {closed}/run {t}": "cannot use {closed}/run: Permission denied",
    "predict {run} {t} --output {read_only}/x.csv": "{read_only}/x.csv: permission is denied",
    "export {run} --format safetensors --output {closed}/x": "{closed}/x: permission is denied",
    "sweep {unreadable}": "cannot read the sweep file {unreadable}: Permission denied",
    "sweep {sweep} --output {read_only}/x": "the folder {read_only}/x: permission is denied",
    "sweep {sweep} --output {closed}/x": "Permission denied",
}
"""Command lines, and what each has to say."""


@pytest.mark.skipif(os.name != "posix", reason="there are no modes of files")
@pytest.mark.parametrize("words", PLACES)
def test_what_may_not_be_used_is_a_sentence(
    words: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "read_only").mkdir(0o555)
    (tmp_path / "closed").mkdir(0)
    for name in ("unreadable", "unreadable.py", "unreadable.npz"):
        (tmp_path / name).touch(0)
    table = saved(tmp_path / "t.npz")
    (tmp_path / "sweep").write_text(f"base: {{dataset: {table}, hidden: [4]}}\ngrid: {{seed: [0]}}")
    places = {name: tmp_path / name for name in ("read_only", "closed", "unreadable", "sweep")}
    places |= {"t": table, "run": finished}
    with as_a_user():
        assert command.main(words.format(**places).split()) == 2
    err = capsys.readouterr().err
    assert PLACES[words].format(**places) in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.skipif(os.name != "posix", reason="there are no modes of files")
@pytest.mark.parametrize("mode", [pytest.param(0o555, marks=pytest.mark.slow), 0])
def test_a_cache_that_may_not_be_used_costs_a_notice(
    mode: int,
    pictured: list[str],
    tmp_path: Path,
    cache_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cache_dir.chmod(mode)
    with as_a_user():
        assert command.main([*pictured, "--output", str(tmp_path / "run")]) == 0
    assert "features are not cached, so the next run" in capsys.readouterr().err
    cache_dir.chmod(0o755)
    assert not list(cache_dir.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="there are no modes of files")
def test_cached_features_that_may_not_be_read_are_made_again(
    pictured: list[str], tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*pictured, "--output", str(tmp_path / "run")]) == 0
    (entry,) = cache_dir.glob("features-*.safetensors")
    entry.chmod(0)
    with as_a_user():
        assert command.main([*pictured, "--output", str(tmp_path / "again")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "are not used, but computed again: [Errno 13] Permission denied" in said
    assert entry.stat().st_mode & 0o777


# --- the platform, and the locale ----------------------------------------------------------------


def run(words: list[str], **variables: str) -> subprocess.CompletedProcess[bytes]:
    """A process of its own, with some environment variables."""
    command_line = [sys.executable, "-m", "evojax_prune", *words]
    return subprocess.run(
        command_line, env={**os.environ, **variables}, capture_output=True, timeout=120
    )


@pytest.mark.slow
@pytest.mark.parametrize("platforms", ["abacus", "abacus,cpu"])
def test_an_unknown_platform_is_a_sentence(platforms: str, tmp_path: Path) -> None:
    table = saved(tmp_path / "t.npz")
    words = ["--dataset", str(table), "--output", str(tmp_path / "run"), *DENSE]
    done = run([*words, "--engine", "xla"], JAX_PLATFORMS=platforms)
    last = done.stderr.decode().splitlines()[-1]
    assert done.returncode == 2
    assert last.startswith("error: JAX does not start: ")
    assert "abacus" in last
    assert b"Traceback" not in done.stderr
    assert not list(tmp_path.glob("run*"))


BROKEN = {"JAX_PLATFORMS": "cuda", "JAX_ENABLE_X64": "maybe", "JAX_NUM_CPU_DEVICES": "abc"}
"""A platform without a device, and values that JAX does not take."""


@pytest.mark.slow
@pytest.mark.parametrize("variable", BROKEN)
def test_what_jax_does_not_take_is_a_sentence(variable: str, tmp_path: Path) -> None:
    table = saved(tmp_path / "t.npz")
    words = ["--dataset", str(table), "--output", str(tmp_path / "run"), *DENSE, "--engine", "xla"]
    done = run(words, **{variable: BROKEN[variable]})
    last = done.stderr.decode().splitlines()[-1]
    assert done.returncode == 2
    assert last.startswith("error: JAX ")
    assert variable.lower() in last.lower()
    assert b"Traceback" not in done.stderr
    assert not list(tmp_path.glob("run*"))


@pytest.mark.slow
def test_a_notebook_s_way_to_draw_need_not_be_installed(tmp_path: Path) -> None:
    table = saved(tmp_path / "t.npz")
    words = ["--dataset", str(table), "--output", str(tmp_path / "run"), *DENSE]
    done = run(words, MPLBACKEND="module://nobody.has.this")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").exists()


LOCALES = {
    "ASCII": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "POSIX": {"LC_ALL": "POSIX"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
}


@pytest.mark.slow
@pytest.mark.parametrize("locale", LOCALES)
def test_a_locale_without_the_characters_costs_nothing(
    locale: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = saved(tmp_path / "rows.npz", x_train=None, y_train=None, x=np.ones((3, 12), np.float32))
    words = ["predict", str(finished), str(rows)]
    done = run(words, **LOCALES[locale])
    assert command.main(words) == 0
    assert (done.returncode, done.stdout.decode()) == (0, capsys.readouterr().out)
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_a_run_in_the_locale_c_is_that_of_any_other(finished: Path, tmp_path: Path) -> None:
    words = ["--dataset", str(finished.parent / "t.npz"), "--output", str(tmp_path / "run"), *DENSE]
    done = run(words, **LOCALES["ASCII"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert b"dense" in done.stdout
    for name in ("best_mask.npz", "head.safetensors", "front.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.slow
def test_a_home_that_cannot_be_written_is_not_complained_of(finished: Path, tmp_path: Path) -> None:
    table = finished.parent / "t.npz"
    words = ["--dataset", str(table), "--output", str(tmp_path / "run"), *DENSE]
    done = run(words, HOME=str(table), MPLCONFIGDIR="")
    assert done.returncode == 0, done.stderr
    assert b"atplotlib" not in done.stderr
    assert (tmp_path / "run" / "convergence.png").exists()
