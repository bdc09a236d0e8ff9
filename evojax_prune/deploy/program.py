"""A run as one JAX function: images or features in, class probabilities out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evojax_prune.core.compact_head import CompactHead, head_tensors
from evojax_prune.core.errors import UserError

if TYPE_CHECKING:
    import jax

    from evojax_prune.features.backbones import Extractor


@dataclasses.dataclass(frozen=True)
class ExportedProgram:
    """What is exported.

    Attributes:
        function: batch ``[n, *shape]`` to probabilities ``float32 [n, C]``; can be traced.
        input_name: ``"images"`` or ``"features"``.
        shape: of one row of the input.
        dtype: of the input, ``"uint8"`` or ``"float32"``.
        features: raw features that go into the heads.
        tensors: every array in it, by name.
        note: why the backbone could not be shortened; None if it was, or if there is none.
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


def head_program(heads: Sequence[CompactHead], features: int) -> ExportedProgram:
    """The heads by themselves.

    Args:
        heads: one, or one per fold, whose probabilities are averaged.
        features: raw features F that go in.
    """

    def function(x: jax.Array) -> jax.Array:
        folds = [_probabilities(head, x) for head in heads]
        return folds[0] if len(folds) == 1 else sum(folds[1:], folds[0]) / np.float32(len(folds))

    tensors = head_tensors(tuple(heads))
    return ExportedProgram(function, "features", (features,), "float32", features, tensors)


def whole_program(
    heads: Sequence[CompactHead], backbone: Extractor, *, shorten: bool = True
) -> ExportedProgram:
    """Backbone and heads in one.

    Args:
        heads: one, or one per fold, whose probabilities are averaged.
        backbone: what makes their features.
        shorten: leave out of the backbone's last convolution what no head reads, if possible.

    Raises:
        UserError: a backbone that cannot be traced.
    """
    import jax

    note = None
    if shorten:
        try:
            backbone, heads = shortened(backbone, heads)
        except UserError as reason:
            note = f"the backbone stays whole: {reason}"
    forward, variables = backbone.forward, jax.tree.map(np.asarray, backbone.variables)
    if forward is None:
        raise UserError(
            f"backbone {backbone.name} is a function of your own, which cannot be exported: leave "
            "out --with-backbone"
        )
    head = head_program(heads, backbone.features)

    def function(images: jax.Array) -> jax.Array:
        return head.function(forward(variables, images))

    leaves, _ = jax.tree.flatten_with_path(variables)
    named = {".".join(str(key.key) for key in path): leaf for path, leaf in leaves}
    tensors = head.tensors | {f"backbone.{name}": leaf for name, leaf in named.items()}
    shape = (backbone.image_size, backbone.image_size, 3)
    return ExportedProgram(function, "images", shape, "uint8", backbone.features, tensors, note)


def shortened(
    backbone: Extractor, heads: Sequence[CompactHead]
) -> tuple[Extractor, tuple[CompactHead, ...]]:
    """The backbone without the features that no head reads, and the heads that read the rest.

    Raises:
        UserError: the backbone or the scaling needs them all.
    """
    used = np.unique(np.concatenate([head.features for head in heads]))
    if any(head.scaling is not None and head.scaling.kind == "l2" for head in heads):
        raise UserError("features are divided by their length, which depends on all of them")
    if backbone.keep is None:
        raise UserError(f"nothing is known of {backbone.name}'s layers")
    if not 0 < len(used) < backbone.features:
        raise UserError("the heads read every feature" if len(used) else "no feature is read")
    renumbered = (
        dataclasses.replace(head, features=np.searchsorted(used, head.features)) for head in heads
    )
    return backbone.keep(used), tuple(renumbered)


def _probabilities(head: CompactHead, x: jax.Array) -> jax.Array:
    import jax
    import jax.numpy as jnp

    from evojax_prune.core.forward import jax_affine, jax_forward_after

    scaling = head.scaling
    if scaling is not None and scaling.kind == "l2":
        length = jnp.sqrt((x * x).sum(1, keepdims=True))
        x = x / jnp.where(length == 0, 1, length)
    if not np.array_equal(head.features, np.arange(x.shape[1])):
        x = jnp.take(x, head.features, axis=1)
    if scaling is not None and scaling.kind == "standard":
        x = (x - scaling.mean[None]) / scaling.scale[None]
    with jax.default_matmul_precision("highest"):
        z = jax_affine(x, head.layers[0])
        return jax.nn.softmax(jax_forward_after(z, head.layers[1:]))
