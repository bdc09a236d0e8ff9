"""``result.json``: its schema, and how it is filled.

The field descriptions below are the documentation of the file;
``python -m evojax_prune.report.result`` prints them as JSON Schema.
"""

from __future__ import annotations

import json
import math
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from evojax_prune.analysis.paired import Difference, accuracy_interval, paired_difference
from evojax_prune.core.outcome import Outcome
from evojax_prune.report.summary import sentence
from evojax_prune.search.archive import digests, pack
from evojax_prune.version import __version__

if TYPE_CHECKING:
    from evojax_prune.baselines import BaselineRow
    from evojax_prune.methods.found import Found
    from evojax_prune.methods.problem import Problem
    from evojax_prune.report.pruned import Pruned

SCHEMA = "evojax_prune/result/1"


class Part(BaseModel):
    """A part of the result; every field is described."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class DatasetResult(Part):
    """The data and how they were split."""

    name: str = Field(description="data set")
    version: str = Field(description="its version, or a digest of its content")
    classes: int = Field(description="number of classes")
    class_names: list[str] = Field(description="their names, in the order of the head's outputs")
    train: int = Field(description="rows that heads are trained on (k-fold: of the first fold)")
    selection: int = Field(description="rows that fitness is measured on (k-fold: first fold's)")
    test: int = Field(description="rows that nothing but the final report looks at")
    folds: int = Field(description="number of folds; 1 without k-fold")
    features: int = Field(description="backbone features")
    source: str = Field(description="where the features come from")


class HeadResult(Part):
    """One head, trained by the final protocol; over folds, means."""

    selection_accuracy: float = Field(description="accuracy on the selection split, 0 to 1")
    test_accuracy: float = Field(description="accuracy on the test split, 0 to 1")
    test_interval: tuple[float, float] = Field(
        description="95% Wilson interval of the test accuracy, rows taken as independent"
    )
    optimism: float = Field(description="selection accuracy less test accuracy")
    active_fraction: float = Field(description="active bits of the genome / its length")
    active_units: int = Field(
        description="features (mode 'features') or units of the pruned layers that keep a weight"
    )
    parameters: int = Field(description="parameters that are kept")
    parameter_fraction: float = Field(description="those / the dense head's")
    epochs: int = Field(description="epochs of the final protocol run, summed over folds")


class RandomResult(HeadResult):
    """The best by selection of random masks at the pruned head's density."""

    masks: int = Field(description="random masks tried")


class BaselineResult(Part):
    """Another way of pruning (``--compare``), trained by the final protocol; over folds, means."""

    name: str = Field(description="the method")
    at: str = Field(
        description="same: at the pruned head's active fraction; best: at the fraction of the "
        "highest selection accuracy"
    )
    selection_accuracy: float | None = Field(
        description="accuracy on the selection split, 0 to 1; null if training diverged"
    )
    test_accuracy: float | None = Field(description="accuracy on the test split, 0 to 1; likewise")
    active_fraction: float = Field(description="units or weights kept / all, as the method prunes")
    parameters: int = Field(description="parameters that are kept")
    heads: int = Field(description="heads of which this is the best by selection, or the mean")


class ComparisonResult(Part):
    """The pruned head against the dense one on the same test rows."""

    difference: float = Field(description="pruned less dense test accuracy")
    interval: tuple[float, float] = Field(description="its 95% interval")
    p_value: float = Field(description="two-sided p value of no difference")
    method: str = Field(description="how interval and p value were found")
    verdict: str = Field(description="better, worse, or within (the interval)")
    sentence: str = Field(description="the same in words")


class SearchResultPart(Part):
    """The search and what it cost."""

    strategy: str = Field(description="search strategy, or the ranking that was followed")
    evaluations: int = Field(description="distinct genomes trained")
    generations: int = Field(description="generations of the strategy")
    cached: int = Field(description="times a known genome was asked for again, at no cost")
    best_fitness: float = Field(description="best fitness that the search saw")
    dense_fitness: float | None = Field(
        description="fitness of the dense head under the search protocol; null if it diverged"
    )
    member_epochs: int = Field(
        description="epochs trained in the search, summed over genomes and folds"
    )
    wall_seconds: float = Field(description="seconds of the search, on the clock")
    device: str = Field(description="what the heads were trained on")
    engine: str = Field(description="why the trainer chose the path that it took")
    paths: dict[str, int] = Field(description="genomes trained by each of the trainer's paths")
    compile_seconds: float = Field(description="seconds spent compiling, within wall_seconds")
    resumed: int = Field(description="evaluations taken over from an interrupted run")
    ended: str = Field(description="why the search ended")


