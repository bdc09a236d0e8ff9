"""Several hosts: host 0 runs the program, the others train their share of every population."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from engine_cases import make_head, make_masks, make_splits, way

from evojax_prune.cli import distributed
from evojax_prune.cli.main import main
from evojax_prune.core.errors import HostLostError, UserError
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine import api, fit_population, hosts
from evojax_prune.engine.xla import path

# The command line as an accelerator would have it: members side by side, and no native kernel.
PROGRAM = """
import sys
from evojax_prune.cli.signals import program
from evojax_prune.engine.native.path import NativePath
from evojax_prune.engine.xla import path
NativePath.at_home = lambda self: False
path.placements = lambda wanted: [True]
path.BLOCKS = (1,)
program()
"""

FLAGS = [
    "--mode", "features", "--hidden", "8", "--population", "8", "--finalists", "2",
    "--evaluations", "60", "--search-protocol.epochs", "3", "--final-protocol.epochs", "4",
]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    y = np.arange(90, dtype=np.int32) % 3
    x = rng.normal(size=(90, 12)).astype(np.float32)
    x[:, :3] += 2 * np.eye(3, dtype=np.float32)[y]
    np.savez(tmp_path / "small.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    return tmp_path / "small.npz"


def start(data: Path, output: Path, devices: int, **variables: str) -> subprocess.Popen[str]:
    words = ["--dataset", str(data), "--output", str(output), *FLAGS]
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        **variables,
    }
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def start_two(data: Path, output: Path) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    team = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    return [start(data, output, 4, **team, JAX_PROCESS_ID=str(rank)) for rank in range(2)]


def figures(output: Path) -> tuple[list[dict[str, str]], dict[str, object]]:
    lines = (output / "evaluations.csv").read_text(encoding="utf-8").splitlines()
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(lines)]
    return rows, json.loads((output / "result.json").read_text(encoding="utf-8"))["best"]


@pytest.mark.slow
def test_two_hosts_find_what_one_finds_and_a_lost_one_is_told_of(
    data: Path, tmp_path: Path
) -> None:
    one, two, lost = (tmp_path / name for name in ("one", "two", "lost"))
    alone = start(data, one, 8)
    said = alone.communicate(timeout=600)[1]
    assert alone.returncode == 0, said
    for output, killed in ((lost, True), (lost, False), (two, False)):
        leader, other = start_two(data, output)
        if killed:
            journal = output.with_name("lost.partial") / "state" / "journal.jsonl"
            while not (journal.exists() and journal.read_bytes().count(b"\n") > 2):
                time.sleep(0.05)
            other.send_signal(signal.SIGKILL)
            other.communicate()
            said = leader.communicate(timeout=600)[1]
            assert leader.returncode == 3
            assert "stopped: host 1 of 2 is gone" in said
            assert "Traceback" not in said
            assert not output.exists()
            kept = journal.read_bytes()
        else:
            outputs = [process.communicate(timeout=600) for process in (leader, other)]
            assert [leader.returncode, other.returncode] == [0, 0], outputs
            assert "dense head" not in "".join(outputs[1]), "host 1 is silent"
            assert figures(output) == figures(one)
    assert kept.count(b"\n") > 2


class Network:
    """Messages of host 0, for another host to read afterwards."""

    def __init__(self) -> None:
        self.sent: list[object] = []

    def __call__(self, message: object) -> list[object]:
        self.sent.append(message)
        return [message, {}]

    def read(self, message: object) -> list[object]:
        if message is not None:  # a share of the fits
            self.sent.append(message)
            return [{}, message]
        if not self.sent or isinstance(self.sent[0], dict):
            raise hosts._EndedError
        return [self.sent.pop(0), None]


@pytest.mark.parametrize("words", ["auto", "xla dual side-by-side"])
def test_what_one_host_announces_another_trains(
    words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path, "BLOCKS", (1,))
    splits = make_splits()
    head = make_head("both", splits)
    call = (make_masks(head, "both")[[0, 1, 2]], splits, Protocol(epochs=2, learning_rate=1e-2))
    whole = fit_population(*call, head=head, **way(words))

    network, parts = Network(), []
    monkeypatch.setattr(hosts._team, "leads", True)
    monkeypatch.setattr(hosts, "exchange", network)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(KeyError):  # host 1 has sent nothing
        fit_population(*call, head=head, **way(words))
    new, alive, job = network.sent[0]
    assert set(new) == alive == set(job.splits)
    parts.append(network.sent.pop())

    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(hosts, "exchange", network.read)
    hosts.serve(api.train_share)
    (other,) = network.sent
    fits = parts[0] | other
    assert sorted(fits) == [(0, row) for row in range(3)]
    np.testing.assert_allclose([fits[0, row].loss for row in range(3)], whole.loss, rtol=1e-6)


def test_splits_are_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    team = hosts._Team()
    first, second = make_splits(), make_splits(seed=1)
    assert not team.knows(first)
    assert team.token(first) != team.token(second)
    assert team.knows(first)
    assert team.alive() == {1, 2}
    del first
    assert team.alive() == {2}


@pytest.mark.parametrize("members", [1, 2, 5, 8])
def test_every_host_has_as_many_members(members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    shares = []
    for host in range(3):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        shares.append(hosts.own_share(members))
    assert {len(share) for share in shares} == {-(-members // 3)}
    assert {row for share in shares for row in share} == set(range(members))


@pytest.mark.parametrize(
    ("words", "variables", "expected"),
    [
        (["--distributed"], {}, True),
        ([], {}, False),
        ([], {"SLURM_STEP_NUM_TASKS": "2"}, True),
        ([], {"SLURM_STEP_NUM_TASKS": "1"}, False),
        ([], {"SLURM_STEP_NUM_TASKS": "many"}, False),
        (["--no-distributed"], {"OMPI_COMM_WORLD_SIZE": "4"}, False),
        ([], {"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ([], {"TPU_WORKER_HOSTNAMES": "localhost"}, False),
    ],
)
def test_who_is_one_of_several(
    words: list[str],
    variables: dict[str, str],
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in distributed.SEVERAL:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distributed.asked(words) == expected


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (("nowhere", "2", "0"), "JAX_COORDINATOR_ADDRESS is 'nowhere', expected host:port"),
        (("a:b", "2", "0"), "JAX_COORDINATOR_ADDRESS is 'a:b', expected host:port"),
        (("a:1", "abc", "0"), "JAX_NUM_PROCESSES is 'abc', expected a whole number"),
        (("a:1", "2", "-1"), "JAX_PROCESS_ID is '-1', expected a whole number"),
        (("a:1", "2", "7"), "JAX_PROCESS_ID is 7, expected 0 to 1, as JAX_NUM_PROCESSES is 2"),
    ],
)
def test_variables_that_say_nothing_are_named(
    variables: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in zip(hosts.BY_HAND, variables, strict=True):
        monkeypatch.setenv(name, value)
    assert main(["--distributed", "--dataset", "digits"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {said}")


def test_processes_that_do_not_come_are_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    come = threading.Event()
    monkeypatch.setattr(hosts, "PATIENCE", 0.3)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: come.wait(10))
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert main(["--dataset", "digits"]) == 2
    come.set()
    waiting, error = capsys.readouterr().err.splitlines()
    assert waiting.startswith("waiting at most 0.3 s for the other processes of the run (SLURM_")
    assert error.startswith("error: not all processes of this run have come within 0.3 s: start")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (HostLostError("host 1 of 2 is gone"), 3, "stopped: host 1 of 2 is gone"),
        (UserError("host 1 of 2 stopped: no memory"), 2, "error: host 1 of 2 stopped: no memory"),
    ],
)
def test_what_happened_to_another_host_is_a_sentence(
    error: UserError,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def led(run: object) -> None:
        raise error

    monkeypatch.setattr(distributed, "led", led)
    assert main(["--distributed", "--dataset", "digits"]) == status
    assert capsys.readouterr().err == f"{said}\n"
