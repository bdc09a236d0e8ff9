"""A pruned head as a small dense one: written to safetensors, run by plain NumPy.

The recipe, for raw ``features float32 [n, F]`` of the backbone that the file's metadata name::

    import json
    import numpy as np
    from safetensors import safe_open

    with safe_open("head.safetensors", "np") as file:
        head = {name: file.get_tensor(name) for name in file.keys()}
        card = json.loads(file.metadata()["evojax_prune"])
    x = features
    if card.get("scaling") == "l2":
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    x = x[:, head["features"]]  # the active features only
    if card.get("scaling") == "standard":
        x = (x - head["scaling.mean"]) / head["scaling.scale"]
    layers = sum(name.endswith(".kernel") for name in head)
    for i in range(layers):
        x = x @ head[f"layer_{i}.kernel"]
        if f"layer_{i}.bias" in head:
            x = x + head[f"layer_{i}.bias"]
        if i < layers - 1:
            x = np.maximum(x, 0)
    classes = np.array(card["classes"])[x.argmax(1)]

A k-fold run writes one head per fold, their tensors under ``fold_0.``, ``fold_1.``, ...; its test
accuracy is the mean of theirs. :class:`evojax_prune.core.head_card.HeadCard` documents the
metadata.
"""

from __future__ import annotations

import dataclasses
import json
import operator
import re
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from evojax_prune.core.class_names import check_class_names
from evojax_prune.core.compaction import active_parts, compact
from evojax_prune.core.errors import UserError, said_of, shortened
from evojax_prune.core.files import check_readable
from evojax_prune.core.forward import Layer, forward
from evojax_prune.core.head import Params
from evojax_prune.core.head_card import FORMAT, HeadCard
from evojax_prune.core.masks import Masks, apply_mask
from evojax_prune.core.options import sentences
from evojax_prune.core.scaling import Scaling

__all__ = ["FORMAT", "CompactHead", "compact_head", "read_heads", "save_heads"]

LARGEST_FILE = 2**31
"""Bytes of the largest file that is read: the widest head of the paper has some 10 million."""

_TENSOR = re.compile(r"(fold_(\d{1,4})\.)?(features|layer_(\d{1,4})\.(kernel|bias)|scaling\.\w+)")


@dataclasses.dataclass(frozen=True)
class CompactHead:
    """The active rows and columns of a trained head.

    Attributes:
        features: ``int64 [f]``, the backbone features that it reads, in order.
        layers: kernel ``float32 [in, out]`` and bias ``float32 [out]`` or None of each layer.
        scaling: what is done to raw features first, ``mean`` and ``scale`` of those in ``features``
            only; None: nothing.
    """

    features: np.ndarray
    layers: tuple[Layer, ...]
    scaling: Scaling | None = None

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Logits ``float32 [n, C]`` of raw backbone features ``float32 [n, F]``, in plain NumPy."""
        return forward(self._read(features), self.layers)

    def exact_logits(self, features: np.ndarray) -> np.ndarray:
        """The same as ``float64 [n, C]``, of a row the same whatever rows are beside it.

        In float32 the last digits would depend on how many there are.
        """
        return forward(self._read(features).astype(np.float64), self.layers)

    def _read(self, features: np.ndarray) -> np.ndarray:
        """The features that the head reads, scaled."""
        if self.scaling is None:
            return features[:, self.features]
        if self.scaling.kind == "l2":  # by the length of the whole row
            return self.scaling.apply(features)[:, self.features]
        return self.scaling.apply(features[:, self.features])

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Class ``int64 [n]`` of each row of raw backbone features ``float32 [n, F]``."""
        return self.logits(features).argmax(1)

    def reading_raw(self, scaling: Scaling) -> CompactHead:
        """The head for raw features, if it was trained on features scaled so."""
        if scaling.kind == "none":
            return self
        return dataclasses.replace(self, scaling=scaling.take(self.features))

    def tensors(self, prefix: str = "") -> dict[str, np.ndarray]:
        """Everything by the name that it has in a file."""
        named = {f"{prefix}features": self.features}
        for i, (kernel, bias) in enumerate(self.layers):
            named[f"{prefix}layer_{i}.kernel"] = kernel
            if bias is not None:
                named[f"{prefix}layer_{i}.bias"] = bias
        if self.scaling is not None and self.scaling.kind == "standard":
            named[f"{prefix}scaling.mean"] = self.scaling.mean
            named[f"{prefix}scaling.scale"] = self.scaling.scale
        return named


def compact_head(params: Params, masks: Masks, member: int) -> CompactHead:
    """The compact head of one trained member of a population."""
    active = active_parts(masks, member)
    layers = compact(apply_mask(params, masks, member), active)
    return CompactHead(active.index[0].astype(np.int64), tuple(layers))


def head_tensors(heads: tuple[CompactHead, ...]) -> dict[str, np.ndarray]:
    """The tensors of one head, or of one per fold, by the names that they have in a file."""
    named: dict[str, np.ndarray] = {}
    for fold, head in enumerate(heads):
        named |= head.tensors("" if len(heads) == 1 else f"fold_{fold}.")
    return {name: np.ascontiguousarray(tensor) for name, tensor in named.items()}


