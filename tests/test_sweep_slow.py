"""Sweeps under attack, and on the executors of others; minutes each, so run them with -m slow."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sweep_acting import nothing
from sweep_cases import contents, sweep_file

from evojax_prune.methods.observer import Observer
from evojax_prune.run.store import MARK
from evojax_prune.sweep.file import load_sweep
from evojax_prune.sweep.plan import SweepPlan, make_plan
from evojax_prune.sweep.run import run_sweep

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parent.parent

KILLS = 10

TWO_HUNDRED = """
variants:
  way:
    plain: {}
    guided: {init: sensitivity}
    front: {objectives: [cross-entropy, size], strategy: nsga2}
    steady: {strategy: steady-state}
    ranking: {method: sensitivity}
grid:
"""


def started(file: Path, out: Path, *words: str) -> subprocess.Popen[bytes]:
    """The command in a process group of its own."""
    command = [sys.executable, "-m", "evojax_prune", "sweep", str(file), "--output", str(out)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [*command, *words], env=environment, start_new_session=True, stderr=subprocess.DEVNULL
    )


def finished(out: Path) -> dict[str, int]:
    """Finished runs, and what tells their results from any that replaced them."""
    marks = [mark for mark in out.glob(f"runs/*/{MARK}") if mark.parent.suffix != ".partial"]
    return {mark.parent.name: mark.stat().st_ino for mark in marks}


def wait_until(true: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def group_is_gone(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return True
    return False


def killed(file: Path, out: Path, aim: int, pause: float) -> dict[str, int]:
    """Start a sweep and kill it when so many runs are finished; gives those that are."""
    process = started(file, out)
    wait_until(lambda: len(finished(out)) >= aim or process.poll() is not None)
    time.sleep(pause)
    assert process.poll() is None, "it ended before it could be killed"
    process.kill()
    process.wait()
    wait_until(lambda: group_is_gone(process.pid), 20)
    return finished(out)


def test_two_hundred_runs_killed_ten_times_at_random(tmp_path: Path) -> None:
    file = sweep_file(tmp_path, f"{TWO_HUNDRED}  seed: {list(range(40))}\n")
    text = file.read_text().replace("  population: 4\n  evaluations: 9\n  finalists: 2\n", "")
    searches = "population: 4, evaluations: 9, finalists: 2"
    for way in ("plain", "guided", "front", "steady"):
        text = text.replace(f"{way}: {{", f"{way}: {{{searches}, ").replace(", }", "}")
    file.write_text(text)
    out, whole = tmp_path / "killed", tmp_path / "whole"
    chance = random.Random(0)
    began = time.monotonic()
    known: dict[str, int] = {}
    for kill in range(KILLS):
        now = killed(file, out, 18 * kill + chance.randint(1, 17), chance.uniform(0, 0.7))
        assert known.items() <= now.items(), "a finished run was lost, or run twice"
        known = now
    assert started(file, out).wait() == 0
    took = time.monotonic() - began
    assert known.items() <= finished(out).items()

    began = time.monotonic()
    assert started(file, whole).wait() == 0
    print(f"\n200 runs: {time.monotonic() - began:.0f} s, and killed {KILLS} times {took:.0f} s")
    names = sorted(finished(whole))
    assert len(names) == 200
    assert sorted(finished(out)) == names
    assert not list(out.glob("runs/*.partial"))
    for name in names:
        assert contents(out / "runs" / name) == contents(whole / "runs" / name), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_and_the_same_command_goes_on(
    tmp_path: Path, number: int, as_at_a_terminal: None
) -> None:
    file = sweep_file(tmp_path, f"grid: {{seed: {list(range(12))}}}\n")
    out = tmp_path / "out"
    process = started(file, out)
    wait_until(lambda: len(finished(out)) >= 2)
    os.kill(process.pid, number)
    assert process.wait(20) == 128 + number
    wait_until(lambda: group_is_gone(process.pid), 20)
    known = finished(out)
    assert 2 <= len(known) < 12
    assert started(file, out).wait() == 0
    assert known.items() <= finished(out).items()
    assert len(finished(out)) == 12


def test_a_job_array_of_submitit(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    file = sweep_file(tmp_path, "grid: {seed: [0, 1, 2, 3, 4]}\n")
    out, local = tmp_path / "array", tmp_path / "local"
    words = ["--executor", "slurm", "--workers", "2", "--slurm", "cluster=local"]
    assert started(file, out, *words).wait() == 0
    assert started(file, local).wait() == 0
    assert finished(out).keys() == finished(local).keys()
    for name in finished(local):
        assert contents(out / "runs" / name) == contents(local / "runs" / name)


def test_the_script_of_a_job_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``sbatch`` would be given, by an ``sbatch`` that keeps it and refuses."""
    pytest.importorskip("submitit")
    from evojax_prune.core.errors import UserError
    from evojax_prune.sweep.on_slurm import SlurmExecutor

    (tmp_path / "bin").mkdir()
    for name in ("sbatch", "srun"):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/script.sh\necho refused >&2\nexit 1\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    plan = make_plan(
        load_sweep(sweep_file(tmp_path, "grid: {seed: [0, 1, 2]}\n")), tmp_path / "out", "small"
    )
    (tmp_path / "out").mkdir()
    options = ["partition=short", "time=30", "account=me"]
    executor = SlurmExecutor(nothing, 2, tmp_path / "out", options, cpus=4, gpus=1)
    with executor, pytest.raises(UserError, match="the job array cannot be submitted"):
        list(executor.run(plan.tasks))
    script = (tmp_path / "script.sh").read_text()
    for line in (
        "#SBATCH --array=0-1%2",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --partition=short",
        "#SBATCH --time=30",
        "#SBATCH --account=me",
    ):
        assert line in script, script


class Watching(Observer):
    """Kills a node of a cluster when some runs are finished, and both nodes are at work."""

    def __init__(self, plan: SweepPlan, kill: Callable[[], None]):
        self.killed = threading.Event()
        threading.Thread(target=self._watch, args=(plan, kill), daemon=True).start()

    def _watch(self, plan: SweepPlan, kill: Callable[[], None]) -> None:
        wait_until(lambda: sum(task.finished for task in plan.tasks) >= 6)
        runs = plan.tasks[0].folder.parent
        wait_until(lambda: len(list(runs.glob("*.partial/**/journal.jsonl"))) == 2)
        kill()
        self.killed.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # JAX's, of forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # Ray's own
def test_a_ray_cluster_of_two_nodes_of_which_one_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    from evojax_prune.sweep.on_ray import RayExecutor

    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{REPOSITORY / 'tests'}")
    # Long enough to be seen at work.
    file = sweep_file(tmp_path, f"grid: {{seed: {list(range(24))}, evaluations: [400]}}\n")
    plan = make_plan(load_sweep(file), tmp_path / "out", "small")
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    try:
        executor = RayExecutor(nothing, address=cluster.address)
        kill = Watching(plan, lambda: cluster.remove_node(nodes[0], allow_graceful=False))
        outcome = run_sweep(plan, "# the file", executor, kill)
        assert kill.killed.is_set()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert outcome.failed == {}
    assert all(task.finished for task in plan.tasks)
    twice = [name for name, count in outcome.attempts.items() if count > 1]
    print(f"\n24 runs on two nodes, one killed: begun twice {twice}")
    assert len(twice) == 1
    local = tmp_path / "local"
    assert started(file, local).wait() == 0
    for task in plan.tasks:
        assert contents(task.folder) == contents(local / "runs" / task.name)
