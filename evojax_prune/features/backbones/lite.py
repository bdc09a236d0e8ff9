"""EfficientNet-Lite in Flax, for inference.

Architecture: M. Tan and Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks", ICML 2019, in its Lite form (2020): no squeeze-and-excitation, ReLU6 for swish, stem,
head, and the first and last stage unscaled. Each batch normalisation is folded into the convolution
before it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from evojax_prune.core.errors import UserError
from evojax_prune.features.backbones.backbone import Extractor
from evojax_prune.features.backbones.depthwise import shifted_depthwise
from evojax_prune.features.backbones.families import LiteNetwork
from evojax_prune.features.backbones.torch_file import load_tensors

STEM, HEAD = 32, 1280
"""Channels out of the first and last convolution; the latter are the features."""

EPSILON = 1e-3
"""Added to the variance by every batch normalisation."""


class Block(NamedTuple):
    """An inverted residual block: expand 1x1, depthwise kernel x kernel, project 1x1."""

    inputs: int
    expansion: int
    kernel: int
    stride: int
    outputs: int

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.inputs == self.outputs


_STAGES = (
    # blocks, kernel, stride, expansion, channels out
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def blocks(width: float, depth: float) -> tuple[Block, ...]:
    """The blocks of a network scaled in width and depth."""
    made: list[Block] = []
    inputs = STEM
    for stage, (count, kernel, stride, expansion, channels) in enumerate(_STAGES):
        unscaled = stage in (0, len(_STAGES) - 1)
        outputs = _rounded(width * channels)
        for i in range(count if unscaled else math.ceil(depth * count)):
            made.append(Block(inputs, expansion, kernel, stride if i == 0 else 1, outputs))
            inputs = outputs
    return tuple(made)


def _rounded(channels: float) -> int:
    """The nearest multiple of 8 channels that is at least 0.9 of them."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


class EfficientNetLite(nn.Module):
    """Images ``uint8 [b, s, s, 3]`` to features ``float32 [b, F]``, global-average-pooled."""

    blocks: tuple[Block, ...]
    features: int = HEAD

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Features of RGB images."""
        x = (images.astype(jnp.float32) - 127.0) / 128.0
        x = _relu6(_convolution(STEM, 3, 2, name="stem")(x))
        for i, block in enumerate(self.blocks):
            x = self._block(block, x, f"block_{i}")
        return _relu6(_pointwise(self.features, name="head")(x)).mean((1, 2))

    def _block(self, block: Block, x: jax.Array, name: str) -> jax.Array:
        channels = block.inputs * block.expansion
        y = x
        if block.expansion > 1:
            y = _relu6(_pointwise(channels, name=f"{name}_expand")(y))
        y = _convolution(
            channels, block.kernel, block.stride, groups=channels, name=f"{name}_depthwise"
        )(y)
        y = _pointwise(block.outputs, name=f"{name}_project")(_relu6(y))
        return x + y if block.residual else y


def _relu6(x: jax.Array) -> jax.Array:
    return jnp.clip(x, 0.0, 6.0)


def _convolution(channels: int, kernel: int, stride: int, *, groups: int = 1, name: str) -> nn.Conv:
    return nn.Conv(
        channels,
        (kernel, kernel),
        (stride, stride),
        padding="SAME",
        feature_group_count=groups,
        precision=lax.Precision.HIGHEST,
        name=name,
    )


def _pointwise(channels: int, *, name: str) -> nn.Dense:
    """A 1x1 convolution; as a matrix product it is the faster one on CPU."""
    return nn.Dense(channels, precision=lax.Precision.HIGHEST, name=name)


def load(known: LiteNetwork, weights: Path, image_size: int) -> Extractor:
    """An EfficientNet-Lite with the weights of a PyTorch file.

    Args:
        known: which one.
        weights: file with the names and shapes of the PyPI package ``efficientnet-lite-pytorch``.
        image_size: side of the images, pixels.

    Raises:
        UserError: the file cannot be read or is of another network.
    """
    network = EfficientNetLite(blocks(known.width, known.depth))
    tensors = _of_this_network(load_tensors(weights), network.blocks, known.name, weights)
    params = jax.device_put(_fold(tensors, network.blocks))
    return _extractor(known.name, image_size, network, params)


def _extractor(
    name: str, image_size: int, network: EfficientNetLite, params: dict[str, dict[str, jax.Array]]
) -> Extractor:
    """A network with its parameters, ready to run."""
    variables = {"params": params}

    def forward(variables: dict[str, Any], images: jax.Array) -> jax.Array:
        return network.apply(variables, images)  # type: ignore[return-value]

    def keep(features: np.ndarray) -> Extractor:
        head = {part: value[..., features] for part, value in params["head"].items()}
        smaller = EfficientNetLite(network.blocks, len(features))
        return _extractor(name, image_size, smaller, params | {"head": head})

    program = jax.jit(forward if jax.default_backend() != "cpu" else shifted_depthwise(forward))
    return Extractor(
        name,
        image_size,
        network.features,
        lambda images: program(variables, images),
        forward,
        variables,
        keep,
    )


class _Layer(NamedTuple):
    """A convolution and the batch normalisation after it, by their names in the PyTorch file."""

    convolution: str
    normalisation: str
    shape: tuple[int, ...]  # of the convolution's weight: out, in, height, width


def _layers(network_blocks: tuple[Block, ...]) -> dict[str, _Layer]:
    """The PyTorch file's layers by our names."""
    layers = {"stem": _Layer("_conv_stem", "_bn0", (STEM, 3, 3, 3))}
    for i, (inputs, expansion, kernel, _, outputs) in enumerate(network_blocks):
        there, here, channels = f"_blocks.{i}.", f"block_{i}", inputs * expansion
        if expansion > 1:
            layers[f"{here}_expand"] = _Layer(
                f"{there}_expand_conv", f"{there}_bn0", (channels, inputs, 1, 1)
            )
        layers[f"{here}_depthwise"] = _Layer(
            f"{there}_depthwise_conv", f"{there}_bn1", (channels, 1, kernel, kernel)
        )
        layers[f"{here}_project"] = _Layer(
            f"{there}_project_conv", f"{there}_bn2", (outputs, channels, 1, 1)
        )
    layers["head"] = _Layer("_conv_head", "_bn1", (HEAD, network_blocks[-1].outputs, 1, 1))
    return layers


