"""Experiment trackers that follow a run (``--track``), each through its own client.

A tracker is an observer that keeps the figures of every generation, and at the end those of the
result and its files. Clients are imported only when they are asked for. One of your own is a
subclass of :class:`Tracker`, registered by one line::

    from evojax_prune.run.trackers import TRACKERS, Tracker

    TRACKERS["mine"] = Mine
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evojax_prune.core.errors import UserError, described, plugin_error, show_traceback
from evojax_prune.core.options import suggestion
from evojax_prune.methods.observer import Observer, Stage

if TYPE_CHECKING:
    from evojax_prune.methods.problem import Problem
    from evojax_prune.report.pruned import Pruned
    from evojax_prune.report.result import Result
    from evojax_prune.run.config import RunConfig
    from evojax_prune.search import GenerationInfo

log = logging.getLogger("evojax_prune")

PROJECT = "evojax_prune"
"""Project or experiment that runs are kept under, where the client's settings name none."""


@dataclasses.dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told before a run begins.

    Attributes:
        name: of the run.
        home: folder for trackers that write local files; it may not exist yet.
        settings: the run's settings, as plain data.
    """

    name: str
    home: Path
    settings: dict[str, Any]


class Tracker(Observer):
    """Keeps the figures of one run; made with a :class:`TrackedRun`.

    Attributes:
        client: package that it needs, as it is imported; it is asked for before the run begins.
    """

    client: str | None = None

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Keep finite figures, named as in ``search/best``, of a generation."""
        raise NotImplementedError

    def finish(self, figures: Mapping[str, float], files: Iterable[Path], text: str) -> None:
        """Keep what came out.

        Args:
            figures: finite ones, named as in ``result/best/test_accuracy``.
            files: of the result; none where nothing was written.
            text: the result in a sentence.
        """
        raise NotImplementedError

    def close(self, failed: bool) -> None:
        """The run is over; ``failed``: by an error, or it was stopped."""

    def on_generation(self, info: GenerationInfo) -> None:
        """See :class:`Observer`."""
        told = {
            "best": info.best_fitness,
            "best_active_fraction": info.best_active_fraction,
            "mean": info.mean_fitness,
            "mean_active_fraction": info.mean_active_fraction,
            "evaluations": info.evaluations,
        }
        self.log(_finite("search", told), info.generation)

    def on_result(self, pruned: Pruned, folder: Path | None) -> None:
        """See :class:`Observer`."""
        files = () if folder is None else sorted(p for p in folder.iterdir() if p.is_file())
        self.finish(result_figures(pruned.result), files, pruned.result.comparison.sentence)


class TensorBoard(Tracker):
    """Event files below ``tensorboard/`` beside the output folder, by tensorboardX."""

    client = "tensorboardX"

    def __init__(self, run: TrackedRun) -> None:
        import yaml
        from tensorboardX import SummaryWriter

        # A run that goes on tells of its earlier generations again: they replace the old ones.
        self._writer = SummaryWriter(str(run.home / "tensorboard" / run.name), purge_step=0)
        self._writer.add_text("settings", f"```yaml\n{yaml.safe_dump(run.settings)}```")

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """See :class:`Tracker`."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self, figures: Mapping[str, float], files: Iterable[Path], text: str) -> None:
        """See :class:`Tracker`; of the files the pictures are shown."""
        import numpy as np
        from PIL import Image

        self.log(figures, 0)
        self._writer.add_text("result", text)
        for file in files:
            if file.suffix == ".png":
                pixels = np.asarray(Image.open(file).convert("RGB"))
                self._writer.add_image(file.stem, pixels, dataformats="HWC")

    def close(self, failed: bool) -> None:
        """See :class:`Tracker`."""
        self._writer.close()


class MLflow(Tracker):
    """A run of MLflow's, where ``MLFLOW_TRACKING_URI`` says; the files are its artifacts."""

    client = "mlflow"

    def __init__(self, run: TrackedRun) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        for told in ("mlflow", "alembic"):  # of the tables that they make, on standard error
            logging.getLogger(told).setLevel(logging.WARNING)
        self._client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        self._run = self._client.create_run(experiment, run_name=run.name).info.run_id
        params = [Param(name, str(value)[:500]) for name, value in _flat(run.settings)]
        for start in range(0, len(params), 100):  # as many as MLflow takes at once
            self._client.log_batch(self._run, params=params[start : start + 100])

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """See :class:`Tracker`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in figures.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def finish(self, figures: Mapping[str, float], files: Iterable[Path], text: str) -> None:
        """See :class:`Tracker`."""
        self.log(figures, 0)
        self._client.set_tag(self._run, "result", text)
        for file in files:
            self._client.log_artifact(self._run, str(file))

    def close(self, failed: bool) -> None:
        """See :class:`Tracker`."""
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")


class WandB(Tracker):
    """A run of Weights & Biases; offline unless ``WANDB_MODE`` says otherwise."""

    client = "wandb"

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            config=run.settings,
            mode=mode,
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """See :class:`Tracker`."""
        self._run.log(dict(figures), step=step)

    def finish(self, figures: Mapping[str, float], files: Iterable[Path], text: str) -> None:
        """See :class:`Tracker`."""
        import wandb

        self._run.summary.update({**figures, "result": text})
        artifact = wandb.Artifact(f"result-{self._run.id}", type="result")
        for file in files:
            artifact.add_file(str(file), policy="immutable")
        self._run.log_artifact(artifact)

    def close(self, failed: bool) -> None:
        """See :class:`Tracker`."""
        self._run.finish(exit_code=int(failed))


TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}
"""Every tracker by its name."""


def known_trackers(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, once each of them is seen to be one.

    Raises:
        ValueError: an unknown tracker, or one that is named twice.
    """
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"unknown tracker {name!r}{suggestion(name, TRACKERS)}")
    if len(set(names)) < len(names):
        raise ValueError(f"track is {' '.join(names)}, expected different names")
    return names


