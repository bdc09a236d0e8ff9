"""The estimators in scikit-learn's hands: its own checks, and what people build out of them."""

from __future__ import annotations

import doctest
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from evojax_prune import prune
from evojax_prune.methods.problem import Problem
from evojax_prune.run.run import Run
from evojax_prune.search import NSGA2
from evojax_prune.search.strategies import strategy
from evojax_prune.sklearn import FeatureMask, HeadPruner

QUICK: dict[str, Any] = {"method": "sensitivity", "hidden": 16}
SEARCH: dict[str, Any] = {
    "hidden": 16,
    "evaluations": 18,
    "population": 6,
    "search_epochs": 3,
    "settings": {"finalists": 2},
}
BOTH = pytest.mark.parametrize("kind", [HeadPruner, FeatureMask])

Kind = type[HeadPruner] | type[FeatureMask]


def blobs(rows: int = 90, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that the first 3 of 12 features tell apart."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 3
    return rng.normal(size=(rows, 12)) + 4 * np.eye(3, 12)[y], np.array(["c", "a", "b"])[y]


LENGTHY = {
    "check_classifiers_classes",
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_fit_idempotent",
    "check_pipeline_consistency",
}
"""Checks that fit a dozen heads each."""


def _lengthy(check: Any) -> bool:
    return check.func.__name__ in LENGTHY or "readonly_memmap" in check.keywords


def quickly(estimator: Any) -> pytest.MarkDecorator:
    """scikit-learn's checks of an estimator; those that take long are slow."""
    mark = parametrize_with_checks([estimator]).mark
    names, checks = mark.args
    marked = [
        pytest.param(one, check, marks=[pytest.mark.slow] if _lengthy(check) else [])
        for one, check in checks
    ]
    return pytest.mark.parametrize(names, marked, **mark.kwargs)


@quickly(HeadPruner(**QUICK))
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([FeatureMask(**QUICK), HeadPruner(**SEARCH), FeatureMask(**SEARCH)])
def test_more_of_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@BOTH
def test_every_row_is_trained_on(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Problem] = []
    call = Run.__call__

    def watched(run: Run) -> Any:
        seen.append(run.problem)
        return call(run)

    monkeypatch.setattr(Run, "__call__", watched)
    x, y = blobs(60)
    kind(**QUICK).fit(x, y)
    (split,) = seen[0].splits
    raw = split.train.x * seen[0].scalings[0].scale[None] + seen[0].scalings[0].mean[None]
    np.testing.assert_allclose(raw, x, atol=1e-5)
    assert len(split.test) == 0


def test_a_search_finds_the_informative_features_and_a_second_compiles_nothing_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    real = strategy.asking
    monkeypatch.setattr(strategy, "asking", lambda a: asked.append(real(a)) or asked[-1])
    told = NSGA2.tell._cache_size()
    own = SEARCH | {"population": 5}  # no other test's, which may have compiled it
    x, y = blobs()
    mask = FeatureMask(**own, size=3).fit(x, y)
    assert 0 < mask.get_support().sum() <= 3
    assert set(mask.get_support(indices=True)) <= {0, 1, 2}
    np.testing.assert_array_equal(mask.transform(x), x[:, mask.get_support()])
    assert mask.result_["evaluations"] == 18
    assert mask.result_["pruned"]["active_units"] == mask.get_support().sum()
    assert mask.result_["pruned"] in mask.result_["finalists"]
    assert mask.result_["dense"]["active_fraction"] == 1
    # Cross-validation fits dozens of times; compiling takes longer than such a search.
    HeadPruner(**own, size=6, random_state=1).fit(x[:80], y[:80])
    assert len(asked) >= 4  # both searches, and each time ahead of it
    assert {(id(ask), ask._cache_size()) for ask in asked} == {(id(asked[0]), 1)}
    assert NSGA2.tell._cache_size() == told + 1


def test_the_head_is_that_of_prune() -> None:
    """The same rows, settings and seed give the same head, whatever the test split is."""
    x, y = blobs(72)
    pruner = HeadPruner(**QUICK, epochs=5, learning_rate=0.02, random_state=7).fit(x, y)
    recipe = {"epochs": 5, "learning_rate": 0.02}
    other, labels = blobs(24, seed=1)
    pruned = prune(
        x,
        y,
        x_test=other,
        y_test=labels,
        method="sensitivity",
        hidden=(16,),
        final_protocol=recipe,
        seed=7,
    )
    np.testing.assert_array_equal(pruner.genome_, pruned.genome)
    right = pruner.predict(other) == labels
    np.testing.assert_array_equal(right, pruned.found.pruned.right[0])


def test_labels_and_probabilities() -> None:
    x, y = blobs()
    pruner = HeadPruner(**QUICK).fit(x, y)
    assert pruner.classes_.tolist() == ["a", "b", "c"]
    probabilities = pruner.predict_proba(x)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_array_equal(pruner.classes_[probabilities.argmax(1)], pruner.predict(x))
    assert pruner.score(x, y) > 0.95


@pytest.mark.parametrize("scale", ["standard", "l2", "none"])
def test_probabilities_are_those_of_the_head(scale: str) -> None:
    x, y = blobs()
    pruner = HeadPruner(**QUICK, scale=scale).fit(x, y)
    logits = pruner.head_.logits(x.astype(np.float32)).astype(np.float64)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    expected = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(pruner.predict_proba(x), expected, atol=1e-5)


def test_a_pipeline_under_cross_validation() -> None:
    x, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), FeatureMask(**QUICK), LogisticRegression())
    assert cross_val_score(pipeline, x, y, cv=3).mean() > 0.85


