"""Sensitivities of a whole layer over a whole data set, streamed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

from evojax_prune.core.errors import UserError
from evojax_prune.core.forward import Layer, affine
from evojax_prune.core.head import Params
from evojax_prune.sensitivity.jacobian import Output, activations, depth, jacobian
from evojax_prune.sensitivity.norms import (
    StreamedPowerMeans,
    check_norms,
    chunk_power_sums,
    norm_name,
    power_mean,
)

Weighting = Literal["none", "std", "input"]
"""What a sensitivity is multiplied by: nothing; the standard deviation of the unit over the
patterns, which makes it the effect of a typical change and free of the unit's scale; or the unit's
value at the pattern, which makes it gradient times input."""

CHUNK_BYTES = {"cpu": 8 * 2**20}
"""Jacobian held at once by default, in bytes, on each kind of device: what stays in a CPU's cache
(chunks of 64 MB cost 1.6 times as much processor time there), else ``CHUNK_BYTES_ELSEWHERE``."""

CHUNK_BYTES_ELSEWHERE = 256 * 2**20

PLAIN_BYTES = 32 * 2**20
"""Jacobian of the widest layer held at once by :func:`plain_sensitivities`."""


@dataclasses.dataclass(frozen=True)
class Sensitivities:
    """Sensitivities of the C outputs to the U units of one layer, aggregated over patterns.

    Attributes:
        norms: exponents over the patterns.
        per_output: ``float64 [len(norms), C, U]``, power means over the patterns.
    """

    norms: tuple[float, ...]
    per_output: np.ndarray

    def scores(self, p: float, outputs: float | None = None) -> np.ndarray:
        """One figure a unit, ``float64 [U]``; higher means that the outputs depend more on it.

        Args:
            p: exponent over the patterns, one of ``norms``.
            outputs: exponent over the outputs; the same as ``p`` by default, a choice of ours
                (Zurada et al. take the maximum over outputs: ``math.inf``).

        Raises:
            UserError: a p that was not asked for, or an ``outputs`` that is no norm.
        """
        if p not in self.norms:
            known = ", ".join(norm_name(n) for n in self.norms)
            raise UserError(f"no sensitivities were computed for {norm_name(p)}, only for {known}")
        (outputs,) = check_norms(p if outputs is None else outputs)
        return power_mean(self.per_output[self.norms.index(p)], outputs)


def sensitivities(
    params: Params,
    x: np.ndarray,
    *,
    p: float | Iterable[float] = (1.0, 2.0, math.inf),
    layer: int = 0,
    of: Output = "probabilities",
    weighting: Weighting = "none",
    chunk_size: int | None = None,
) -> Sensitivities:
    """Local sensitivity analysis of a head, after Zurada et al. (1994, 1997).

    The sensitivity of output k to unit j at pattern n is the derivative of the output by the unit
    at that pattern. Its power means over the patterns are returned for each p; power means over the
    outputs are then taken by :meth:`Sensitivities.scores`. One pass serves all p. The Jacobian
    exists for one chunk of patterns at a time, never as ``[N, C, U]``.

    Args:
        params: parameters of a trained head; of a pruned head, :func:`~evojax_prune.core.masks.
            apply_mask` must have zeroed what is pruned, whose sensitivities are then exactly 0.
        x: features ``[N, F]`` of the patterns, float32.
        p: exponents over the patterns, each at least 1, or ``math.inf``.
        layer: whose units: 0 for the features, i for the i-th hidden layer after its ReLU.
        of: outputs that are derived. Probabilities are the default; a saturated softmax makes their
            sensitivities small at patterns that the head is sure of.
        weighting: what every sensitivity is multiplied by.
        chunk_size: most patterns whose Jacobian exists at once, rounded down to a power of two;
            by default what fits the device's ``CHUNK_BYTES``. The results agree to rounding
            whatever it is.

    Raises:
        UserError: NaN or infinite features, named by row and column; a head that diverged; features
            of another width than the head's; a layer that the head does not have; a bad p; an
            unknown ``of`` or ``weighting``.
    """
    norms = check_norms(p)
    for name, given, valid in (("of", of, Output), ("weighting", weighting, Weighting)):
        if given not in get_args(valid):
            known = ", ".join(get_args(valid))
            raise UserError(f"{name} is {given!r}, expected one of {known}")
    check_head(params, x, layer)
    units = params[f"layer_{layer}"]["kernel"].shape[0]
    classes = params[f"layer_{depth(params) - 1}"]["kernel"].shape[1]
    means = StreamedPowerMeans(norms, (classes, units))
    size = _chunk_size(len(x), 4 * classes * units, chunk_size)
    reduce = partial(
        _reduce_chunk,
        jax.device_put(params),
        layer=layer,
        of=of,
        ps=means.finite,
        times_input=weighting == "input",
    )
    nothing = jax.device_put(np.zeros((classes, units), params["layer_0"]["kernel"].dtype))
    for count, peak, sums in _reduced_chunks(reduce, x, size, nothing):
        means.add(count, np.asarray(peak), [np.asarray(s) for s in sums])
    per_output = means.result()
    if weighting == "std":
        per_output *= np.sqrt(unit_moments(params, x, layer)[1])
    return Sensitivities(norms, per_output)


def plain_sensitivities(layers: Sequence[Layer], units: np.ndarray) -> np.ndarray:
    """Root-mean-square sensitivities of the probabilities, in plain NumPy.

    The scores of :func:`sensitivities` for p = 2. Nothing is compiled, so that heads of any shape
    cost little; for a few hundred patterns.

    Args:
        layers: of a head, from the one that reads the units on.
        units: activations ``[n, U]`` of the patterns.

    Returns:
        ``float64 [U]``; the higher, the more the outputs depend on the unit.
    """
    (first, _), *later = layers
    classes = layers[-1][0].shape[1]
    step = max(1, PLAIN_BYTES // (4 * classes * max(kernel.shape[1] for kernel, _ in layers)))
    # Squares of derivatives by the units add up to w.M.w, where w are a unit's weights, and M the
    # derivatives by what the weights lead to, times one another: much smaller than the derivatives.
    products = np.zeros((first.shape[1], first.shape[1]))
    for start in range(0, len(units), step):
        z, gates = affine(units[start : start + step], layers[0]), []
        for layer in later:
            gates.append(z > 0)
            z = affine(np.maximum(z, np.float32(0)), layer)
        probabilities = softmax(z, axis=1)
        local = probabilities[:, :, None] * np.eye(classes, dtype=z.dtype)[None]
        local -= probabilities[:, :, None] * probabilities[:, None, :]
        for (kernel, _), gate in zip(reversed(later), reversed(gates), strict=True):
            local = (local @ kernel.T) * gate[:, None, :]
        flat = local.reshape(-1, local.shape[2])
        products += flat.T @ flat
    weights = first.astype(np.float64)
    total = np.einsum("uh,uh->u", weights @ products, weights)
    return np.sqrt(np.maximum(total, 0) / (len(units) * classes))


def unit_moments(
    params: Params, x: np.ndarray, layer: int = 0, chunk_size: int = 4096
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of a layer's units over the patterns, streamed, in float64.

    Args:
        params: parameters of a head, masked already.
        x: features ``[N, F]``.
        layer: 0 for the features, i for the i-th hidden layer after its ReLU.
        chunk_size: patterns a chunk.

    Returns:
        ``float64 [U]`` each; the variance is the population's (divided by N).

    Raises:
        UserError: as :func:`sensitivities`.
    """
    check_head(params, x, layer)
    count, mean, square = 0, np.zeros(()), np.zeros(())
    dtype, on_device = params["layer_0"]["kernel"].dtype, jax.device_put(params)
    for start in range(0, len(x), chunk_size):
        chunk = _finite(x, start, chunk_size).astype(dtype, copy=False)
        units = np.asarray(_activate(on_device, chunk, layer), np.float64)
        # Chan, Golub and LeVeque (1979): a difference of large sums would lose a small variance.
        total, shift = count + len(units), units.mean(0) - mean
        square = square + len(units) * units.var(0) + shift**2 * (count * len(units) / total)
        mean = mean + shift * (len(units) / total)
        count = total
    return mean, square / count


