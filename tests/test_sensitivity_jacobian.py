"""Local sensitivities against the closed form, finite differences and the head's own module."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from sensitivity_heads import SPEC, closed_form, head_params, patterns

from evojax_prune.core.flax_head import Head
from evojax_prune.core.masks import Masks, apply_mask
from evojax_prune.sensitivity import jacobian as sensing

# Compiled whole: an operation at a time takes longer.
activations = jax.jit(sensing.activations, static_argnums=2)
jacobian = jax.jit(sensing.jacobian, static_argnums=(2, 3))
outputs = jax.jit(sensing.outputs, static_argnums=(2, 3))


@pytest.mark.parametrize("of", ["probabilities", "logits"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_jacobian_is_the_product_of_the_weights(layer, of):
    params, x = head_params(), patterns(6)
    units = jax.vmap(lambda row: activations(params, row, layer))(x)
    ours = jacobian(params, units, layer, of)
    assert ours.shape == (6, 4, SPEC.widths[layer])
    np.testing.assert_allclose(ours, closed_form(params, units, layer, of), rtol=2e-5, atol=1e-6)


def test_jacobian_of_a_masked_head_is_the_product_of_its_masked_weights():
    rng = np.random.default_rng(3)
    masks = Masks(
        rng.random((1, 11)) < 0.5,
        (rng.random((1, 7)) < 0.6, rng.random((1, 5)) < 0.6),
        (None, rng.random((1, 7, 5)) < 0.5, None),
    )
    params, x = apply_mask(head_params(), masks, 0), patterns(5)
    ours = np.asarray(jacobian(params, x, 0, "logits"))
    np.testing.assert_allclose(ours, closed_form(params, x, 0, "logits"), rtol=2e-5, atol=1e-6)
    assert (ours[:, :, ~masks.features[0]] == 0).all()


@pytest.mark.parametrize("of", ["probabilities", "logits"])
@pytest.mark.parametrize("layer", [0, 1])
def test_jacobian_is_the_limit_of_differences(layer, of):
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: leaf.astype(np.float64), head_params())
        x = jnp.asarray(patterns(4).astype(np.float64))
        units = jax.vmap(lambda row: activations(params, row, layer))(x)
        ours = np.asarray(jacobian(params, units, layer, of))
        step = 1e-6
        for j in range(units.shape[1]):
            up, down = units.at[:, j].add(step), units.at[:, j].add(-step)
            output = jax.vmap(lambda a: outputs(params, a, layer, of))
            slope = (output(up) - output(down)) / (2 * step)
            np.testing.assert_allclose(ours[:, :, j], slope, rtol=1e-6, atol=1e-9)


def test_outputs_are_the_head_s():
    params, x = head_params(), patterns(3)
    logits = np.asarray(jax.jit(Head(SPEC).apply)({"params": params}, x))
    for layer in range(3):
        for row, expected in zip(x, logits, strict=True):
            units = activations(params, row, layer)
            ours = outputs(params, units, layer, "logits")
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
            probabilities = outputs(params, units, layer, "probabilities")
            np.testing.assert_allclose(probabilities, softmax(expected), rtol=1e-5)


def test_at_the_kink_the_derivative_is_zero():
    # One hidden unit that sits exactly at 0: its downstream weight must not be seen.
    params = {
        "layer_0": {"kernel": np.array([[1.0, 1.0], [-1.0, 2.0]], np.float32)},
        "layer_1": {"kernel": np.array([[5.0, -5.0], [1.0, 3.0]], np.float32)},
    }
    x = np.array([[1.0, 1.0]], np.float32)  # first hidden unit: 1 - 1 = 0, second: 3
    expected = [[[1 * 1.0, 2 * 1.0], [1 * 3.0, 2 * 3.0]]]
    np.testing.assert_array_equal(jacobian(params, x, 0, "logits"), expected)


def test_a_dead_unit_passes_nothing_on_but_would_be_felt():
    params = head_params()
    params["layer_0"]["bias"][2] = -1e3  # never fires
    x = patterns(5)
    hidden = jax.vmap(lambda row: activations(params, row, 1))(x)
    assert (hidden[:, 2] == 0).all()
    without = jax.tree.map(np.copy, params)
    without["layer_1"]["kernel"][2] = 0
    np.testing.assert_array_equal(
        jacobian(params, x, 0, "logits"), jacobian(without, x, 0, "logits")
    )
    # Its own sensitivity is that of its outgoing weights, were it to fire.
    assert (np.abs(jacobian(params, hidden, 1, "logits"))[:, :, 2] > 0).any()