def check_trackers(names: Iterable[str]) -> None:
    """See that every tracker's client is installed.

    Raises:
        UserError: one is not.
    """
    for name in names:
        client = getattr(TRACKERS[name], "client", None)
        if client and importlib.util.find_spec(client) is None:
            raise UserError(
                f"--track {name} needs {client}, which is not installed: "
                f"pip install 'evojax-prune[{name}]'"
            )


@contextlib.contextmanager
def tracked(
    config: RunConfig, problem: Problem, observer: Observer, output: Path | None
) -> Iterator[Observer]:
    """The observer, with the trackers that the configuration asks for.

    A tracker that fails during the run is left out from there on, with a warning: it must not cost
    the user the search.

    Raises:
        UserError: a client is missing, or does not start.
    """
    check_trackers(config.track)
    name = f"{problem.name}-{time.strftime('%Y%m%d-%H%M%S')}" if output is None else output.name
    home = Path("runs") if output is None else output.parent
    run = TrackedRun(name, home, config.repeatable())
    every = _Tracked(observer)
    try:
        for tracker in config.track:
            every.start(tracker, run)
        yield every if config.track else observer
    except BaseException:
        every.close(failed=True)
        raise
    every.close(failed=False)


class _Tracked(Observer):
    """An observer and trackers, as one observer."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._trackers: dict[str, Tracker] = {}

    def start(self, name: str, run: TrackedRun) -> None:
        try:
            self._trackers[name] = TRACKERS[name](run)
        except (Exception, SystemExit) as error:
            why = plugin_error(error) or described(error)
            raise UserError(
                f"--track {name} does not start ({why}): mend its settings, or leave it out"
            ) from error

    def stage(
        self, name: str, total: int, unit: str, parts: int = 1
    ) -> contextlib.AbstractContextManager[Stage]:
        return self._observer.stage(name, total, unit, parts)

    def note(self, text: str) -> None:
        self._observer.note(text)

    def on_generation(self, info: GenerationInfo) -> None:
        self._observer.on_generation(info)
        self._tell(lambda tracker: tracker.on_generation(info))

    def on_result(self, pruned: Pruned, folder: Path | None) -> None:
        self._observer.on_result(pruned, folder)
        self._tell(lambda tracker: tracker.on_result(pruned, folder))

    def close(self, failed: bool) -> None:
        self._tell(lambda tracker: tracker.close(failed))

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                what(tracker)
            except (Exception, SystemExit) as error:
                del self._trackers[name]
                show_traceback(error)
                why = plugin_error(error) or described(error)
                log.warning("%s fails (%s), so the run goes on without it", name, why)


def result_figures(result: Result) -> dict[str, float]:
    """The numbers of a result but those of single classes, as in ``result/best/parameters``."""
    named = {"dense", "best", "random", "ranking", "ensemble", "comparison", "search"}
    plain = result.model_dump(include={*named, "metrics", "wall_seconds"})
    for part in plain["metrics"].values():
        part.pop("recall")
    return _finite("result", dict(_flat(plain, "/")))


def _flat(tree: Mapping[str, Any], joint: str = ".") -> Iterator[tuple[str, Any]]:
    """Leaves of nested settings or figures, with names as in ``search_protocol.epochs``."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}{joint}{inner}", leaf) for inner, leaf in _flat(value, joint))
        else:
            yield name, value


def _finite(prefix: str, figures: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{prefix}/{name}": float(value)
        for name, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
