"""A run as one JAX function: images or features in, class probabilities out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evojax_prune.core.compact_head import CompactHead, head_tensors
from evojax_prune.core.errors import UserError
from evojax_prune.core.scaling import SHORTEST, Scaling
from evojax_prune.deploy.classifier import Classifier

if TYPE_CHECKING:
    import jax

    from evojax_prune.features.backbones.backbone import Backbone


@dataclasses.dataclass(frozen=True)
class Program:
    """What is exported.

    Attributes:
        function: batch ``[n, *shape]`` to probabilities ``float32 [n, C]``; can be traced.
        input_name: ``"images"`` or ``"features"``.
        shape: of one row of the input.
        dtype: of the input, ``"uint8"`` or ``"float32"``.
        features: raw features that go into the heads.
        tensors: every array in it, by name.
        note: what could not be done, in words; None if nothing.
    """

    function: Callable[[jax.Array], jax.Array]
    input_name: str
    shape: tuple[int, ...]
    dtype: str
    features: int
    tensors: dict[str, np.ndarray]
    note: str | None = None

    def example(self, batch: Any) -> jax.ShapeDtypeStruct:
        """Shape and type of a batch."""
        import jax

        return jax.ShapeDtypeStruct((batch, *self.shape), np.dtype(self.dtype))

    def for_cpu(self) -> Callable[[jax.Array], jax.Array]:
        """The function with the depthwise convolutions that are fast on a CPU."""
        from evojax_prune.features.backbones.depthwise import shifted_depthwise

        return self.function if self.input_name == "features" else shifted_depthwise(self.function)


def head_program(heads: Sequence[CompactHead], features: int) -> Program:
    """The heads by themselves.

    Args:
        heads: one, or one per fold, whose probabilities are averaged.
        features: raw features F that go in.
    """

    def function(x: jax.Array) -> jax.Array:
        return _mean([_probabilities(head, x) for head in heads])

    return Program(
        function, "features", (features,), "float32", features, head_tensors(tuple(heads))
    )


def whole_program(
    heads: Sequence[CompactHead], backbone: Backbone, *, shorten: bool = True
) -> Program:
    """Backbone and heads in one.

    Args:
        heads: one, or one per fold, whose probabilities are averaged.
        backbone: what makes their features.
        shorten: leave out of the backbone's last convolution what no head reads, where that is
            possible; ``note`` says why where it is not.

    Raises:
        UserError: a backbone that cannot be traced.
    """
    import jax

    note = None
    if shorten:
        try:
            backbone, heads = shortened(backbone, heads)
        except UserError as reason:
            note = str(reason)
    forward, variables = backbone.forward, jax.tree.map(np.asarray, backbone.variables)
    if forward is None:
        raise UserError(
            f"backbone {backbone.name} is a function that cannot be exported: leave out "
            "--with-backbone"
        )
    head = head_program(heads, backbone.features)

    def function(images: jax.Array) -> jax.Array:
        return head.function(forward(variables, images))

    size = backbone.image_size
    weights = {f"backbone.{name}": tensor for name, tensor in _named(variables)}
    return Program(
        function, "images", (size, size, 3), "uint8", head.features, head.tensors | weights, note
    )


def program(classifier: Classifier, *, with_backbone: bool = False) -> Program:
    """What is exported of a run: its heads, with the shortened backbone if that is asked for.

    Raises:
        UserError: the backbone cannot be had, or the run does not say how many features go in.
    """
    if with_backbone:
        return whole_program(classifier.heads, classifier.backbone)
    return head_program(classifier.heads, features_of(classifier))


def features_of(classifier: Classifier) -> int:
    """Raw features that go into a run's heads.

    Raises:
        UserError: the run does not say.
    """
    if classifier.card.features is None:
        raise UserError(
            "this head is of an older format that does not say how many features it takes: give "
            "the run's folder, with its result.json"
        )
    return classifier.card.features


def shortened(
    backbone: Backbone, heads: Sequence[CompactHead]
) -> tuple[Backbone, tuple[CompactHead, ...]]:
    """The backbone without the features that no head reads, and the heads that read the rest.

    Raises:
        UserError: the backbone or the scaling needs them all.
    """
    used = np.unique(np.concatenate([head.features for head in heads]))
    if any(head.scaling.kind == "l2" for head in heads):
        raise UserError(
            "the backbone stays whole: features are divided by their length, for which all of them "
            "are needed"
        )
    if backbone.keep is None:
        raise UserError(f"the backbone stays whole: nothing is known of {backbone.name}'s layers")
    if not 0 < len(used) < backbone.features:
        raise UserError("the backbone stays whole: the head reads every feature")
    return backbone.keep(used), tuple(_renumbered(head, used) for head in heads)


def _renumbered(head: CompactHead, used: np.ndarray) -> CompactHead:
    """The head for features of which only ``used`` are left."""
    scaling = head.scaling
    if scaling.mean is not None and scaling.scale is not None:
        scaling = Scaling(scaling.kind, scaling.mean[used], scaling.scale[used])
    return CompactHead(np.searchsorted(used, head.features), head.layers, scaling)


def _probabilities(head: CompactHead, x: jax.Array) -> jax.Array:
    import jax
    import jax.numpy as jnp

    from evojax_prune.core.forward import jax_forward_after

    scaling = head.scaling
    if scaling.kind == "l2":
        x = x / jnp.maximum(jnp.sqrt((x * x).sum(1, keepdims=True)), SHORTEST)
    if len(head.features) < x.shape[1]:
        x = jnp.take(x, head.features, axis=1)
    if scaling.mean is not None and scaling.scale is not None:
        x = (x - scaling.mean[None, head.features]) / scaling.scale[None, head.features]
    with jax.default_matmul_precision("highest"):
        kernel, bias = head.layers[0]
        z = x @ kernel
        return jax.nn.softmax(
            jax_forward_after(z if bias is None else z + bias[None], head.layers[1:])  # type: ignore[arg-type]
        )


def _mean(folds: list[jax.Array]) -> jax.Array:
    total = folds[0]
    for fold in folds[1:]:
        total = total + fold
    return total if len(folds) == 1 else total / np.float32(len(folds))


def _named(variables: Any) -> list[tuple[str, np.ndarray]]:
    """The arrays of nested dictionaries by their joined names."""
    import jax

    leaves, _ = jax.tree.flatten_with_path(variables)
    return [(".".join(str(key.key) for key in path), leaf) for path, leaf in leaves]
