"""The image networks of ``keras.applications``, on Keras's JAX backend."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from evojax_prune.core.errors import UserError, said_of
from evojax_prune.features.backbones.backbone import Extractor
from evojax_prune.features.backbones.depthwise import shifted_depthwise
from evojax_prune.features.backbones.families import KerasNetwork, keras_version

_SUFFIXES = (".weights.h5", ".h5", ".keras")


def load(known: KerasNetwork, weights: Path | None, image_size: int) -> Extractor:
    """A network of ``keras.applications`` with global average pooling for a top.

    Args:
        known: which one.
        weights: file with the weights, ``.weights.h5``, ``.h5`` or ``.keras``; None lets Keras
            download its ImageNet weights, which it keeps for the next time.
        image_size: side of the images, pixels.

    Raises:
        UserError: Keras is missing or runs on another backend; the weights cannot be had, or are of
            another network; or the network cannot take images of this size.
    """
    name = known.name
    if weights is not None and not weights.name.endswith(_SUFFIXES):
        raise UserError(
            f"backbone weights {weights} of {name}: expected a file of Keras, "
            f"{', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}"
        )
    keras = _import_keras(name)
    # Keras counts on JAX's own promotion rules, whatever the program around it has chosen.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        if weights is None:
            model = _downloaded(keras, known, image_size)
        else:
            model = _build(keras, known, image_size)
            _load_weights(model, name, weights)
    return backbone_of(model, name, getattr(keras.applications, known.module).preprocess_input)


def backbone_of(model: Any, name: str, preprocess: Any) -> Extractor:
    """A backbone of a Keras model that gives pooled features.

    Args:
        model: takes ``float32 [b, S, S, 3]``, gives ``float32 [b, F]``.
        name: what to call it.
        preprocess: makes the model's input of pixels ``float32 [b, S, S, 3]`` in 0 to 255.
    """
    variables = {v.path: v.value for v in model.variables}

    def forward(variables: dict[str, jax.Array], images: jax.Array) -> jax.Array:
        with (
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            jax.default_matmul_precision("highest"),
        ):
            x = preprocess(images.astype(jnp.float32), data_format="channels_last")
            trainable = [variables[v.path] for v in model.trainable_variables]
            fixed = [variables[v.path] for v in model.non_trainable_variables]
            features, _ = model.stateless_call(trainable, fixed, x, training=False)
            return features.astype(jnp.float32)

    program = jax.jit(forward if jax.default_backend() != "cpu" else shifted_depthwise(forward))
    size, width = model.input_shape[1], model.output_shape[-1]
    return Extractor(
        name,
        size,
        width,
        lambda images: program(variables, images),
        forward,
        variables,
        lambda features: backbone_of(_shortened(model, name, features), name, preprocess),
    )


_CHANNELWISE = {
    "Activation",
    "AveragePooling2D",
    "BatchNormalization",
    "Dropout",
    "GlobalAveragePooling2D",
    "MaxPooling2D",
    "ReLU",
}
"""Layers that look at each channel by itself, so that a channel left out changes no other."""


def _shortened(model: Any, name: str, features: np.ndarray) -> Any:
    """The network whose last convolution gives only the channels of some features.

    Raises:
        UserError: other layers than one convolution make the features.
    """
    import keras

    last = _last_layers(model, name)

    def changed(layer: Any) -> Any:
        config = layer.get_config()
        if layer is last[0]:
            config["filters"] = len(features)
        return type(layer).from_config(config)

    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        _without_drawing(keras),
    ):
        smaller = keras.models.clone_model(model, clone_function=changed)
        for layer, copy in zip(model.layers, smaller.layers, strict=True):
            values = layer.get_weights()
            copy.set_weights([v[..., features] for v in values] if layer in last else values)
            if isinstance(copy, keras.layers.Normalization):
                copy.finalize_state()  # it computes with what it made of its weights
    return smaller


def _last_layers(model: Any, name: str) -> list[Any]:
    """The last convolution and what follows it, if each takes nothing but the one before."""
    found: list[Any] = []
    for layer in reversed(model.layers):
        found.insert(0, layer)
        kind = type(layer).__name__
        if kind == "Conv2D" and layer.groups == 1:
            return found
        # The layers are in the order of the graph, so that one input each makes them a chain.
        if kind not in _CHANNELWISE or len(layer._inbound_nodes[0].parent_nodes) != 1:
            break
    raise UserError(
        f"the features of {name} cannot be dropped from the network: they come from its layer "
        f"{found[0].name} ({type(found[0]).__name__}), not from one last convolution"
    )


def _import_keras(name: str) -> Any:
    """Keras, on JAX."""
    keras_version(name)
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "jax"
    import keras

    if keras.backend.backend() != "jax":
        raise UserError(
            f"backbone {name} needs Keras on its JAX backend, but Keras runs on "
            f"{keras.backend.backend()} already: set KERAS_BACKEND=jax before Keras is imported"
        )
    return keras


def _build(keras: Any, known: KerasNetwork, image_size: int) -> Any:
    """The network that Keras makes for its ImageNet weights, which are still to be loaded.

    It is not always the network that Keras makes for none: EfficientNet has one layer more.
    """
    try:
        with (
            mock.patch("keras.src.utils.file_utils.get_file", return_value=""),
            mock.patch.object(keras.Model, "load_weights"),
        ):
            return _construct(keras, known, image_size)
    except ValueError as error:
        raise UserError(
            f"{known.name} cannot take images of {image_size} pixels ({said_of(error)}): "
            f"choose another --image-size, its own is {known.image_size}"
        ) from None


def _downloaded(keras: Any, known: KerasNetwork, image_size: int) -> Any:
    """The network with the ImageNet weights that Keras downloads or has downloaded before."""
    try:
        return _construct(keras, known, image_size)
    except Exception as error:  # Keras raises a bare Exception where a download fails
        _build(keras, known, image_size)  # says so if it was the image size
        raise UserError(
            f"the ImageNet weights of {known.name} cannot be downloaded ({said_of(error)}): "
            "connect to the internet, or give a weights file with --backbone-weights FILE"
        ) from None


def _construct(keras: Any, known: KerasNetwork, image_size: int) -> Any:
    with _without_drawing(keras):
        return getattr(keras.applications, known.function)(
            include_top=False,
            weights="imagenet",
            pooling="avg",
            input_shape=(image_size, image_size, 3),
        )


def _without_drawing(keras: Any) -> Any:
    """A context in which initial weights are 0, since others are loaded over them.

    To draw random ones, JAX would compile a program for each shape.
    """

    def zeros(_: Any, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        return np.zeros(shape, dtype or "float32")

    return mock.patch.object(keras.initializers.VarianceScaling, "__call__", zeros)


def _load_weights(model: Any, name: str, path: Path) -> None:
    """Fill the network from a file, which must be of this network."""
    try:
        _fill(model, path)
    except (ValueError, KeyError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"weights file {path} is not of {name} or damaged ({said_of(error)}): give the "
            f"file of {name}, or the --backbone that the file is of"
        ) from None
    if not all(np.isfinite(v).all() for v in model.get_weights()):
        raise UserError(f"weights file {path} is damaged: it holds NaN or infinity")


def _fill(model: Any, path: Path) -> None:
    """Load the weights by their order, or by the layers' names where the file has a top as well."""
    try:
        model.load_weights(path)
    except ValueError:
        if path.name.endswith((".weights.h5", ".keras")) or not _names_all_layers(model, path):
            raise
        model.load_weights(path, by_name=True)


def _names_all_layers(model: Any, path: Path) -> bool:
    """Whether an ``.h5`` file of Keras 2 has every layer of the network, by name."""
    import h5py

    with h5py.File(path) as file:
        content = file.get("model_weights", file)
        stored = set(content)
    return stored >= {layer.name for layer in model.layers if layer.weights}