def save_heads(path: Path, heads: tuple[CompactHead, ...], card: HeadCard) -> None:
    """Write one head, or one per fold, with a card that says what it belongs to.

    The same heads and card give the same bytes: safetensors orders several metadata at random, so
    all of it is one JSON object.
    """
    save_file(head_tensors(heads), path, metadata={"evojax_prune": card.model_dump_json()})


def read_heads(path: str | Path) -> tuple[tuple[CompactHead, ...], HeadCard]:
    """The head, or one per fold, of a ``head.safetensors``, and its card.

    The file may come from anywhere: its size is bounded, nothing in it is run, and all that it says
    is checked.

    Raises:
        UserError: the file cannot be read, is damaged, or is not a head's.
    """
    try:
        if (size := Path(path).stat().st_size) > LARGEST_FILE:
            raise ValueError(f"{size} bytes, more than any head has")
        check_readable(Path(path))
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("evojax_prune")
            if text is None:
                raise ValueError("it does not say what it is of")
            card = _card(json.loads(text, object_pairs_hook=_once))
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names if _TENSOR.fullmatch(name)}
        folds = sorted({int(m[2] or 0) for m in map(_TENSOR.fullmatch, tensors) if m})
        named = any(name.startswith("fold_") for name in tensors)
        heads = tuple(_head(tensors, f"fold_{i}." if named else "", card) for i in folds)
        if not heads:
            raise ValueError("it holds no head")
        prefixes = {name.startswith("fold_") for name in tensors}
        if len(prefixes) > 1 or folds != list(range(len(folds))):
            raise ValueError("its folds are not all there, or there is more beside them")
        if strange := sorted(set(names) - head_tensors(heads).keys()):
            raise ValueError(f"it holds {shortened(strange[0])}, too")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, UserError, SafetensorError, RecursionError) as error:
        raise UserError(
            f"{path} is not a head that evojax_prune wrote, or is damaged ({_reason(error)}): give "
            "the folder of a finished run"
        ) from None
    return heads, card


def _card(metadata: object) -> HeadCard:
    if not isinstance(metadata, dict):
        raise ValueError("what it says of itself is not a JSON object")
    if metadata.get("format") != FORMAT:
        raise ValueError(f"its format is {metadata.get('format')!r}, expected {FORMAT!r}")
    card = HeadCard.model_validate(metadata)
    check_class_names(card.classes, "its card")
    return card


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object, none of whose keys comes twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("its card has a key twice")
    return made


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return sentences(error, HeadCard.model_fields)[0]
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else said_of(error)


def _head(tensors: dict[str, np.ndarray], prefix: str, card: HeadCard) -> CompactHead:
    """One head, once its tensors are seen to fit each other and the card."""
    depth = sum(n.startswith(f"{prefix}layer_") and n.endswith("kernel") for n in tensors)
    names = [f"{prefix}layer_{i}" for i in range(depth)]
    layers = tuple((tensors[f"{n}.kernel"], tensors.get(f"{n}.bias")) for n in names)
    features = tensors[f"{prefix}features"]
    if features.dtype != np.int64 or features.ndim != 1 or not layers:
        raise ValueError("features or layers are missing")
    if len(features) and not 0 <= features.min() <= features.max() < card.features:
        raise ValueError(f"it reads features outside of 0 to {card.features - 1}")
    units = len(features)
    for kernel, bias in layers:
        _check(kernel, (units, kernel.shape[-1] if kernel.ndim else 0))
        units = kernel.shape[1]
        if bias is not None:
            _check(bias, (units,))
    if units != len(card.classes):
        raise ValueError(f"{units} outputs for {len(card.classes)} classes")
    widths = [kernel.shape[1] for kernel, _ in layers[:-1]]
    if len(widths) != len(card.hidden) or any(map(operator.gt, widths, card.hidden)):
        raise ValueError(f"its hidden layers have {widths} units, of {list(card.hidden)}")
    return CompactHead(features, layers, _scaling(tensors, prefix, card, len(features)))


def _scaling(
    tensors: dict[str, np.ndarray], prefix: str, card: HeadCard, features: int
) -> Scaling | None:
    if card.scaling == "none":
        return None
    mean, scale = np.zeros(features, np.float32), np.ones(features, np.float32)
    if card.scaling == "standard":
        mean, scale = tensors[f"{prefix}scaling.mean"], tensors[f"{prefix}scaling.scale"]
        _check(mean, (features,))
        _check(np.where(np.isposinf(scale), np.float32(1), scale), (features,))  # constant features
        if not (scale > 0).all():
            raise ValueError("it divides by numbers that are not positive")
    return Scaling(card.scaling, mean, scale)


def _check(tensor: np.ndarray, shape: tuple[int, ...]) -> None:
    if tensor.dtype != np.float32 or tensor.shape != shape:
        raise ValueError(
            f"a tensor is {tensor.dtype} {list(tensor.shape)}, expected float32 {list(shape)}"
        )
    if not np.isfinite(tensor).all():
        raise ValueError("it holds NaN or infinity")
