"""Signals and kills, to real processes: the exit status, the sentence, and equal numbers after."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_cases import SEARCH, saved
from PIL import Image
from rich.console import Console

from evojax_prune.cli import main as command
from evojax_prune.cli import signals
from evojax_prune.cli.progress import stage
from evojax_prune.report import writers

pytestmark = pytest.mark.usefixtures("as_at_a_terminal")

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
WAIT = 120
"""Seconds after which a process hangs."""

PROGRAM = """
import signal, sys, threading
moment, numbers = sys.argv[1], [int(n) for n in sys.argv[2].split(",")]
del sys.argv[1:3]

def ring():
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in numbers:
        signal.pthread_kill(threading.get_ident(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)  # and all of them are there at once

def at(owner, name, calls=1):
    real, left = getattr(owner, name), [calls]
    def called(*args, **more):
        left[0] -= 1
        if not left[0]:
            ring()
        return real(*args, **more)
    setattr(owner, name, called)

class Importing:
    def find_spec(self, name, *_):
        if name == {"imports": "pydantic", "JAX": "jax._src.core"}[moment]:
            try:
                ring()
            except KeyboardInterrupt:
                print("an exception in the middle of an import", file=sys.stderr)
                raise

if moment in ("imports", "JAX"):
    sys.meta_path.insert(0, Importing())
else:
    from evojax_prune.features import extract
    from evojax_prune.methods import problem, search
    from evojax_prune.report import writers
    at(*{
        "extraction": (extract, "_gathered"),
        "search": (search.Evaluator, "__call__", 3),
        "finals": (problem.Problem, "refit", 2),
        "writing": (writers, "_cell"),
    }[moment])
from evojax_prune.cli.signals import program
program()
"""

MOMENTS = ("imports", "extraction", "search", "finals", "writing")
TWICE = {"SIGHUP": "SIGINT", "SIGINT": "SIGTERM", "SIGTERM": "SIGTERM"}
"""The second signal; Python heeds those that wait in the order of their numbers."""

TABLE = [
    pytest.param(
        *(moment, name, twice),
        marks=[] if (moment, name, twice) == ("imports", "SIGHUP", False) else pytest.mark.slow,
    )
    for moment in MOMENTS
    for name in SIGNALS
    for twice in (False, True)
    if not (twice and name == "SIGTERM")
]


def numbers(folder: Path) -> dict[str, Any]:
    """All of a result that does not depend on the clock or on how often it was begun."""
    result = json.loads((folder / "result.json").read_text())
    assert {file.name for file in folder.iterdir()} == {*writers.ESSENTIAL, *writers.WRITERS}
    return {
        **{key: result[key] for key in ("best", "dense", "random", "finalists", "comparison")},
        "mask": (folder / "best_mask.npz").read_bytes(),
    }


def images(folder: Path) -> Path:
    """Two classes of little images, told apart by their colour."""
    rng = np.random.default_rng(0)
    for kind, colour in (("ant", (200, 60, 60)), ("bee", (60, 60, 200))):
        (folder / kind).mkdir(parents=True)
        for i in range(15):
            pixels = np.clip(rng.normal(colour, 40, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """Words that name the data: a table, or images where features are extracted."""
    folder = tmp_path_factory.mktemp("data")
    table, pictures = saved(folder / "t.npz"), images(folder / "images")
    return lambda moment: (
        ["--dataset", str(pictures), "--image-size", "32", *SEARCH]
        if moment == "extraction"
        else ["--dataset", str(table), *SEARCH]
    )


@pytest.fixture(scope="module")
def whole(
    data: Callable[[str], list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, Any]]:
    """The numbers of a run that nothing stops."""
    folder, known = tmp_path_factory.mktemp("whole"), {}

    def run(moment: str) -> dict[str, Any]:
        words = data(moment)
        if words[1] not in known:
            output = folder / str(len(known))
            assert command.main([*words, "--output", str(output)]) == 0
            known[words[1]] = numbers(output)
        return known[words[1]]

    return run


@pytest.mark.parametrize(("moment", "name", "twice"), TABLE)
def test_a_signal_ends_the_run_in_order(
    moment: str,
    name: str,
    twice: bool,
    data: Callable[[str], list[str]],
    whole: Callable[[str], dict[str, Any]],
    tmp_path: Path,
) -> None:
    sent = [getattr(signal, name), *([getattr(signal, TWICE[name])] if twice else [])]
    words = [*data(moment), "--output", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, moment, ",".join(str(int(n)) for n in sent), *words],
        capture_output=True,
        text=True,
        timeout=WAIT,
    )
    early = moment == "imports"  # where the first signal ends the process
    assert done.returncode == 128 + sent[0 if early else -1]
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    if not early and twice:
        assert last.startswith(f"stopped at once by {TWICE[name]}; to go on")
    else:
        assert last.startswith(f"stopped by {name}; to go on")
        kept = moment not in ("imports", "extraction")
        assert (f"--config {tmp_path}/run.partial/config.yaml" in last) == kept
    assert not (tmp_path / "run").exists()
    journal = tmp_path / "run.partial" / "state" / "journal.jsonl"
    assert journal.exists() == (moment in ("search", "finals", "writing"))
    if early:
        assert not list(tmp_path.iterdir())
        return
    assert command.main(words) == 0
    assert numbers(tmp_path / "run") == whole(moment)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


COMMANDS = {
    "predict": "predict {run} {here}/images",
    "export": "export {run} --format stablehlo --output {here}/head.bin",
    "sweep": "sweep {here}/sweep.yaml --output {here}/sweep",
    "a plugin": "--plugin {here}/plugin.py --dataset digits --output {here}/out",
    "several hosts": "--distributed --dataset digits --output {here}/out",
}
"""Each imports JAX at a place of its own."""


@pytest.mark.parametrize(
    ("command_line", "names"),
    [
        pytest.param(COMMANDS["a plugin"], ["SIGTERM"], id="a plugin, one signal"),
        *(
            pytest.param(words, SIGNALS, id=name, marks=pytest.mark.slow)
            for name, words in COMMANDS.items()
        ),
    ],
)
def test_a_signal_while_jax_is_imported_ends_every_command(
    command_line: str, names: Sequence[str], tmp_path: Path, cache_dir: Path
) -> None:
    """An exception there would crash the process, so even what waits for one is not to see it."""
    run = tmp_path / "run"
    if "{run}" in command_line:
        words = ["--dataset", str(images(tmp_path / "images")), "--image-size", "32", *SEARCH]
        assert command.main([*words, "--output", str(run)]) == 0
        shutil.rmtree(cache_dir)
    (tmp_path / "plugin.py").write_text("import jax\n")
    (tmp_path / "sweep.yaml").write_text("base: {dataset: digits}\ngrid: {seed: [0, 1]}\n")
    before = set(tmp_path.iterdir())
    words = command_line.format(run=run, here=tmp_path).split()
    for name in names:
        number = getattr(signal, name)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "JAX", str(int(number)), *words],
            capture_output=True,
            text=True,
            timeout=WAIT,
        )
        assert (done.returncode, done.stderr.count("\n")) == (128 + number, 1), done.stderr
        assert done.stderr.startswith(f"stopped by {name}; to go on")
    assert set(tmp_path.iterdir()) == before


def test_a_stop_that_is_lost_in_a_callback_comes_again() -> None:
    class Callback:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    @signals.stoppable()
    def run() -> None:
        Callback()
        time.sleep(5)

    with pytest.raises(signals.Stopped, match="SIGTERM"):
        run()


def test_a_stop_that_is_taken_for_a_failure_is_still_a_stop() -> None:
    @signals.stoppable()
    def run() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("cannot import") from None

    with pytest.raises(signals.Stopped, match="SIGINT"):
        run()


def test_a_stop_that_is_swallowed_comes_again_with_the_next_step() -> None:
    @signals.stoppable()
    def run() -> None:
        with stage(Console(quiet=True), "x", 2, "y") as shown:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGHUP)
            shown.advance(1)

    with pytest.raises(signals.Stopped, match="SIGHUP"):
        run()


def test_a_signal_that_is_ignored_stays_so_and_the_others_are_as_before() -> None:
    """``nohup`` ignores SIGHUP, so that a run outlives its terminal."""
    mine = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        with signals.stoppable():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGTERM) != mine[1]
        after = signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM)
        assert after == (signal.SIG_IGN, mine[1])
    finally:
        signal.signal(signal.SIGHUP, mine[0])


# --- kills ---------------------------------------------------------------------------------------

KILLS = 20
PHASES = ("extraction", "search", "finals", "writing")
LONGER = (
    *(*SEARCH, "--evaluations", "400", "--finalists", "4"),
    *("--strategy", "nsga2", "--init", "rankings"),  # the default, with all its phases
)


@pytest.mark.slow
def test_random_kills_lose_nothing(tmp_path: Path, cache_dir: Path) -> None:
    """Twenty SIGKILLs, five in each phase of a run, at moments that a seed chooses."""
    dice = random.Random(7)
    pictures = images(tmp_path / "images")
    words = ["--dataset", str(pictures), "--image-size", "64", *LONGER]
    assert command.main([*words, "--output", str(tmp_path / "whole")]) == 0
    expected = numbers(tmp_path / "whole")
    killed = dict.fromkeys(PHASES, 0)
    for _ in range(8 * KILLS):
        phase = min(PHASES, key=lambda phase: killed[phase])
        if killed[phase] == KILLS // len(PHASES):
            break
        if phase == "extraction":
            shutil.rmtree(cache_dir)
        output = tmp_path / f"run-{sum(killed.values()) // 8}"
        if output.exists():
            assert numbers(output) == expected
            shutil.rmtree(output)
        with (tmp_path / "err").open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "evojax_prune.run", *words, "--output", str(output)],
                stdout=subprocess.DEVNULL,
                stderr=err,
            )
        reached = _reached(phase, output, cache_dir, tmp_path / "err")
        while process.poll() is None and not reached():
            time.sleep(0.002)
        time.sleep(dice.uniform(0, {"extraction": 3, "search": 0.5, "finals": 0.3}.get(phase, 0.1)))
        process.kill()
        if process.wait(WAIT) == -signal.SIGKILL:
            killed[phase] += 1
        else:
            assert process.returncode == 0
    assert sum(killed.values()) == KILLS, killed
    for output in {tmp_path / f"run-{number}" for number in range(3)}:
        if not output.exists():
            assert command.main([*words, "--output", str(output)]) == 0
        assert numbers(output) == expected
    assert not list(tmp_path.glob("*.partial"))
    assert [file.suffix for file in cache_dir.glob("features-*")] == [".safetensors"]


def _reached(phase: str, output: Path, cache: Path, err: Path) -> Callable[[], bool]:
    """Whether a run has come to a phase, by what it has written."""
    partial = output.with_name(f"{output.name}.partial")
    journal = partial / "state" / "journal.jsonl"
    size = journal.stat().st_size if journal.exists() else 0
    return {
        "extraction": lambda: cache.exists(),
        "search": lambda: journal.exists() and journal.stat().st_size > max(size, 1000),
        "finals": lambda: "search: 400/400" in err.read_text(),
        "writing": lambda: "rankings: " in err.read_text().replace("rankings to start", ""),
    }[phase]
