"""Every path of the engine equals the plain program, and the plain program equals Keras."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest
import scipy.special
from engine_cases import make_head, make_masks, make_splits, way
from plain import fit_plain
from sklearn.utils.class_weight import compute_class_weight

from evojax_prune.core.forward import balanced_weights, forward, jax_row_losses, layers_of
from evojax_prune.core.head import head_spec, init_params
from evojax_prune.core.masks import dense_masks, kernel_masks
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import decode
from evojax_prune.engine import fit_population, native
from evojax_prune.engine.batches import epoch_order
from evojax_prune.engine.xla import path

PROTOCOL = Protocol(epochs=30, learning_rate=1e-2, decay=1e-3)
SPLITS = make_splits()
NATIVE = [
    pytest.param(
        name, marks=pytest.mark.skipif(not native.available(), reason=native.why_unavailable())
    )
    for name in ("native dual", "native primal")
]


@functools.cache
def reference(mode: str, grain: str):
    head = make_head(mode, SPLITS)
    masks = make_masks(head, mode, grain)
    return head, masks, [fit_plain(masks, m, SPLITS, PROTOCOL, head) for m in range(len(masks))]


def cross_entropies(logits, y):
    return -scipy.special.log_softmax(logits, 1)[np.arange(len(y)), y]


def assert_equals_plain(mode: str, grain: str, engine: str, **options: object) -> None:
    head, masks, plain = reference(mode, grain)
    fits = fit_population(
        masks, SPLITS, PROTOCOL, head=head, return_params=True, **way(engine), **options
    )
    initial = init_params(head, 0)
    np.testing.assert_allclose(fits.loss, [p.best_loss for p in plain], rtol=1e-5)
    assert fits.epochs.tolist() == [p.epochs for p in plain]
    for m, expected in enumerate(plain):
        logits = expected.logits(SPLITS.test.x, masks, m)
        assert fits.accuracy["test"][m] == np.mean(logits.argmax(1) == SPLITS.test.y)
        for i, kept in enumerate(kernel_masks(masks, m)):
            kernel = fits.params[m][f"layer_{i}"]["kernel"]
            start = initial[f"layer_{i}"]["kernel"]
            off = ~np.broadcast_to(kept, kernel.shape)
            np.testing.assert_array_equal(kernel[off], start[off])


@pytest.mark.parametrize("mode", ["features", "fc1", "fc2", "both"])
@pytest.mark.parametrize("engine", NATIVE)
def test_native_equals_plain(mode, engine):
    assert_equals_plain(mode, "neurons", engine)


@pytest.mark.parametrize(
    ("mode", "engine"),
    [
        pytest.param("features", "xla dual", marks=pytest.mark.slow),
        pytest.param("fc2", "xla primal", marks=pytest.mark.slow),
        pytest.param("both", "xla dual", marks=pytest.mark.slow),
        pytest.param("both", "optax", marks=pytest.mark.slow),
        ("features", "xla dual side-by-side"),
        ("both", "xla primal side-by-side"),
    ],
)
def test_xla_equals_plain(mode, engine):
    assert_equals_plain(mode, "neurons", engine)


@pytest.mark.parametrize(
    ("mode", "engine"),
    [
        ("features", "auto"),
        pytest.param("fc1", "xla dual side-by-side", marks=pytest.mark.slow),
        pytest.param("both", "optax", marks=pytest.mark.slow),
    ],
)
def test_connections_equal_plain(mode, engine):
    assert_equals_plain(mode, "connections", engine)


CHANGES = ({"nesterov": False}, {"momentum": 0.0}, {"restore_best": False, "patience": 0})


@pytest.mark.parametrize(
    ("engine", "change"),
    [
        *(pytest.param(*p.values, change, marks=p.marks) for p in NATIVE for change in CHANGES),
        ("xla dual", CHANGES[0]),
        pytest.param("xla dual", CHANGES[1], marks=pytest.mark.slow),
        ("xla dual", CHANGES[2]),
    ],
)
def test_variants_of_sgd_equal_plain(engine, change):
    protocol = dataclasses.replace(PROTOCOL, epochs=8, **change)
    head = make_head("fc1", SPLITS)
    masks = make_masks(head, "fc1")[:2]
    plain = [fit_plain(masks, m, SPLITS, protocol, head) for m in range(2)]
    fits = fit_population(masks, SPLITS, protocol, head=head, **way(engine), return_params=True)
    np.testing.assert_allclose(fits.loss, [p.best_loss for p in plain], rtol=1e-5)
    for m in range(2):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=5e-6, rtol=1e-4),
            fits.params[m],
            plain[m].params,
        )


@pytest.mark.parametrize("engine", [pytest.param("xla dual", marks=pytest.mark.slow), "xla primal"])
def test_steps_in_blocks_equal_plain(engine, monkeypatch):
    """Each step of a block has its own learning rate, and sees the steps before it."""
    monkeypatch.setattr(path, "BLOCKS", (4,))
    protocol = dataclasses.replace(PROTOCOL, epochs=4, batch_size=8, decay=0.05)
    head = make_head("fc1", SPLITS)
    masks = make_masks(head, "fc1")[:1]
    plain = fit_plain(masks, 0, SPLITS, protocol, head)
    fits = fit_population(masks, SPLITS, protocol, head=head, **way(engine))
    np.testing.assert_allclose(fits.loss[0], plain.best_loss, rtol=1e-5)


OTHERS = ("xla dual", "xla dual side-by-side", "optax")


@pytest.mark.parametrize("smoothing", [0.1, pytest.param(0.9, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "engine",
    [
        *NATIVE,
        "xla primal",
        *(pytest.param(e, marks=pytest.mark.slow) for e in OTHERS),
    ],
)
def test_label_smoothing_equals_plain(engine, smoothing):
    """Of the training loss and the weights; the scores are those of the bare labels."""
    protocol = dataclasses.replace(PROTOCOL, epochs=6, label_smoothing=smoothing)
    head = make_head("fc1", SPLITS)
    masks = make_masks(head, "fc1")[:2]
    plain = [fit_plain(masks, m, SPLITS, protocol, head) for m in range(2)]
    fits = fit_population(masks, SPLITS, protocol, head=head, return_params=True, **way(engine))
    np.testing.assert_allclose(fits.loss, [p.best_loss for p in plain], rtol=1e-5)
    for m in range(2):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=5e-6, rtol=1e-4),
            fits.params[m],
            plain[m].params,
        )
        losses = cross_entropies(plain[m].logits(SPLITS.test.x, masks, m), SPLITS.test.y)
        np.testing.assert_allclose(fits.cross_entropy["test"][m], losses.mean(), rtol=1e-4)


def rare(splits):
    """The splits with the third class as rare as a ninth of the rows, and one class never seen."""
    few = np.flatnonzero(splits.train.y == 2)[2:]
    y = splits.train.y.copy()
    y[few] = few % 2
    train = dataclasses.replace(splits.train, y=y)
    return dataclasses.replace(splits, train=train, classes=(*splits.classes, "never"))


@pytest.mark.parametrize(
    ("engine", "smoothing"),
    [
        *(pytest.param(*p.values, s, marks=p.marks) for p in NATIVE for s in (0.0, 0.2)),
        *(("xla dual side-by-side", 0.2), ("optax", 0.2)),
        *(pytest.param(e, 0.0, marks=pytest.mark.slow) for e in ("xla dual", "xla primal")),
    ],
)
def test_class_weights_equal_plain(engine, smoothing):
    splits = rare(SPLITS)
    protocol = dataclasses.replace(
        PROTOCOL, epochs=6, label_smoothing=smoothing, class_weights="balanced"
    )
    head = make_head("fc1", splits)
    masks = make_masks(head, "fc1")[:2]
    plain = [fit_plain(masks, m, splits, protocol, head) for m in range(2)]
    unweighted = fit_plain(
        masks, 0, splits, dataclasses.replace(protocol, class_weights="none"), head
    )
    assert abs(plain[0].best_loss - unweighted.best_loss) > 1e-2
    fits = fit_population(masks, splits, protocol, head=head, return_params=True, **way(engine))
    np.testing.assert_allclose(fits.loss, [p.best_loss for p in plain], rtol=1e-5)
    for m in range(2):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=5e-6, rtol=1e-4),
            fits.params[m],
            plain[m].params,
        )
        losses = cross_entropies(plain[m].logits(splits.test.x, masks, m), splits.test.y)
        np.testing.assert_allclose(fits.cross_entropy["test"][m], losses.mean(), rtol=1e-4)


@pytest.mark.parametrize("engine", NATIVE)
@pytest.mark.parametrize("classes", [3, 30])
def test_class_weights_of_few_and_many_classes(engine, classes):
    """A narrow last layer of the kernel and a wide one; folds of different counts."""
    folds = [make_splits(rows, classes=classes, seed=rows) for rows in (61, 70)]
    head = head_spec("features", 40, classes, (24,))
    protocol = dataclasses.replace(PROTOCOL, epochs=4, class_weights="balanced")
    fits = fit_population(dense_masks(head), folds, protocol, head=head, **way(engine))
    plain = [fit_plain(dense_masks(head), 0, fold, protocol, head).best_loss for fold in folds]
    np.testing.assert_allclose(fits.loss[0], np.mean(plain), rtol=1e-5)


def test_balanced_weights_are_those_of_scikit_learn():
    y = np.random.default_rng(0).choice(5, 200, p=[0.5, 0.3, 0.15, 0.05, 0]).astype(np.int32)
    weights = balanced_weights(y, 6)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=y)
    np.testing.assert_allclose(weights, [*expected, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(weights[y].mean(), 1, rtol=1e-6)


def test_the_first_weighted_loss_is_that_of_numpy():
    """One step over all rows: what early stopping sees is the loss of the initial weights."""
    splits, head = rare(SPLITS), make_head("fc1", rare(SPLITS))
    y, rows = splits.train.y, len(splits.train.y)
    protocol = Protocol(epochs=1, batch_size=rows, class_weights="balanced")
    logits = forward(splits.train.x, layers_of(init_params(head, 0))).astype(np.float64)
    losses = cross_entropies(logits, y)
    expected = np.mean([losses[y == c].mean() for c in range(3)])
    fits = fit_population(dense_masks(head), splits, protocol, head=head)
    np.testing.assert_allclose(fits.loss[0], expected, rtol=1e-6)


def test_a_smoothed_loss_equals_optax():
    rng = np.random.default_rng(0)
    logits, y = rng.normal(0, 5, (50, 7)).astype(np.float32), rng.integers(0, 7, 50)

    @jax.jit
    def theirs(smoothing):
        target = optax.smooth_labels(jax.nn.one_hot(y, 7), smoothing)
        return target, optax.softmax_cross_entropy(logits, target)

    ours = jax.jit(jax_row_losses)
    for smoothing in np.float32([0.0, 0.3, 0.99]):
        target, expected = theirs(smoothing)
        losses = ours(logits, y, smoothing)
        np.testing.assert_allclose(losses, expected, 1e-6, 2e-6)
        exact = logits.astype(np.float64)
        exact = scipy.special.log_softmax(exact, 1) * np.asarray(target, np.float64)
        np.testing.assert_allclose(losses, -exact.sum(1), 1e-6, 2e-6)


def test_another_smoothing_compiles_nothing():
    head = make_head("fc1", SPLITS)
    for smoothing, new in ((0.1, None), (0.2, 0), (0.3, 0)):
        protocol = Protocol(epochs=1, label_smoothing=smoothing)
        for engine in ("xla primal", "optax"):
            fits = fit_population(dense_masks(head), SPLITS, protocol, head=head, **way(engine))
            assert new is None or fits.report.programs == new


SMALL, LARGE = (20, 2, (8,)), (97, 1000, (9, 7, 5))


@pytest.mark.parametrize(
    ("engine", "rows", "classes", "hidden"),
    [
        *(pytest.param(*p.values, *s, marks=p.marks) for p in NATIVE for s in (SMALL, LARGE)),
        *(pytest.param("xla dual", *s, marks=pytest.mark.slow) for s in (SMALL, LARGE)),
    ],
)
def test_sizes(engine, rows, classes, hidden):
    """One and three hidden layers, 2 and 1000 classes, fewer rows than a batch, a short batch."""
    splits = make_splits(rows, features=13, classes=classes, test_rows=64)
    head = head_spec("features", 13, classes, hidden)
    masks = decode(np.random.default_rng(1).random((1, 13)) < 0.6, head, "features")
    protocol = dataclasses.replace(PROTOCOL, epochs=5)
    plain = fit_plain(masks, 0, splits, protocol, head)
    fits = fit_population(masks, splits, protocol, head=head, **way(engine))
    np.testing.assert_allclose(fits.loss[0], plain.best_loss, rtol=1e-5)


@pytest.mark.slow
def test_long_epochs_renew_the_scaled_velocity():
    """More steps an epoch than float32 can hold powers of the momentum for."""
    splits = make_splits(400, features=6, test_rows=10)
    head = head_spec("features", 6, 3, (4,))
    protocol = Protocol(epochs=2, batch_size=1, learning_rate=1e-3, momentum=0.5)
    plain = fit_plain(dense_masks(head), 0, splits, protocol, head)
    for engine in ("xla dual", "xla primal"):
        fits = fit_population(dense_masks(head), splits, protocol, head=head, **way(engine))
        np.testing.assert_allclose(fits.loss[0], plain.best_loss, rtol=1e-5)


def test_plain_program_equals_keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras", reason="the extra evojax-prune[keras] is not installed")
    head = head_spec("fc2", 40, 3, (24, 16))
    protocol = dataclasses.replace(PROTOCOL, epochs=6, patience=0, restore_best=False)
    plain = fit_plain(dense_masks(head), 0, SPLITS, protocol, head)
    x, y = SPLITS.train.x, SPLITS.train.y
    inputs = keras.Input((40,))
    hidden = keras.layers.Dense(24, activation="relu")(inputs)
    hidden = keras.layers.Dense(16, activation="relu", use_bias=False)(hidden)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(hidden))
    model.set_weights(_in_keras_order(init_params(head, 0)))
    rate = keras.optimizers.schedules.InverseTimeDecay(1e-2, 1, 1e-3)
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
        loss="sparse_categorical_crossentropy",
    )
    losses = []
    # Keras relies on JAX's implicit promotions
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for epoch in range(protocol.epochs):
            order = epoch_order(len(y), epoch, 0)
            history = model.fit(x[order], y[order], batch_size=32, shuffle=False, verbose=0)
            losses += history.history["loss"]
    np.testing.assert_allclose(losses, plain.losses, rtol=1e-4)
    for ours, theirs in zip(_in_keras_order(plain.params), model.weights, strict=True):
        np.testing.assert_allclose(ours, np.asarray(theirs.value), rtol=1e-4, atol=1e-5)


def _in_keras_order(params):
    return [
        layer[name]
        for _, layer in sorted(params.items())
        for name in ("kernel", "bias")
        if name in layer
    ]
