"""What a population shares: folds, devices, memory, compiled programs, reports, bad input."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from engine_cases import make_head, make_masks, make_splits, way

from evojax_prune.core.errors import UserError
from evojax_prune.core.masks import dense_masks
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import decode
from evojax_prune.core.splits import FeatureSplits, Split
from evojax_prune.engine import cost, fit_population, native, run_queue
from evojax_prune.engine.compilation import compiled_so_far
from evojax_prune.engine.xla import lanes, path, side_by_side

SPLITS = make_splits()
PROTOCOL = Protocol(epochs=10, learning_rate=1e-2, patience=2, min_delta=0.02)
HEAD = make_head("both", SPLITS)
MASKS = make_masks(HEAD, "both")


@pytest.fixture(autouse=True)
def single_steps(monkeypatch):
    """Blocks are tested for exactness elsewhere; without them programs compile faster."""
    monkeypatch.setattr(path, "BLOCKS", (1,))


def same_fits(a, b, rtol=1e-6):
    np.testing.assert_allclose(a.loss, b.loss, rtol=rtol)
    assert a.epochs.tolist() == b.epochs.tolist()
    for name in a.accuracy:
        np.testing.assert_array_equal(a.accuracy[name], b.accuracy[name])
        np.testing.assert_allclose(a.cross_entropy[name], b.cross_entropy[name], rtol=1e-5)


def equally_wide(members: int):
    """Half of each layer, drawn anew: members of one width, so that one program trains them all."""
    rng = np.random.default_rng(1)
    halves = [np.tile(np.arange(width) % 2 == 0, (members, 1)) for width in (24, 16)]
    genomes = np.concatenate([rng.permuted(half, axis=1) for half in halves], axis=1)
    return decode(genomes, HEAD, "both")


def fold_splits(count: int) -> list[FeatureSplits]:
    x, y = SPLITS.train.x, SPLITS.train.y
    folds = np.arange(len(y)) % count
    return [
        FeatureSplits(
            Split(x[folds != k], y[folds != k]),
            Split(x[folds == k], y[folds == k]),
            SPLITS.test,
            SPLITS.classes,
        )
        for k in range(count)
    ]


def test_same_call_same_numbers():
    a, b = (fit_population(MASKS, SPLITS, PROTOCOL, head=HEAD) for _ in range(2))
    np.testing.assert_array_equal(a.loss, b.loss)
    same_fits(a, b)


def test_members_do_not_depend_on_their_company():
    masks = equally_wide(10)
    call = {"head": HEAD, "evaluate": ("selection",), **way("xla dual side-by-side")}
    together = fit_population(masks, SPLITS, PROTOCOL, **call)
    alone = fit_population(masks[[1]], SPLITS, PROTOCOL, **call)
    np.testing.assert_allclose(alone.loss[0], together.loss[1], rtol=1e-6)
    assert alone.epochs[0] == together.epochs[1]


@pytest.mark.skipif(not native.available(), reason=native.why_unavailable())
@pytest.mark.parametrize("engine", ["native dual", "native primal"])
def test_native_members_alone_have_the_very_numbers_they_have_in_company(engine):
    splits = make_splits(rows=300, features=500)
    head = make_head("features", splits)
    masks = decode(np.random.default_rng(0).random((3, 500)) < 0.5, head, "features")
    together = fit_population(masks, splits, PROTOCOL, head=head, **way(engine))
    for m in range(3):
        alone = fit_population(masks[[m]], splits, PROTOCOL, head=head, **way(engine))
        assert alone.loss[0] == together.loss[m]
        for name in together.cross_entropy:
            assert alone.cross_entropy[name][0] == together.cross_entropy[name][m]


def test_eight_devices_equal_one(monkeypatch):
    assert jax.device_count() == 8
    masks = equally_wide(10)
    call = {"head": HEAD, "evaluate": ("selection",), **way("xla dual side-by-side")}
    many = fit_population(masks, SPLITS, PROTOCOL, **call)
    monkeypatch.setattr(side_by_side, "EPOCHS_PER_CALL", 5)
    twice = fit_population(masks, SPLITS, PROTOCOL, **call)
    assert twice.report.programs == 1  # what comes out of a call is placed as what goes in
    same_fits(many, twice)
    one_device(monkeypatch)
    one = fit_population(masks, SPLITS, PROTOCOL, **call)
    same_fits(many, one)


def one_device(monkeypatch):
    first = jax.local_devices()[:1]
    monkeypatch.setattr(jax, "local_devices", lambda: first)


def test_members_stop_each_for_itself_and_leave_the_program(monkeypatch):
    monkeypatch.setattr(side_by_side, "EPOCHS_PER_CALL", 5)
    monkeypatch.setattr(side_by_side, "SHRINK", 2)
    one_device(monkeypatch)
    left, keep = [], lanes._Run.keep

    def watched(run, now, live, size):
        left.append(len(now.slots) - size)
        return keep(run, now, live, size)

    monkeypatch.setattr(lanes._Run, "keep", watched)
    call = {"head": HEAD, "return_params": True, "evaluate": ("selection",)}
    masks, protocol = equally_wide(4), dataclasses.replace(PROTOCOL, min_delta=0.05)
    fits = fit_population(masks, SPLITS, protocol, **call, **way("xla dual side-by-side"))
    alone = fit_population(masks, SPLITS, protocol, **call, **way("xla dual workers"))
    assert left, "the case must have members that are done long before the others"
    assert min(left) > 0
    assert len(set(fits.epochs.tolist())) > 1
    same_fits(fits, alone)
    for mine, theirs in zip(fits.params, alone.params, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), mine, theirs)


@pytest.mark.slow
def test_member_batch_and_repacking_change_nothing(monkeypatch):
    monkeypatch.setattr(side_by_side, "EPOCHS_PER_CALL", 2)
    monkeypatch.setattr(side_by_side, "SHRINK", 2)
    one_device(monkeypatch)
    whole = fit_population(MASKS, SPLITS, PROTOCOL, head=HEAD, **way("xla primal side-by-side"))
    parts = fit_population(
        MASKS, SPLITS, PROTOCOL, head=HEAD, **way("xla primal side-by-side"), member_batch=3
    )
    same_fits(whole, parts)


def test_out_of_memory_halves_the_portion(monkeypatch, caplog):
    train, sizes = side_by_side._train, []

    def short_of_memory(group, *rest):
        sizes.append(len(group.rows))
        if len(group.rows) > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return train(group, *rest)

    monkeypatch.setattr(side_by_side, "_train", short_of_memory)
    call = {"head": HEAD, "evaluate": ("selection",), **way("xla dual side-by-side")}
    fits = fit_population(equally_wide(4), SPLITS, PROTOCOL, **call)
    assert len(fits) == 4
    assert "going on with 1 members at a time" in caplog.text
    assert max(sizes) > 1


def test_a_member_that_cannot_fit_is_a_clear_error(monkeypatch):
    def no_memory(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(side_by_side, "_train", no_memory)
    with pytest.raises(UserError, match="does not fit the device's memory"):
        fit_population(MASKS, SPLITS, PROTOCOL, head=HEAD, **way("xla dual side-by-side"))


@pytest.mark.parametrize(
    ("engine", "single"), [("auto", "auto"), ("xla dual side-by-side", "auto")]
)
def test_folds_train_in_one_population(engine, single):
    folds = fold_splits(3)
    call = {"head": HEAD, "evaluate": ("selection",)}
    masks = equally_wide(4)
    fits = fit_population(masks, folds, PROTOCOL, **call, **way(engine))
    each = [fit_population(masks, f, PROTOCOL, **call, **way(single)) for f in folds]
    assert len(fits.folds) == 3
    for ours, alone in zip(fits.folds, each, strict=True):
        same_fits(ours, alone, rtol=1e-5)
    np.testing.assert_allclose(
        fits.accuracy["selection"], np.mean([f.accuracy["selection"] for f in each], axis=0)
    )
    assert fits.epochs.tolist() == sum(f.epochs for f in each).tolist()


@pytest.mark.parametrize("engine", ["auto", "xla dual"])
def test_diverged_training_scores_nan(engine):
    wild = dataclasses.replace(PROTOCOL, learning_rate=1e30, epochs=3)
    call = {"head": HEAD, "evaluate": ("selection",), **way(engine)}
    fits = fit_population(MASKS[[0]], SPLITS, wild, **call)
    assert np.isnan(fits.accuracy["selection"]).all()
    assert np.isnan(fits.loss).all()


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["workers", "side-by-side"])
def test_a_search_compiles_few_programs(placement):
    """Widths are padded to four levels, each of which compiles a handful of programs once."""
    rng = np.random.default_rng(0)
    head = make_head("features", SPLITS)
    protocol = dataclasses.replace(PROTOCOL, epochs=1)
    before = compiled_so_far().programs
    compiled = []
    for _ in range(4):
        genomes = rng.random((6, 40)) < rng.random((6, 1))
        masks = decode(genomes, head, "features")
        fit_population(
            masks,
            SPLITS,
            protocol,
            head=head,
            evaluate=("selection",),
            **way(f"xla dual {placement}"),
        )
        compiled.append(compiled_so_far().programs - before)
    assert compiled[-1] <= 4 * 5


def test_input_noise_goes_through_optax():
    protocol = dataclasses.replace(PROTOCOL, epochs=3, input_noise=0.1)
    fits = fit_population(MASKS[[1]], SPLITS, protocol, head=HEAD, evaluate=("selection",))
    assert list(fits.report.paths) == ["optax"]
    assert np.isfinite(fits.loss).all()


def test_adam_equals_optax_on_the_masked_head():
    import jax.numpy as jnp
    import optax
    from plain import _layer_masks

    from evojax_prune.core.flax_head import Head
    from evojax_prune.core.head import init_params
    from evojax_prune.engine.batches import epoch_order

    protocol = dataclasses.replace(PROTOCOL, epochs=2, optimizer="adam", decay=0.0)
    fits = fit_population(MASKS[[1]], SPLITS, protocol, head=HEAD, return_params=True)
    assert list(fits.report.paths) == ["optax"]
    params, kept = init_params(HEAD, 0), _layer_masks(MASKS, 1)
    optimizer = optax.adam(protocol.learning_rate)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, x, y):
        def loss(params):
            masked = {k: {**p, "kernel": p["kernel"] * kept[k]} for k, p in params.items()}
            logits = Head(HEAD).apply({"params": masked}, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        gradient = jax.grad(loss)(params)
        with jax.numpy_dtype_promotion("standard"):
            move, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, move), state

    for epoch in range(2):
        order = epoch_order(70, epoch, 0)
        for start in range(0, 70, 32):
            rows = order[start : start + 32]
            params, state = step(
                params, state, jnp.asarray(SPLITS.train.x[rows]), SPLITS.train.y[rows]
            )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-3), fits.params[0], params
    )


def test_report_says_what_was_done():
    fits = fit_population(MASKS, SPLITS, PROTOCOL, head=HEAD)
    report = fits.report
    assert sum(report.paths.values()) == len(MASKS)
    assert report.member_epochs == fits.epochs.sum()
    assert report.device.startswith("cpu")
    assert report.reason.startswith("training 4 heads: ")


def test_dual_is_refused_where_the_gram_matrix_would_not_fit(monkeypatch):
    monkeypatch.setattr(cost, "free_bytes", lambda device: 1000)
    fits = fit_population(MASKS, SPLITS, PROTOCOL, head=HEAD)
    assert all("primal" in path for path in fits.report.paths)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"engine": "fast"}, "unknown engine 'fast'; expected one of auto, native"),
        ({"engine": "xla quad"}, "unknown form 'quad' of engine 'xla'; expected .* dual, primal"),
        ({"engine": "native workers"}, "unknown form 'workers' of engine 'native'"),
        ({"engine": "xla", "protocol": Protocol(optimizer="adam")}, "exact only for SGD"),
        ({"protocol": Protocol(optimizer="adamm")}, "unknown optimizer 'adamm'"),
    ],
)
def test_what_cannot_be_trained_exactly_is_refused(change, message):
    call = {"protocol": PROTOCOL, "engine": "auto", **change}
    with pytest.raises(UserError, match=message):
        fit_population(MASKS, SPLITS, call["protocol"], head=HEAD, **way(call["engine"]))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="member_batch is 0, expected at least 1"):
        fit_population(MASKS, SPLITS, PROTOCOL, head=HEAD, member_batch=0)
    other = make_head("both", SPLITS, (8, 8))
    with pytest.raises(ValueError, match="masks are for widths"):
        fit_population(MASKS, SPLITS, PROTOCOL, head=other)
    labels = dataclasses.replace(SPLITS, train=Split(SPLITS.train.x, SPLITS.train.y + np.int32(9)))
    with pytest.raises(ValueError, match="labels lie outside 0 to 2"):
        fit_population(MASKS, labels, PROTOCOL, head=HEAD)


def test_native_refuses_connections():
    if not native.available():
        pytest.skip(native.why_unavailable())
    masks = make_masks(HEAD, "both", "connections")
    with pytest.raises(UserError, match="whole units only"):
        fit_population(masks, SPLITS, PROTOCOL, head=HEAD, engine="native")


def test_queue_starts_with_the_costliest_and_raises_errors():
    started = []

    def work(job):
        started.append(job)
        return job * 10

    assert run_queue([1, 3, 2], work, float, workers=1) == [10, 30, 20]
    assert started == [3, 2, 1]
    with pytest.raises(ZeroDivisionError):
        run_queue([1, 0], lambda job: 1 // job, float, workers=2)


def test_dense_member_is_the_unpruned_head():
    fits = fit_population(dense_masks(HEAD), SPLITS, PROTOCOL, head=HEAD)
    same = fit_population(MASKS[[0]], SPLITS, PROTOCOL, head=HEAD)
    same_fits(fits, same)
