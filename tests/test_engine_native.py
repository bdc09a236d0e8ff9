"""The native kernel against a plain NumPy program in float64."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from native_cases import (
    assert_layers_close,
    forward,
    make_problem,
    run_float64,
    run_native,
)
from plain import EarlyStopping

from evojax_prune.core.protocol import Protocol
from evojax_prune.engine import native
from evojax_prune.engine.batches import epoch_order
from evojax_prune.engine.native import training

pytestmark = pytest.mark.skipif(not native.available(), reason=native.why_unavailable())
examples = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LONG = Protocol(epochs=30, learning_rate=1e-2, patience=0)


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize(
    ("widths", "bias"),
    [
        ((40, 24, 4), (True, True)),
        ((70, 33, 17, 3), (False, False, True)),
        ((64, 50, 31, 20, 10), (True, False, True, True)),
    ],
)
def test_losses_and_weights_equal_the_plain_program(dual, widths, bias):
    problem = make_problem(widths, rows=101, epochs=30, bias=bias)
    state, layers = run_native(problem, LONG, dual=dual)
    losses, history = run_float64(problem, LONG)
    np.testing.assert_allclose(state.losses, losses, rtol=1e-5)
    best_epoch = int(np.argmin(losses))
    assert_layers_close(layers, history[best_epoch], 1e-4)
    x = np.random.default_rng(1).random((1000, widths[0]), np.float32)
    np.testing.assert_array_equal(
        np.argmax(forward(layers, x), 1), np.argmax(forward(history[best_epoch], x), 1)
    )


@st.composite
def cases(draw):
    hidden = draw(st.lists(st.integers(0, 70), min_size=1, max_size=3))
    widths = (draw(st.integers(0, 60)), *hidden, draw(st.sampled_from([2, 3, 10, 37])))
    rows = draw(st.integers(2, 90))
    bias = tuple(draw(st.booleans()) for _ in widths[1:])
    protocol = Protocol(
        epochs=6,
        batch_size=draw(st.sampled_from([1, 5, 16, 32, 33, 64, 200])),
        learning_rate=draw(st.sampled_from([3e-4, 3e-3])),
        momentum=draw(st.sampled_from([0.0, 1e-12, 0.05, 0.5, 0.9, 0.99])),
        nesterov=draw(st.booleans()),
        decay=draw(st.sampled_from([0.0, 1e-6, 1e-2])),
        patience=0,
    )
    seed = draw(st.integers(0, 2**16))
    return make_problem(widths, rows, 6, seed=seed, bias=bias), protocol, draw(st.booleans())


@settings(examples, max_examples=80)
@given(cases())
def test_losses_equal_float64_program(case):
    problem, protocol, dual = case
    state, layers = run_native(problem, protocol, dual=dual)
    expected, _ = run_float64(problem, protocol)
    if max(expected) < 3 * np.log(problem.layers[-1][0].shape[1]):  # else it is diverging: chaos
        np.testing.assert_allclose(state.losses, expected, rtol=2e-5, atol=1e-6)
    assert [k.shape for k, _ in layers] == [k.shape for k, _ in problem.layers]


@settings(examples, max_examples=30)
@given(
    st.integers(2, 40),
    st.floats(0, 0.999),
    st.sampled_from([1, 7, 32]),
    st.booleans(),
    st.integers(0, 2**16),
)
def test_smoothed_losses_equal_float64_program(classes, smoothing, batch, dual, seed):
    problem = make_problem((13, 21, classes), rows=45, epochs=5, seed=seed)
    protocol = Protocol(
        epochs=5, batch_size=batch, learning_rate=3e-3, patience=0, label_smoothing=smoothing
    )
    state, _ = run_native(problem, protocol, dual=dual)
    np.testing.assert_allclose(state.losses, run_float64(problem, protocol)[0], rtol=2e-5)


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("classes", [2, 5, 16, 23])
def test_smoothed_loss_equals_keras(dual, classes, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    problem = make_problem((30, 40, classes), rows=60, epochs=1)
    protocol = dataclasses.replace(LONG, epochs=1, batch_size=60, label_smoothing=0.2)
    state, _ = run_native(problem, protocol, dual=dual)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    logits = forward(problem.layers, problem.x)
    expected = float(loss(np.eye(classes, dtype=np.float32)[problem.y], logits))
    assert state.losses == pytest.approx([expected], rel=1e-5)


@pytest.mark.parametrize("dual", [False, True])
def test_smoothed_loss_stays_nan(dual):
    problem = make_problem((30, 40, 4), rows=90, epochs=12)
    protocol = Protocol(epochs=12, learning_rate=1e25, label_smoothing=0.1)
    state, _ = run_native(problem, protocol, dual=dual)
    assert np.isnan(state.losses[-1])
    assert not np.isnan(state.best_loss)


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize(
    ("widths", "rows", "batch"),
    [
        ((30, 40, 2), 20, 32),
        ((20, 30, 1000), 150, 32),
        ((600, 9, 5), 900, 50),
        ((7, 1, 1, 3), 65, 8),
        ((128, 260, 200, 100), 300, 32),
    ],
)
def test_extreme_shapes(dual, widths, rows, batch):
    protocol = dataclasses.replace(LONG, batch_size=batch, epochs=5)
    problem = make_problem(widths, rows, 5)
    state, _ = run_native(problem, protocol, dual=dual)
    np.testing.assert_allclose(state.losses, run_float64(problem, protocol)[0], rtol=1e-5)


def test_columns_that_wait_in_large_dual_states():
    """Beyond a few megabytes the dual form updates far columns several steps at a time."""
    problem = make_problem((30, 256, 3), rows=2100, epochs=2)
    protocol = dataclasses.replace(LONG, epochs=2, learning_rate=1e-3)
    state, layers = run_native(problem, protocol, dual=True)
    np.testing.assert_allclose(state.losses, run_float64(problem, protocol)[0], rtol=1e-5)
    again, layers_again = run_native(problem, protocol, dual=True, chunks=[1])
    assert state.losses == again.losses
    assert_layers_close(layers, layers_again, 0.0)


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("cuts", [[1], [3, 4], [2, 2, 5]])
def test_training_goes_on_where_it_stopped(dual, cuts):
    problem = make_problem((30, 40, 20, 4), rows=77, epochs=9)
    protocol = dataclasses.replace(LONG, patience=3, min_delta=0.05)
    whole, layers = run_native(problem, protocol, dual=dual)
    parts, layers_again = run_native(problem, protocol, dual=dual, chunks=cuts)
    assert whole.losses == parts.losses
    assert (whole.epochs, whole.step, whole.wait) == (parts.epochs, parts.step, parts.wait)
    assert (whole.best_loss, whole.stopped) == (parts.best_loss, parts.stopped)
    assert_layers_close(layers, layers_again, 0.0)


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize(("rate", "min_delta"), [(1e-2, 0.02), (0.3, 1e-3), (1e-3, 1e-5)])
def test_early_stopping_and_best_weights(dual, rate, min_delta):
    problem = make_problem((30, 40, 20, 4), rows=120, epochs=60)
    protocol = Protocol(epochs=60, learning_rate=rate, patience=4, min_delta=min_delta)
    state, layers = run_native(problem, protocol, dual=dual)
    losses, history = run_float64(problem, protocol)
    expected = EarlyStopping(4, min_delta).until_it_ends(np.float32(losses))
    kept = expected.kept - 1
    assert state.epochs == expected.epochs
    assert state.stopped
    assert len(state.losses) == expected.epochs
    assert state.best_loss == pytest.approx(losses[kept], rel=1e-4)
    if rate < 0.1:  # a large rate magnifies rounding beyond a tolerance on weights
        assert_layers_close(layers, history[kept], 2e-4)


@pytest.mark.parametrize("dual", [False, True])
def test_last_weights_without_restore_best(dual):
    problem = make_problem((20, 16, 3), rows=50, epochs=4)
    protocol = dataclasses.replace(LONG, restore_best=False, epochs=4)
    _, layers = run_native(problem, protocol, dual=dual)
    assert_layers_close(layers, run_float64(problem, protocol)[1][-1], 1e-5)


@pytest.mark.parametrize("dual", [False, True])
def test_divergence_is_nan_and_never_an_improvement(dual):
    problem = make_problem((30, 40, 4), rows=90, epochs=12)
    state, _ = run_native(problem, Protocol(epochs=12, learning_rate=1e25), dual=dual)
    assert np.isnan(state.losses[-1])
    assert not np.isnan(state.best_loss)
    poisoned = dataclasses.replace(problem, x=np.full_like(problem.x, np.nan))
    state, layers = run_native(poisoned, Protocol(epochs=12), dual=dual)
    assert np.isnan(state.losses).all()
    assert (state.epochs, state.best_loss) == (10, np.inf)
    assert np.isnan(layers[-1][0]).all()  # the first epoch's weights are kept whatever its loss


@pytest.mark.parametrize(
    ("dual", "epochs"),
    [(True, 100), *(pytest.param(dual, 600, marks=pytest.mark.slow) for dual in (False, True))],
)
def test_momentum_is_renormalised_in_time(dual, epochs):
    problem = make_problem((20, 16, 3), rows=64, epochs=epochs)
    protocol = Protocol(epochs=epochs, batch_size=2, learning_rate=1e-4, momentum=0.5, patience=0)
    state, _ = run_native(problem, protocol, dual=dual)
    np.testing.assert_allclose(state.losses, run_float64(problem, protocol)[0], rtol=2e-5)


def test_epochs_end_at_the_protocols_limit():
    problem = make_problem((10, 8, 2), rows=30, epochs=9)
    state, _ = run_native(problem, dataclasses.replace(LONG, epochs=5), dual=True)
    assert (state.epochs, state.stopped) == (5, True)
    native.train_epochs(state, problem.x, None, problem.y, problem.order, LONG)
    assert state.epochs == 5


def test_threads_train_members_of_their_own():
    problem = make_problem((40, 64, 32, 5), rows=130, epochs=8)
    protocol = dataclasses.replace(LONG, epochs=8)
    alone = run_native(problem, protocol, dual=True)[0].losses
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(run_native, problem, protocol, dual=True) for _ in range(12)]
        assert all(job.result()[0].losses == alone for job in jobs)


def numpy_scores(layers, x, y):
    z = x.astype(np.float64)
    for i, (kernel, bias) in enumerate(layers):
        z = (np.maximum(z, 0) if i else z) @ kernel + (0 if bias is None else bias)
    losses = np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) + z.max(1) - z[np.arange(len(y)), y]
    return (z.argmax(1) == y).sum(), losses.sum()


@settings(examples, max_examples=60)
@given(cases(), st.integers(1, 70))
def test_scores_equal_numpy(case, rows):
    problem, protocol, _ = case
    state, layers = run_native(problem, protocol, dual=False)
    rng = np.random.default_rng(rows)
    x = rng.random((rows, problem.x.shape[1]), np.float32)
    y = rng.integers(0, problem.layers[-1][0].shape[1], rows).astype(np.int32)
    right, cross_entropy = native.score(state, x, y)
    expected = numpy_scores(layers, x, y)
    assert abs(right - expected[0]) <= 1  # a tie may fall either way by rounding
    assert cross_entropy == pytest.approx(expected[1], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("classes", [4, 30])
def test_scores_of_nothing_and_of_nan(classes):
    problem = make_problem((20, 16, classes), rows=50, epochs=1)
    state = native.init_state(problem.layers, rows=50, dual=False)
    assert native.score(state, problem.x[:0], problem.y[:0]) == (0.0, 0.0)
    right, cross_entropy = native.score(state, np.full_like(problem.x, np.nan), problem.y)
    assert right == (problem.y == 0).sum()  # NumPy's argmax takes the first NaN
    assert np.isnan(cross_entropy)


def test_scoring_refuses_wrong_arrays():
    problem = make_problem((10, 8, 3), rows=30, epochs=1)
    state = native.init_state(problem.layers, rows=30, dual=False)
    with pytest.raises(ValueError, match="x has shape"):
        native.score(state, problem.x[:, :9], problem.y)
    with pytest.raises(ValueError, match="labels"):
        native.score(state, problem.x, problem.y + 1)
    with pytest.raises(ValueError, match="dual form"):
        native.score(native.init_state(problem.layers, rows=30, dual=True), problem.x, problem.y)


@settings(examples, max_examples=60)
@given(st.integers(0, 70), st.integers(1, 150), st.data())
def test_chosen_features_are_fancy_indexing(features, rows, data):
    x = np.random.default_rng(0).random((features, rows), np.float32)
    known = st.integers(0, features - 1)
    chosen = np.asarray(data.draw(st.lists(known, max_size=50)) if features else [], np.int64)
    np.testing.assert_array_equal(native.choose_features(x, chosen), x[chosen].T)


def test_features_out_of_range_are_refused():
    x = np.zeros((3, 5), np.float32)
    for index in (-1, 3):
        with pytest.raises(ValueError, match=r"in \[0, 3\)"):
            native.choose_features(x, np.asarray([index]))
    with pytest.raises(ValueError, match="contiguous float32"):
        native.choose_features(x.T, np.asarray([0]))


def test_wrong_arrays_are_refused():
    problem = make_problem((10, 8, 3), rows=30, epochs=2)
    state = native.init_state(problem.layers, rows=30, dual=False)
    good = (state, problem.x, None, problem.y, problem.order, LONG)
    bad = {
        "inputs": (1, problem.x[:, :9]),
        "labels": (3, problem.y + 3),
        "order": (4, problem.order + 1),
        "plain SGD": (5, dataclasses.replace(LONG, optimizer="adam")),
    }
    for message, (place, value) in bad.items():
        arguments = list(good)
        arguments[place] = value
        with pytest.raises(ValueError, match=message):
            native.train_epochs(*arguments)
    dual = native.init_state(problem.layers, rows=30, dual=True)
    with pytest.raises(ValueError, match="z0 has shape None"):
        native.train_epochs(dual, problem.x @ problem.x.T, None, problem.y, problem.order, LONG)
    with pytest.raises(ValueError, match="layer 1 takes 10 inputs"):
        native.init_state([problem.layers[0], problem.layers[0]], rows=30, dual=False)


@pytest.mark.parametrize("most", [0, 2**20])
def test_orders_of_the_path_are_those_of_every_other(monkeypatch, most):
    """Kept in one piece or made anew for each member, by the first epoch's visits."""
    monkeypatch.setattr(training, "TABLE_BYTES", most)
    problem = SimpleNamespace(rows=50, seed=3)
    orders = np.concatenate(list(training._orders(problem, Protocol(epochs=4))))
    expected = np.stack([epoch_order(50, e, 3) for e in range(4)])
    np.testing.assert_array_equal(expected[0][orders], expected)
    np.testing.assert_array_equal(orders[0], np.arange(50))