def check_head(params: Params, x: np.ndarray, layer: int) -> None:
    """Refuse what has no sensitivities.

    Raises:
        UserError: no patterns, a wrong width, a layer that is not there, weights that diverged.
    """
    if not 0 <= layer < depth(params):
        raise UserError(
            f"layer {layer} does not exist: this head has 0 (the features) to {depth(params) - 1}"
        )
    features = params["layer_0"]["kernel"].shape[0]
    if x.ndim != 2 or len(x) == 0 or x.shape[1] != features:
        raise UserError(
            f"the features have shape {x.shape}, expected [N, {features}] with at least one row"
        )
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
        raise UserError(
            "the head has weights that are not finite, so its training diverged: "
            "train it with a lower learning rate"
        )


def _reduced_chunks(
    reduce: Callable[[np.ndarray, int, jax.Array], tuple[jax.Array, list[jax.Array]]],
    x: np.ndarray,
    size: int,
    peak: jax.Array,
) -> Iterator[tuple[int, jax.Array, list[jax.Array]]]:
    """Each chunk's count, running peak and power sums, while the next one is being computed."""
    waiting = None
    for start in range(0, len(x), size):
        chunk = _finite(x, start, size).astype(peak.dtype, copy=False)
        count = len(chunk)
        # A short last chunk is filled up, so that one compiled program serves them all.
        chunk = np.pad(chunk, ((0, size - count), (0, 0)))
        peak, sums = reduce(chunk, count, peak)
        if waiting is not None:
            yield waiting
        waiting = count, peak, sums
    if waiting is not None:
        yield waiting


