"""``result.json``: its schema, and how it is filled.

The field descriptions below are the documentation of the file;
``python -m evojax_prune.report.result`` prints them as JSON Schema.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from evojax_prune.analysis.metrics import mean_probabilities, metrics, softmax
from evojax_prune.analysis.paired import accuracy_interval, noninferiority, paired_difference
from evojax_prune.core.outcome import Outcome
from evojax_prune.report.summary import sentence
from evojax_prune.search.archive import digests, pack
from evojax_prune.version import __version__

if TYPE_CHECKING:
    from evojax_prune.baselines import BaselineRow
    from evojax_prune.methods.found import Found
    from evojax_prune.methods.problem import Problem
    from evojax_prune.report.pruned import Pruned

SCHEMA = "evojax_prune/result/3"


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


class RankingResult(HeadResult):
    """The best by selection of the rankings that the search started from, at the same size."""

    name: str = Field(description="the ranking")


class FinalistResult(HeadResult):
    """A head out of which the pruned one was chosen."""

    genome: str = Field(description="hash of its genome, as in evaluations.csv")
    chosen: bool = Field(description="it is the pruned head")


class EnsembleResult(Part):
    """All finalists together: the mean of their probabilities."""

    heads: int = Field(description="finalists")
    test_accuracy: float = Field(description="accuracy on the test split, 0 to 1")
    parameters: int = Field(description="parameters that are kept, in all of them")


class MetricsResult(Part):
    """How one head classifies the test rows; over folds, all their predictions together."""

    balanced_accuracy: float = Field(description="mean recall of the classes, 0 to 1")
    recall: dict[str, float | None] = Field(
        description="fraction of each class's rows classified rightly; null without any rows"
    )
    calibration_error: float = Field(
        description="expected calibration error of the highest probability, 15 bins, 0 to 1"
    )
    confusion: list[list[int]] = Field(
        description="rows of each class (outer) taken for each class (inner)"
    )


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
    interval: tuple[float, float] = Field(
        description="its 95% interval (Bonett and Price 2012), rows taken as independent"
    )
    margin: float = Field(description="loss of accuracy that is accepted")
    verdict: str = Field(
        description="better: the interval lies above 0; not worse by more than the margin: above "
        "-margin; worse: below 0; not known: none of these"
    )
    p_value: float = Field(description="two-sided p value of no difference")
    method: str = Field(description="how the p value was found")
    sentence: str = Field(description="the same in words")


class SearchResultPart(Part):
    """The search and what it cost."""

    strategy: str = Field(description="search strategy, or the ranking that was followed")
    objectives: list[str] = Field(description="what was searched for")
    evaluations: int = Field(description="heads trained by the search protocol")
    genomes: int = Field(description="distinct genomes among them")
    generations: int = Field(description="generations of the strategy")
    cached: int = Field(description="times a known genome was asked for again, at no cost")
    best_fitness: float = Field(description="best value of the first objective that was seen")
    dense_fitness: float | None = Field(
        description="the dense head's value under the search protocol; null if it diverged"
    )
    chosen: str = Field(description="how the pruned head was chosen")
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
    ranking: RankingResult | None = Field(description="the best ranking, if there were any")
    finalists: list[FinalistResult] = Field(
        description="heads out of which the pruned one was chosen, by size"
    )
    ensemble: EnsembleResult | None = Field(description="all finalists together, if several")
    metrics: dict[str, MetricsResult] = Field(description="of the dense and the best head")
    unfinished: list[str] = Field(
        description="those of dense, random, ranking and best whose training has not converged: "
        "a head that one contains fits the training rows better, or the second half of its "
        "training still raised its selection accuracy"
    )
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
    return Result(
        config=pruned.settings,
        dataset=_dataset(problem),
        dense=HeadResult(**_figures(found.dense, found.dense)),
        random=RandomResult(**_figures(found.random, found.dense), masks=found.masks),
        ranking=_ranking(found),
        finalists=_finalists(found),
        ensemble=_ensemble(problem, found.finalists),
        metrics={
            "dense": _metrics(problem, found.dense),
            "best": _metrics(problem, found.pruned),
        },
        best=HeadResult(**_figures(found.pruned, found.dense)),
        best_name=found.name,
        unfinished=sorted(pruned.unfinished),
        baselines=[_baseline(row) for row in pruned.baselines],
        genome=digests(pack(found.pruned.genome[None]))[0],
        comparison=_comparison(pruned),
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
        objectives=[objective.name for objective in found.trials.objectives],
        evaluations=effort.heads(found.trials),
        genomes=len(found.trials),
        generations=effort.generations,
        cached=effort.cached,
        best_fitness=found.best,
        dense_fitness=None if math.isnan(dense) else dense,
        chosen=found.chosen,
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


def _ranking(found: Found) -> RankingResult | None:
    if found.ranking is None:
        return None
    name, outcome = found.ranking
    return RankingResult(name=name, **_figures(outcome, found.dense))


def _finalists(found: Found) -> list[FinalistResult]:
    heads = sorted(found.finalists, key=lambda head: (head.parameters, -head.selection))
    names = digests(pack(np.stack([head.genome for head in heads])))
    return [
        FinalistResult(genome=name, chosen=head is found.pruned, **_figures(head, found.dense))
        for head, name in zip(heads, names, strict=True)
    ]


def _ensemble(problem: Problem, heads: Sequence[Outcome]) -> EnsembleResult | None:
    if len(heads) < 2:
        return None
    accuracy = [
        np.mean(
            mean_probabilities([head.heads[fold] for head in heads], split.test.x).argmax(1)
            == split.test.y
        )
        for fold, split in enumerate(problem.splits)
    ]
    return EnsembleResult(
        heads=len(heads),
        test_accuracy=float(np.mean(accuracy)),
        parameters=sum(head.parameters for head in heads),
    )


def _metrics(problem: Problem, outcome: Outcome) -> MetricsResult:
    tests = [split.test for split in problem.splits]
    logits = [head.logits(test.x) for head, test in zip(outcome.heads, tests, strict=True)]
    found = metrics(softmax(np.concatenate(logits)), np.concatenate([test.y for test in tests]))
    recall = [None if math.isnan(value) else float(value) for value in found.recall]
    return MetricsResult(
        balanced_accuracy=found.balanced_accuracy,
        recall=dict(zip(problem.splits[0].classes, recall, strict=True)),
        calibration_error=found.calibration_error,
        confusion=found.confusion.tolist(),
    )


def _comparison(pruned: Pruned) -> ComparisonResult:
    problem, found = pruned.problem, pruned.found
    both = found.pruned.right, found.dense.right
    difference, test = noninferiority(*both, pruned.margin), paired_difference(*both)
    mode = problem.pruning.mode.name
    return ComparisonResult(
        difference=difference.value,
        interval=(difference.low, difference.high),
        margin=difference.margin,
        verdict=difference.verdict,
        p_value=test.p_value,
        method=test.method,
        sentence=sentence(found, difference, mode, problem.selected_on_test, pruned.unfinished),
    )


def versions() -> dict[str, str]:
    """Versions of the program, Python and the libraries that the numbers depend on."""
    libraries = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "evosax")
    found = {name: metadata.version(name) for name in libraries}
    return {"evojax_prune": __version__, "python": platform.python_version()} | found


if __name__ == "__main__":
    print(json.dumps(Result.model_json_schema(by_alias=True), indent=2))
