"""Runs are followed by trackers, through their own clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evojax_prune.cli import main as command
from evojax_prune.core.errors import UserError
from evojax_prune.methods.observer import Observer
from evojax_prune.report.result import Result
from evojax_prune.run import trackers
from evojax_prune.run.config import RunConfig
from evojax_prune.run.trackers import TRACKERS, TrackedRun, Tracker, tracked
from evojax_prune.search import GenerationInfo

QUICK = (
    *("--hidden", "8", "--population", "4", "--evaluations", "12", "--finalists", "2"),
    *("--search-protocol.epochs", "1", "--final-protocol.epochs", "3"),
)
PROBLEM: Any = types.SimpleNamespace(name="data")
FOLDER = Path("runs/here")


class Told(Tracker):
    """Remembers what it is told; fails where it is asked to."""

    def __init__(self, run: TrackedRun, failing: str = "") -> None:
        self.run, self.failing, self.said = run, failing, list[Any]()
        self._tell("start")

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._tell("log", step, dict(figures))

    def close(self, failed: bool) -> None:
        self._tell("close", failed)

    def _tell(self, what: str, *more: Any) -> None:
        if what == self.failing:
            raise OSError(f"{what} does not work")
        self.said.append((what, *more))


@pytest.fixture
def told() -> Iterator[dict[str, Told]]:
    """Trackers by name, and a registry of their own."""
    made: dict[str, Told] = {}

    def maker(name: str, failing: str):
        def make(run: TrackedRun) -> Told:
            made[name] = Told(run, failing)
            return made[name]

        return make

    before = dict(TRACKERS)
    for name, failing in (("good", ""), ("mute", "log"), ("late", "close"), ("bad", "start")):
        TRACKERS[name] = maker(name, failing)
    yield made
    TRACKERS.clear()
    TRACKERS.update(before)


def generation(number: int, best: float = 0.5) -> GenerationInfo:
    leaders = np.array([[best]])
    return GenerationInfo(number, 10 * number, 0, leaders, np.array([0.2]), leaders[0], 0.4, False)


def test_a_generation_is_told_to_every_tracker(told: dict[str, Told]) -> None:
    seen: list[int] = []

    class Mine(Observer):
        def on_generation(self, info: GenerationInfo) -> None:
            seen.append(info.generation)

    with tracked(RunConfig(track=("good",)), PROBLEM, Mine(), FOLDER) as observer:
        observer.on_generation(generation(3))
        observer.on_generation(generation(4, float("nan")))
    assert told["good"].run.name == "here"
    assert told["good"].run.home == Path("runs")
    assert told["good"].run.settings["dataset"] == "digits"
    start, third, fourth, end = told["good"].said
    assert third == (
        "log",
        3,
        {
            "search/best": 0.5,
            "search/best_active_fraction": 0.2,
            "search/mean": 0.5,
            "search/mean_active_fraction": 0.4,
            "search/evaluations": 30.0,
        },
    )
    assert "search/best" not in fourth[2]
    assert (start, end) == (("start",), ("close", False))
    assert seen == [3, 4]


def test_a_tracker_that_fails_does_not_cost_the_run(
    told: dict[str, Told], caplog: pytest.LogCaptureFixture
) -> None:
    config = RunConfig(track=("mute", "late", "good"))
    with tracked(config, PROBLEM, Observer(), None) as observer:
        for number in (0, 1):
            observer.on_generation(generation(number))
    assert [what for what, *_ in told["good"].said] == ["start", "log", "log", "close"]
    assert told["mute"].said == [("start",)]
    assert told["good"].run.name.startswith("data-")
    assert caplog.messages == [
        f"{name} fails (OSError: {what} does not work), so the run goes on without it"
        for name, what in (("mute", "log"), ("late", "close"))
    ]


def test_a_run_that_fails_is_said_to_have_failed(told: dict[str, Told]) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        tracked(RunConfig(track=("good",)), PROBLEM, Observer(), FOLDER),
    ):
        raise KeyboardInterrupt
    assert told["good"].said[-1] == ("close", True)


def test_a_tracker_that_does_not_start(told: dict[str, Told]) -> None:
    with (
        pytest.raises(UserError, match=r"--track bad does not start \(OSError: start does not"),
        tracked(RunConfig(track=("good", "bad")), PROBLEM, Observer(), FOLDER),
    ):
        pytest.fail("the run began")
    assert told["good"].said[-1] == ("close", True)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_client_is_a_sentence(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda client: None)
    output = tmp_path / "run"
    assert command.main(["--dataset", "digits", "--track", name, "--output", str(output)]) == 2
    assert f"pip install 'evojax-prune[{name}]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_unknown_tracker(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--track", "tensorbord"]) == 2
    assert "did you mean 'tensorboard'" in capsys.readouterr().err


@pytest.mark.slow
def test_no_client_is_imported_for_help() -> None:
    code = (
        "import sys\nfrom evojax_prune.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'tensorboardX', 'mlflow', 'wandb', 'jax'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(size=(90, 12)) + np.eye(3, 12)[y]
    np.savez(tmp_path / "table.npz", x_train=x, y_train=y)
    return tmp_path / "table.npz"


def run(table: Path, name: str, **environment: str) -> Result:
    """The main command in a process of its own, in the test's folder."""
    output = table.parent / "runs" / "one"
    words = ["--dataset", str(table), "--output", str(output), "--track", name, *QUICK]
    done = subprocess.run(
        [sys.executable, "-m", "evojax_prune", *words],
        cwd=table.parent,
        env={**os.environ, "PYTHONPATH": str(Path(trackers.__file__).parents[2]), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return Result.model_validate_json((output / "result.json").read_text())


def records(file: Path) -> Iterator[bytes]:
    """Of a TFRecord file: length, its checksum, data, their checksum."""
    content = file.read_bytes()
    while content:
        length = int.from_bytes(content[:8], "little")
        yield content[12 : 12 + length]
        content = content[16 + length :]


@pytest.mark.slow
@pytest.mark.usefixtures("pictures")
def test_tensorboard(table: Path) -> None:
    pytest.importorskip("tensorboardX", reason="the extra 'tensorboard' is not installed")
    from tensorboardX.proto.event_pb2 import Event

    output = table.parent / "runs" / "one"
    words = ["--dataset", str(table), "--output", str(output), "--track", "tensorboard", *QUICK]
    assert command.main(words) == 0
    result = Result.model_validate_json((output / "result.json").read_text())
    (file,) = (table.parent / "runs" / "tensorboard" / "one").iterdir()
    values: dict[str, dict[int, Any]] = {}
    for record in records(file):
        event = Event.FromString(record)
        for value in event.summary.value:
            values.setdefault(value.tag, {})[event.step] = value
    steps = values["search/best"]
    assert sorted(steps) == list(range(len(steps)))
    last = values["search/evaluations"][len(steps) - 1]
    assert last.simple_value == result.search.evaluations
    accuracy = values["result/best/test_accuracy"][0].simple_value
    assert accuracy == pytest.approx(result.best.test_accuracy)
    assert {"front", "convergence"} <= values.keys()
    assert not [name for name in values if "recall" in name]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the client's own
def test_mlflow(table: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra 'mlflow' is not installed")
    pytest.importorskip("sqlalchemy", reason="the extra 'mlflow' is not installed")
    uri = f"sqlite:///{table.parent / 'mlflow.db'}"
    result = run(table, "mlflow", MLFLOW_TRACKING_URI=uri)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("evojax_prune")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["final_protocol.epochs"] == "3"
    assert found.data.metrics["result/best/test_accuracy"] == result.best.test_accuracy
    history = client.get_metric_history(found.info.run_id, "search/evaluations")
    assert max(metric.value for metric in history) == result.search.evaluations
    assert "result.json" in {file.path for file in client.list_artifacts(found.info.run_id)}


@pytest.mark.slow
def test_wandb_offline(table: Path) -> None:
    pytest.importorskip("wandb", reason="the extra 'wandb' is not installed")
    run(table, "wandb", WANDB_DIR=str(table.parent), WANDB_CACHE_DIR=str(table.parent / "cache"))
    (folder,) = (table.parent / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    content = file.read_bytes()
    for name in (b"search/best", b"result/best/test_accuracy", b"head.safetensors"):
        assert name in content
    assert json.loads((table.parent / "runs" / "one" / "result.json").read_text())
