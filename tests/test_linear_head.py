"""A head without hidden layers: softmax regression on the features that are left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import yaml
from engine_cases import make_masks, make_splits, way
from plain import fit_plain
from sklearn.linear_model import LogisticRegression

import evojax_prune
from evojax_prune.cli import main as command
from evojax_prune.core.head import head_spec
from evojax_prune.core.masks import dense_masks
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import decode
from evojax_prune.deploy import program_of
from evojax_prune.engine import fit_population
from evojax_prune.report.result import Result
from evojax_prune.run.config import validated
from evojax_prune.sklearn import HeadPruner

SPLITS = make_splits(features=12)
HEAD = head_spec("features", 12, 3, ())


@pytest.mark.parametrize(
    ("grain", "engine"),
    [
        ("neurons", "auto"),
        pytest.param("neurons", "xla dual", marks=pytest.mark.slow),
        pytest.param("neurons", "optax", marks=pytest.mark.slow),
        pytest.param("connections", "auto", marks=pytest.mark.slow),
    ],
)
def test_every_path_equals_the_plain_program(grain: str, engine: str) -> None:
    protocol = Protocol(epochs=12, learning_rate=1e-2, decay=1e-3)
    masks = make_masks(HEAD, "features", grain)
    fits = fit_population(masks, SPLITS, protocol, head=HEAD, return_params=True, **way(engine))
    for member, params in enumerate(fits.params):
        plain = fit_plain(masks, member, SPLITS, protocol, HEAD)
        np.testing.assert_allclose(fits.loss[member], plain.best_loss, rtol=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=5e-6), params, plain.params)
        logits = plain.logits(SPLITS.test.x, masks, member)
        assert fits.accuracy["test"][member] == np.mean(logits.argmax(1) == SPLITS.test.y)


def test_trained_to_the_end_it_is_scikit_learns_logistic_regression() -> None:
    splits = make_splits(300, features=5)
    head = head_spec("features", 5, 3, ())
    protocol = Protocol(
        epochs=1500, batch_size=300, learning_rate=0.1, decay=0, patience=0, restore_best=False
    )
    fits = fit_population(
        dense_masks(head), splits, protocol, head=head, return_params=True, engine="xla"
    )
    layer = fits.params[0]["layer_0"]
    theirs = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    theirs.fit(splits.train.x, splits.train.y)
    kernel = layer["kernel"] - layer["kernel"].mean(1, keepdims=True)  # equal up to a common shift
    np.testing.assert_allclose(kernel, theirs.coef_.T, atol=2e-3)
    np.testing.assert_allclose(layer["bias"] - layer["bias"].mean(), theirs.intercept_, atol=5e-3)
    assert fits.accuracy["test"][0] == pytest.approx(
        theirs.score(splits.test.x, splits.test.y), abs=2e-3
    )


@pytest.mark.slow
def test_a_run_predicts_and_exports(tmp_path: Path) -> None:
    x, y = SPLITS.test.x[:240], SPLITS.test.y[:240]
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y)
    output = tmp_path / "run"
    words = ["--dataset", str(tmp_path / "data.npz"), "--hidden", "linear", "--output", str(output)]
    words += ["--population", "6", "--evaluations", "12", "--finalists", "2", "--size", "5"]
    words += ["--search-protocol.epochs", "2", "--final-protocol.epochs", "10"]
    assert command.main(words) == 0
    result = Result.model_validate_json((output / "result.json").read_text())
    assert result.dense.parameters == 12 * 3 + 3
    assert result.best.parameters == 3 * result.best.active_units + 3
    settings = yaml.safe_load((output / "config.yaml").read_text())
    assert settings["hidden"] == []
    assert validated(settings).hidden == ()
    classifier = evojax_prune.load(output)
    (head,) = classifier.heads
    assert len(head.layers) == 1
    found = np.asarray(jax.jit(program_of(classifier).function)(x))
    np.testing.assert_allclose(found, classifier.predict_proba(x), atol=1e-5)


@pytest.mark.slow
def test_as_an_estimator() -> None:
    x, y = SPLITS.test.x[:200], SPLITS.test.y[:200]
    pruner = HeadPruner(method="sensitivity", keep=0.5, hidden=(), epochs=30).fit(x, y)
    assert pruner.result_["dense"]["parameters"] == 12 * 3 + 3
    assert pruner.result_["pruned"]["parameters"] == 6 * 3 + 3
    assert pruner.score(x, y) > 0.5


@pytest.mark.parametrize("given", ["linear", ["linear"], []])
def test_what_is_said_in_a_settings_file(given: object) -> None:
    assert validated({"hidden": given}).hidden == ()


@pytest.mark.parametrize("mode", ["fc1", "fc2", "both"])
def test_modes_that_prune_hidden_layers_refuse_it(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "data.npz", x_train=SPLITS.test.x, y_train=SPLITS.test.y)
    words = ["--dataset", str(tmp_path / "data.npz"), "--hidden", "linear", "--mode", mode]
    assert command.main([*words, "--output", str(tmp_path / "run")]) == 2
    assert f"mode '{mode}' prunes 2 hidden layers, the head has 0" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_native_kernel_refuses_it() -> None:
    with pytest.raises(evojax_prune.UserError, match="engine 'native' cannot be used"):
        fit_population(dense_masks(HEAD), SPLITS, Protocol(epochs=1), head=HEAD, engine="native")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("nope", 5, 3), "unknown mode 'nope', expected one of features, fc1"),
        (("features", 0, 3), r"widths are \(0, 512, 3\), expected whole numbers of at least 1"),
        (("fc1", 5, 3, (-1, 2)), r"widths are \(5, -1, 2, 3\)"),
    ],
)
def test_shapes_that_no_head_has(given: tuple[Any, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        head_spec(*given)


def test_genomes_are_bits() -> None:
    with pytest.raises(ValueError, match="unknown mode 'nope', expected one of features, fc1"):
        decode(np.ones((1, 5), bool), head_spec("features", 5, 3), "nope")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="float64 hold other values than 0 and 1"):
        decode(np.full((1, 5), 0.5), head_spec("features", 5, 3), "features")