@partial(jax.jit, static_argnames=("layer", "of", "ps", "times_input"))
def _reduce_chunk(
    params: Params,
    x: jax.Array,
    count: int,
    peak: jax.Array,
    layer: int,
    of: Output,
    ps: tuple[float, ...],
    times_input: bool,
) -> tuple[jax.Array, list[jax.Array]]:
    with jax.default_matmul_precision("highest"):
        units = _activate(params, x, layer)
        local = jacobian(params, units, layer, of)
    if times_input:
        local = local * units[:, None, :]
    local = jnp.where((jnp.arange(len(x)) < count)[:, None, None], local, 0)
    return chunk_power_sums(local, peak, ps)


@partial(jax.jit, static_argnames="layer")
def _activate(params: Params, x: jax.Array, layer: int) -> jax.Array:
    return jax.vmap(lambda row: activations(params, row, layer))(x)


def _chunk_size(patterns: int, bytes_each: int, asked: int | None) -> int:
    if asked is not None and asked < 1:
        raise UserError(f"chunk_size is {asked}: at least one pattern must fit a chunk")
    budget = CHUNK_BYTES.get(jax.default_backend(), CHUNK_BYTES_ELSEWHERE)
    most = asked if asked is not None else max(1, budget // bytes_each)
    longest = 1 << (patterns - 1).bit_length()  # smallest power of two that holds every pattern
    return min(longest, 1 << (most.bit_length() - 1))


def _finite(x: np.ndarray, start: int, size: int) -> np.ndarray:
    chunk = x[start : start + size]
    if not np.isfinite(chunk).all():
        row, column = np.argwhere(~np.isfinite(chunk))[0]
        raise UserError(
            f"feature {column} of row {start + row} is {chunk[row, column]}: "
            "features must be finite numbers, extract them again or drop the row"
        )
    return chunk