@pytest.mark.slow
def test_grid_search_in_two_processes() -> None:
    x, y = blobs()
    steps = Pipeline([("mask", FeatureMask(**QUICK)), ("head", HeadPruner(**QUICK, epochs=3))])
    grid = {"mask__keep": [0.1, 0.5], "head__epochs": np.array([1, 30])}
    search = GridSearchCV(steps, grid, cv=2, n_jobs=2, error_score="raise").fit(x, y)
    assert search.best_params_ == {"mask__keep": 0.5, "head__epochs": 30}
    alone = clone(search.best_estimator_).fit(x, y)
    np.testing.assert_array_equal(alone.predict_proba(x), search.predict_proba(x))


@BOTH
def test_a_clone_is_not_fitted_and_finds_the_same(kind: Kind) -> None:
    x, y = blobs()
    first = kind(**QUICK, settings={"final_protocol": {"batch_size": 16}}).fit(x, y)
    again = clone(first)
    assert again.get_params() == first.get_params()
    assert not hasattr(again, "head_")
    again.fit(x, y)
    np.testing.assert_array_equal(again.genome_, first.genome_)
    for layer, same in zip(again.head_.layers, first.head_.layers, strict=True):
        np.testing.assert_array_equal(layer[0], same[0])
    assert first.result_["config"]["final_protocol"]["batch_size"] == 16


@pytest.mark.slow
def test_a_pickle_predicts_without_jax() -> None:
    x, y = blobs()
    pruner = HeadPruner(**QUICK).fit(x, y)
    code = (
        "import pickle, sys; sys.modules['jax'] = None\n"
        "pruner, x = pickle.load(sys.stdin.buffer)\n"
        "sys.stdout.buffer.write(pickle.dumps(pruner.predict_proba(x)))"
    )
    made = pickle.dumps((pruner, x))
    found = subprocess.run([sys.executable, "-c", code], input=made, capture_output=True)
    assert found.returncode == 0, found.stderr.decode()
    np.testing.assert_array_equal(pickle.loads(found.stdout), pruner.predict_proba(x))
    assert len(made) - x.nbytes < 40_000  # the rows that it was fitted on are not in it


def test_groups_reach_the_splits() -> None:
    x, y = blobs(60)
    groups = np.arange(60) // 6
    pruner = HeadPruner(**QUICK, epochs=3)
    with pytest.raises(ValueError, match="splits cannot be drawn from 3 groups"):
        pruner.fit(x, y, groups=np.arange(60) % 3)
    with sklearn.config_context(enable_metadata_routing=True):
        asked = clone(pruner).set_fit_request(groups=True)
        wrong = {"groups": np.arange(60) % 3}
        with pytest.raises(ValueError, match="splits cannot be drawn"):
            make_pipeline(asked).fit(x, y, **wrong)
        cv = GroupKFold(2)
        scores = cross_val_score(asked, x, y, cv=cv, params={"groups": groups}, error_score="raise")
    assert len(scores) == 2


def test_hidden_units_are_pruned() -> None:
    x, y = blobs()
    pruner = HeadPruner(**QUICK, mode="both", keep=0.5).fit(x, y)
    assert pruner.genome_.shape == (32,)
    assert pruner.genome_.sum() == 16
    assert pruner.score(x, y) > 0.9
    one = HeadPruner(**QUICK, mode="fc1", epochs=2).fit(x[:, :1], y)
    assert one.predict_proba(x[:, :1]).shape == (90, 3)


