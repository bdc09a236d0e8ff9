"""A pruned head as a small dense one: written to safetensors, run by plain NumPy.

The recipe, for ``features float32 [n, F]`` of the backbone that the file's metadata names
(``evojax_prune``, a JSON object)::

    import numpy as np
    from safetensors.numpy import load_file

    head = load_file("head.safetensors")
    x = features[:, head["features"]]  # the active features only
    layers = sum(name.endswith(".kernel") for name in head)
    for i in range(layers):
        x = x @ head[f"layer_{i}.kernel"]
        if f"layer_{i}.bias" in head:
            x = x + head[f"layer_{i}.bias"]
        if i < layers - 1:
            x = np.maximum(x, 0)
    classes = x.argmax(1)

A k-fold run writes one head a fold, their tensors under ``fold_0.``, ``fold_1.``, ...; its test
accuracy is the mean of theirs.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from evojax_prune.core.compaction import active_parts, compact
from evojax_prune.core.forward import Layer, forward
from evojax_prune.core.head import Params
from evojax_prune.core.masks import Masks, apply_mask

FORMAT = "evojax_prune/head/2"


@dataclasses.dataclass(frozen=True)
class CompactHead:
    """The active rows and columns of a trained head.

    Attributes:
        features: ``int64 [f]``, the backbone features that it reads, in order.
        layers: kernel ``float32 [in, out]`` and bias ``float32 [out]`` or None of each layer.
    """

    features: np.ndarray
    layers: tuple[Layer, ...]

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Logits ``float32 [n, C]`` of backbone features ``float32 [n, F]``, in plain NumPy."""
        return forward(features[:, self.features], self.layers)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Class ``int64 [n]`` of each row of backbone features ``float32 [n, F]``."""
        return self.logits(features).argmax(1)

    def tensors(self, prefix: str = "") -> dict[str, np.ndarray]:
        """Everything by the name that it has in a file."""
        named = {f"{prefix}features": self.features}
        for i, (kernel, bias) in enumerate(self.layers):
            named[f"{prefix}layer_{i}.kernel"] = kernel
            if bias is not None:
                named[f"{prefix}layer_{i}.bias"] = bias
        return named


def compact_head(params: Params, masks: Masks, member: int) -> CompactHead:
    """The compact head of one trained member of a population."""
    active = active_parts(masks, member)
    layers = compact(apply_mask(params, masks, member), active)
    return CompactHead(active.index[0].astype(np.int64), tuple(layers))


def save_heads(path: Path, heads: tuple[CompactHead, ...], metadata: dict[str, Any]) -> None:
    """Write one head, or one a fold, with plain data that say what it belongs to.

    The same heads and data give the same bytes: safetensors orders several metadata at random, so
    all of it is one JSON object.
    """
    named: dict[str, np.ndarray] = {}
    for fold, head in enumerate(heads):
        named |= head.tensors("" if len(heads) == 1 else f"fold_{fold}.")
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in named.items()}
    save_file(tensors, path, metadata={"evojax_prune": json.dumps({"format": FORMAT} | metadata)})


def load_heads(path: str | Path) -> tuple[CompactHead, ...]:
    """The head, or one a fold, of a ``head.safetensors``."""
    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    prefixes = sorted(
        {name[: name.index("features")] for name in tensors if name.endswith("features")},
        key=lambda prefix: (len(prefix), prefix),
    )
    return tuple(_head(tensors, prefix) for prefix in prefixes)


def _head(tensors: dict[str, np.ndarray], prefix: str) -> CompactHead:
    depth = sum(n.startswith(f"{prefix}layer_") and n.endswith("kernel") for n in tensors)
    names = [f"{prefix}layer_{i}" for i in range(depth)]
    layers = tuple((tensors[f"{n}.kernel"], tensors.get(f"{n}.bias")) for n in names)
    return CompactHead(tensors[f"{prefix}features"], layers)