class Result(Part):
    """What a run found."""

    schema_: str = Field(SCHEMA, alias="schema", description="name and version of this layout")
    config: dict[str, Any] = Field(description="the resolved configuration; config.yaml has it too")
    dataset: DatasetResult = Field(description="data and splits")
    dense: HeadResult = Field(description="the whole head")
    random: RandomResult = Field(description="random pruning at the same density")
    best: HeadResult = Field(description="the pruned head that was found")
    best_name: str = Field(description="what the table calls it")
    baselines: list[BaselineResult] = Field(description="other ways of pruning; with --compare")
    genome: str = Field(description="hash of the pruned head's genome, as in evaluations.csv")
    comparison: ComparisonResult = Field(description="pruned against dense on test")
    search: SearchResultPart = Field(description="the search")
    selected_on_test: bool = Field(description="selection was made on the test split")
    wall_seconds: float = Field(description="seconds of the whole run, on the clock")
    versions: dict[str, str] = Field(description="versions of what the numbers depend on")

    def text(self) -> str:
        """The file's content."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2) + "\n"


def make_result(pruned: Pruned) -> Result:
    """Every figure of a finished run."""
    problem, found = pruned.problem, pruned.found
    difference = paired_difference(found.pruned.right, found.dense.right)
    said = sentence(found, difference, problem.selected_on_test)
    return Result(
        config=pruned.settings,
        dataset=_dataset(problem),
        dense=HeadResult(**_figures(found.dense, found.dense)),
        random=RandomResult(**_figures(found.random, found.dense), masks=found.masks),
        best=HeadResult(**_figures(found.pruned, found.dense)),
        best_name=found.name,
        baselines=[_baseline(row) for row in pruned.baselines],
        genome=digests(pack(found.pruned.genome[None]))[0],
        comparison=_comparison(difference, said),
        search=_search(found),
        selected_on_test=problem.selected_on_test,
        wall_seconds=round(pruned.seconds, 3),
        versions=versions(),
    )


def _dataset(problem: Problem) -> DatasetResult:
    first = problem.splits[0]
    return DatasetResult(
        name=problem.name,
        version=problem.version,
        classes=len(first.classes),
        class_names=list(first.classes),
        train=len(first.train),
        selection=len(first.selection),
        test=len(first.test),
        folds=problem.folds,
        features=problem.pruning.spec.features,
        source=problem.source,
    )


def _search(found: Found) -> SearchResultPart:
    effort, report = found.effort, found.effort.reports[-1]
    dense = float(found.dense_values[0])
    return SearchResultPart(
        strategy=found.how,
        evaluations=len(found.trials),
        generations=effort.generations,
        cached=effort.cached,
        best_fitness=found.best,
        dense_fitness=None if math.isnan(dense) else dense,
        member_epochs=int(found.trials.columns["epochs"].sum()),
        wall_seconds=round(effort.seconds, 3),
        device=report.device,
        engine=report.reason,
        paths=effort.paths,
        compile_seconds=round(effort.compile_seconds, 3),
        resumed=effort.resumed,
        ended=effort.ended,
    )


def _figures(outcome: Outcome, dense: Outcome) -> dict[str, Any]:
    return {
        "selection_accuracy": outcome.selection,
        "test_accuracy": outcome.test,
        "test_interval": accuracy_interval(outcome.test, outcome.right.shape[1]),
        "optimism": outcome.optimism,
        "active_fraction": outcome.active_fraction,
        "active_units": outcome.active_units,
        "parameters": outcome.parameters,
        "parameter_fraction": outcome.parameters / dense.parameters,
        "epochs": outcome.epochs,
    }


def _baseline(row: BaselineRow) -> BaselineResult:
    diverged = math.isnan(row.selection_accuracy)
    return BaselineResult(
        name=row.name,
        at=row.at,
        selection_accuracy=None if diverged else row.selection_accuracy,
        test_accuracy=None if diverged else row.test_accuracy,
        active_fraction=row.active_fraction,
        parameters=row.parameters,
        heads=row.heads,
    )


def _comparison(difference: Difference, sentence: str) -> ComparisonResult:
    return ComparisonResult(
        difference=difference.value,
        interval=(difference.low, difference.high),
        p_value=difference.p_value,
        method=difference.method,
        verdict=difference.verdict,
        sentence=sentence,
    )


def versions() -> dict[str, str]:
    """Versions of the program, Python and the libraries that the numbers depend on."""
    libraries = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "evosax")
    found = {name: metadata.version(name) for name in libraries}
    return {"evojax_prune": __version__, "python": platform.python_version()} | found


if __name__ == "__main__":
    print(json.dumps(Result.model_json_schema(by_alias=True), indent=2))