def test_random_states() -> None:
    x, y = blobs()

    def kernel(state: Any) -> np.ndarray:
        return (
            HeadPruner(**QUICK, keep=0.5, epochs=1, random_state=state)
            .fit(x, y)
            .head_.layers[-1][0]
        )

    np.testing.assert_array_equal(kernel(np.int64(3)), kernel(3))
    assert not np.array_equal(kernel(3), kernel(4))
    state = np.random.RandomState(0)
    assert not np.array_equal(kernel(state), kernel(state))
    kernel(None)


@BOTH
def test_unfitted(kind: Kind) -> None:
    use = "predict" if kind is HeadPruner else "transform"
    with pytest.raises(NotFittedError):
        getattr(kind(), use)(blobs()[0])


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown method": ({"method": "sarch"}, "did you mean 'search'"),
    "a bound": ({"evaluations": 0}, "evaluations is 0, expected at least 1"),
    "nothing reads it": ({"method": "sensitivity", "size": 3}, "^size does nothing"),
    "nor that": ({"keep": 0.3}, "^keep does nothing"),
    "unknown setting": ({"settings": {"sharpnes": 1.0}}, "did you mean 'sharpness'"),
    "another split": ({"settings": {"selection": "test"}}, "unknown 'selection'"),
    "twice": ({"settings": {"hidden": 3}}, "hidden, which is a parameter"),
    "the seed": ({"settings": {"seed": 3}}, "unknown 'seed'"),
    "a negative seed": ({"random_state": -1}, "seed is -1, expected at least 0"),
    "unknown optimizer": ({"settings": {"final_protocol": {"optimizer": "adm"}}}, "optimizer"),
    "layers": ({"mode": "both", "hidden": (8,)}, "prunes 2 hidden layers, the head has 1"),
    "unknown mode": ({"mode": "fc3"}, "mode is fc3"),
    "no name": ({"mode": ["fc1"]}, r"mode is \['fc1'\]"),
    "nor that one": ({"method": ["search"]}, r"method is \['search'\], expected text"),
    "truth": ({"hidden": True}, "hidden is true, expected a number"),
    "no settings": ({"settings": "p"}, "settings is 'p', expected names with values"),
    "nor these": ({"settings": {3: 4}}, "settings holds unknown 3"),
    "unknown epochs": (
        {"settings": {"final_protocol": {"epoch": 3}}},
        "unknown setting final_protocol.epoch, did you mean 'final_protocol.epochs'",
    ),
    "its own": ({"settings": {"mode": "fc1"}}, "settings holds mode, which is a parameter"),
}


@pytest.mark.parametrize(("parameters", "message"), BAD.values(), ids=BAD.keys())
def test_bad_parameters(parameters: dict[str, Any], message: str) -> None:
    x, y = blobs()
    with pytest.raises(ValueError, match=message):
        HeadPruner(**parameters).fit(x, y)


def test_any_label_is_a_class() -> None:
    x, y = blobs()
    names = np.array(["\u200b", "\udcff", "a" * 2000])[np.unique(y, return_inverse=True)[1]]
    pruner = HeadPruner(**QUICK).fit(x, names)
    assert set(pruner.predict(x)) <= set(names)


def test_bad_data() -> None:
    x, y = blobs()
    pruner = HeadPruner(**QUICK)
    with pytest.raises(ValueError, match="y holds labels of unlike types"):
        pruner.fit(x, np.where(y == "a", None, y))
    with pytest.raises(ValueError, match="holds the one class 'a'"):
        pruner.fit(x, np.full(len(x), "a"))
    with pytest.raises(ValueError, match=r"of class 'b' \(1\): each class needs at least 2"):
        pruner.fit(x[:4], np.array(["a", "a", "a", "b"]))
    with pytest.raises(ValueError, match="X has masked values"):
        pruner.fit(np.ma.masked_less(x, 0), y)
    with pytest.raises(ValueError, match="y has masked values"):
        pruner.fit(x, np.ma.masked_equal(y, y[0]))
    with pytest.raises(ValueError, match="settings holds unknown 'mode'"):
        FeatureMask(**QUICK, settings={"mode": "fc1"}).fit(x, y)
    with pytest.raises(ValueError, match="too large for dtype"):
        pruner.fit(x * 1e300, y)
    with pytest.raises(ValueError, match="expected \\[90\\]"):
        pruner.fit(x, y, groups=[1, 2])


def test_the_examples() -> None:
    import evojax_prune.sklearn as module

    assert doctest.testmod(module).failed == 0


@pytest.mark.slow
def test_importing_is_light() -> None:
    code = (
        "import sys, evojax_prune.sklearn\n"
        "assert not {'jax', 'flax', 'keras', 'matplotlib', 'tyro'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