_STATISTICS = ("weight", "bias", "running_mean", "running_var")


def _of_this_network(
    tensors: dict[str, np.ndarray], network_blocks: tuple[Block, ...], name: str, path: Path
) -> dict[str, np.ndarray]:
    """The tensors that the network needs, once they are seen to be of this network and finite."""
    expected: dict[str, tuple[int, ...]] = {}
    for layer in _layers(network_blocks).values():
        expected[f"{layer.convolution}.weight"] = layer.shape
        expected |= {f"{layer.normalisation}.{s}": layer.shape[:1] for s in _STATISTICS}
    # The classifier is not used, so a fine-tuned network with other classes serves as well.
    ignored = ("_fc.", "num_batches_tracked")
    extra = [k for k in tensors if k not in expected and not any(part in k for part in ignored)]
    wrong = [k for k, shape in expected.items() if k not in tensors or tensors[k].shape != shape]
    if wrong or extra:
        key = (wrong or extra)[0]
        has = f"is {list(tensors[key].shape)}" if key in tensors else "is missing"
        needs = f"{list(expected[key])} expected" if key in expected else "none expected"
        raise UserError(
            f"weights file {path} is of another network than {name}: {key} {has}, {needs}; give "
            f"the file of {name}, or the --backbone that the file is of"
        )
    broken = [k for k in expected if not np.isfinite(tensors[k]).all()]
    if broken:
        raise UserError(f"weights file {path} is damaged: {broken[0]} holds NaN or infinity")
    return {k: tensors[k].astype(np.float64) for k in expected}


def _fold(
    tensors: dict[str, np.ndarray], network_blocks: tuple[Block, ...]
) -> dict[str, dict[str, Any]]:
    """Flax parameters: each batch normalisation multiplied into the convolution before it."""
    params = {}
    for name, layer in _layers(network_blocks).items():
        gain, shift, mean, variance = (tensors[f"{layer.normalisation}.{s}"] for s in _STATISTICS)
        scale = gain / np.sqrt(variance + EPSILON)
        kernel = tensors[f"{layer.convolution}.weight"].transpose(2, 3, 1, 0) * scale
        if layer.shape[2] == 1:
            kernel = kernel[0, 0]
        params[name] = {
            "kernel": kernel.astype(np.float32),
            "bias": (shift - mean * scale).astype(np.float32),
        }
    return params
