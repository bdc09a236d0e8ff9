"""Sensitivities of a layer over a data set."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sensitivity_heads import SPEC, closed_form, head_params, patterns

from evojax_prune.baselines import (
    activation_means,
    activation_variances,
    gradient_times_input,
    outgoing_norms,
    random_scores,
)
from evojax_prune.core.errors import UserError
from evojax_prune.core.head import HeadSpec, init_params
from evojax_prune.core.masks import Masks, apply_mask, dense_masks
from evojax_prune.core.ranking import rank_units
from evojax_prune.sensitivity import power_mean, scores, sensitivities, unit_moments
from evojax_prune.sensitivity.jacobian import activations

PS = (1.0, 2.0, 4.5, 1000.0, math.inf)
FEW = (1.0, 4.5, math.inf)  # fewer norms compile faster


def hidden(params, x, layer):
    return np.asarray(jax.vmap(lambda row: activations(params, row, layer))(x))


@pytest.mark.parametrize("of", ["probabilities", "logits"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_scores_equal_numpy_on_the_full_array(layer, of):
    params, x = head_params(), patterns(37)
    full = closed_form(params, hidden(params, x, layer), layer, of)  # [N, C, U]
    ours = sensitivities(params, x, p=PS, layer=layer, of=of, chunk_size=8)
    for i, p in enumerate(PS):
        np.testing.assert_allclose(ours.per_output[i], power_mean(full, p), rtol=2e-5, atol=1e-7)
        both = power_mean(power_mean(full, p), p)
        np.testing.assert_allclose(ours.scores(p), both, rtol=2e-5, atol=1e-7)
    magnitude = np.abs(full)
    close = {"rtol": 2e-5, "atol": 1e-7}
    np.testing.assert_allclose(ours.scores(1.0), magnitude.mean((0, 1)), **close)
    np.testing.assert_allclose(ours.scores(2.0), np.sqrt((full**2).mean((0, 1))), **close)
    np.testing.assert_allclose(ours.scores(math.inf), magnitude.max((0, 1)), **close)
    # Zurada's overall measure: root mean square over patterns, maximum over outputs.
    zurada = np.sqrt((full**2).mean(0)).max(0)
    np.testing.assert_allclose(ours.scores(2.0, outputs=math.inf), zurada, **close)


OTHERS = [pytest.param(size, marks=pytest.mark.slow) for size in (3, 64, 1000)]


@pytest.mark.parametrize("chunk_size", [1, 16, None, *OTHERS])
def test_chunks_of_any_size_give_the_same(chunk_size):
    spec = HeadSpec(96, (33, 20), 6, (False, False, True))
    params, x = init_params(spec, 5), patterns(101, spec)
    whole = sensitivities(params, x, p=FEW, chunk_size=128).per_output
    ours = sensitivities(params, x, p=FEW, chunk_size=chunk_size).per_output
    np.testing.assert_allclose(ours, whole, rtol=1e-6, atol=1e-6 * whole.max())


def test_order_of_patterns_and_outputs_does_not_matter():
    params, x = head_params(), patterns(40)
    ours = sensitivities(params, x, p=FEW)
    rng = np.random.default_rng(0)
    permuted = jax.tree.map(np.copy, params)
    order = rng.permutation(SPEC.classes)
    permuted["layer_2"] = {name: leaf[..., order] for name, leaf in params["layer_2"].items()}
    other = sensitivities(permuted, rng.permutation(x), p=FEW)
    np.testing.assert_allclose(other.per_output, ours.per_output[:, order], rtol=1e-5)
    for p in FEW:
        np.testing.assert_allclose(other.scores(p), ours.scores(p), rtol=1e-5)


def test_scores_never_fall_as_p_grows():
    ours = sensitivities(head_params(), patterns(40), p=PS)
    for outputs in (1.0, 2.0, math.inf):
        ladder = np.stack([ours.scores(p, outputs) for p in PS])
        assert (np.diff(ladder, axis=0) >= -1e-6 * ladder[:-1]).all()
    ladder = np.stack([ours.scores(2.0, q) for q in PS])
    assert (np.diff(ladder, axis=0) >= 0).all()


def test_what_is_pruned_scores_nothing_and_ranks_last():
    rng = np.random.default_rng(2)
    masks = Masks(
        rng.random((1, 11)) < 0.5, (rng.random((1, 7)) < 0.5, np.ones((1, 5), bool)), (None,) * 3
    )
    params, x = apply_mask(head_params(), masks, 0), patterns(30)
    for layer, active in ((0, masks.features[0]), (1, masks.units[0][0])):
        for weighting in ("std", "input"):
            ours = sensitivities(params, x, p=FEW, layer=layer, weighting=weighting)
            for p in FEW:
                found = ours.scores(p)
                assert (found[~active] == 0).all()
                order = rank_units(found, active)
                assert active[order[: active.sum()]].all()


def test_weighting_by_the_standard_deviation_frees_scores_of_scale():
    params, x = head_params(), patterns(50)
    scale = np.logspace(-2, 2, SPEC.features, dtype=np.float32)
    scaled = jax.tree.map(np.copy, params)
    scaled["layer_0"]["kernel"] /= scale[:, None]
    plain = sensitivities(params, x, p=FEW, weighting="std").per_output
    same = sensitivities(scaled, x * scale, p=FEW, weighting="std").per_output
    np.testing.assert_allclose(same, plain, rtol=1e-4)
    expected = sensitivities(params, x, p=FEW).per_output * x.std(0, dtype=np.float64)
    np.testing.assert_allclose(plain, expected, rtol=1e-6)


def test_moments_are_accurate_far_from_zero():
    params, x = head_params(), patterns(50) + np.float32(1000)
    mean, variance = unit_moments(params, x, chunk_size=7)
    np.testing.assert_allclose(mean, x.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(variance, x.var(0, dtype=np.float64), rtol=1e-9)


def test_baselines_are_what_they_say():
    params, x = head_params(), patterns(25)
    kernel, h = params["layer_1"]["kernel"].astype(np.float64), hidden(params, x, 1)
    np.testing.assert_allclose(outgoing_norms(params, 1), np.sqrt((kernel**2).sum(1)))
    close = {"rtol": 1e-5, "atol": 1e-7}
    np.testing.assert_allclose(activation_means(params, x, 1), h.mean(0), **close)
    np.testing.assert_allclose(activation_variances(params, x, 1), h.var(0), **close)
    product = closed_form(params, h, 1, "probabilities") * h[:, None, :]
    ours = gradient_times_input(params, x, 1)
    np.testing.assert_allclose(ours, np.abs(product).mean((0, 1)), **close)
    assert [sorted(order) for order in random_scores([9, 3], 4)] == [[*range(9)], [*range(3)]]
    np.testing.assert_array_equal(random_scores([9], 4), random_scores([9], 4))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": "nan"}, "feature 3 of row 17"),
        ({"x": "inf"}, "feature 3 of row 17"),
        ({"x": "narrow"}, r"expected \[N, 11\]"),
        ({"x": "empty"}, "at least one row"),
        ({"p": 0.5}, "p is 0.5"),
        ({"p": "2"}, "p is '2'"),
        ({"of": "probs"}, "of is 'probs', expected one of probabilities, logits"),
        ({"weighting": "sd"}, "weighting is 'sd', expected one of none, std, input"),
        ({"layer": 3}, "layer 3 does not exist"),
        ({"layer": -1}, "layer -1 does not exist"),
        ({"chunk_size": 0}, "chunk_size is 0"),
        ({"params": "diverged"}, "diverged"),
    ],
)
def test_what_has_no_sensitivities_is_refused_in_a_sentence(change, says):
    params, x = head_params(), patterns(20)
    if "x" in change:
        x = {"narrow": x[:, :-1], "empty": x[:0]}.get(change["x"], x.copy())
        if change["x"] in ("nan", "inf"):
            x[17, 3] = float(change["x"])
    if "params" in change:
        params["layer_1"]["kernel"][0, 0] = np.nan
    settings = {k: v for k, v in change.items() if k not in ("x", "params")}
    with pytest.raises(UserError, match=says):
        sensitivities(params, x, **{"chunk_size": 8} | settings)


def test_asking_for_another_norm_than_computed_is_refused():
    with pytest.raises(UserError, match="p=3, only for p=1, p=2"):
        sensitivities(head_params(), patterns(3), p=(1, 2)).scores(3.0)


def test_a_dense_mask_changes_nothing():
    params, x = head_params(), patterns(10)
    masked = apply_mask(params, dense_masks(SPEC), 0)
    np.testing.assert_array_equal(
        sensitivities(masked, x).per_output, sensitivities(params, x).per_output
    )


def test_the_largest_study_fits_in_two_gigabytes():
    # Whatever N is, what exists at once is one chunk in the making, one being added and the sums.
    features, classes, patterns = 2048, 100, 50_000
    spec = HeadSpec(features, (512,), classes, (False, True))
    params = init_params(spec, 0)
    size = scores._chunk_size(patterns, 4 * classes * features, None)
    memory = (
        scores._reduce_chunk.lower(
            params,
            jax.ShapeDtypeStruct((size, features), jnp.float32),
            size,
            jax.ShapeDtypeStruct((classes, features), jnp.float32),
            layer=0,
            of="probabilities",
            ps=(1.0, 2.0, 3.0),
            times_input=False,
        )
        .compile()
        .memory_analysis()
    )
    assert memory.temp_size_in_bytes + memory.output_size_in_bytes < 200 * 2**20
