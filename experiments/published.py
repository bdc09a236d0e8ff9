"""Figures of the paper, to be printed beside ours.

Poyatos, Molina, Martínez, Del Ser, Herrera: EvoPruneDeepTL: An evolutionary pruning model for
transfer learning based deep neural networks. Neural Networks 158 (2023) 59-82, arXiv 2202.03844.

The text of the paper could not be looked up where this was written. Every figure here was read off
the pictures of its tables that the authors keep beside their code, at commit 6e13f5e of
https://github.com/ari-dasci/S-EvoPruneDeepTL, folder ``images/``; the file is named at each table.
Tables that are only in the paper are not here. All of them were selected on test (or, for SRSMAS
and LEAVES, on the folds that they report), with ResNet-50 features unless another network is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

NAMES = {
    "srsmas": "SRSMAS",
    "rps": "RPS",
    "rps28": "RPS",
    "rock_paper_scissors": "RPS",
    "leaves": "LEAVES",
    "citrus_leaves": "LEAVES",
    "painting": "PAINTING",
    "cataract": "CATARACT",
    "plants": "PLANTS",
}
"""What the paper calls a data set, by the name that we may know it by."""


class Pruned(NamedTuple):
    """Accuracy of four ways to prune, and the percentage of active neurons of all four."""

    weight: float
    polynomial: float
    neuron: float | None
    evolved: float
    active: int


PRUNING = {
    "SRSMAS": {
        "fc1": Pruned(0.795, 0.815, 0.775, 0.883, 46),
        "fc2": Pruned(0.834, 0.837, 0.779, 0.884, 47),
        "both": Pruned(0.845, 0.847, 0.647, 0.885, 64),
        "features": Pruned(0.841, 0.878, 0.802, 0.884, 60),
    },
    "RPS": {
        "fc1": Pruned(0.886, 0.911, 0.803, 0.959, 37),
        "fc2": Pruned(0.845, 0.911, 0.696, 0.969, 16),
        "both": Pruned(0.694, 0.899, 0.490, 0.978, 12),
        "features": Pruned(0.913, 0.926, 0.869, 0.985, 45),
    },
    "LEAVES": {
        "fc1": Pruned(0.913, 0.918, 0.812, 0.937, 28),
        "fc2": Pruned(0.904, 0.919, 0.712, 0.935, 12),
        "both": Pruned(0.911, 0.925, 0.747, 0.936, 34),
        "features": Pruned(0.947, 0.940, 0.946, 0.943, 59),
    },
    "PAINTING": {
        "fc1": Pruned(0.995, 0.993, 0.850, 0.950, 53),
        "fc2": Pruned(0.937, 0.938, 0.920, 0.951, 53),
        "both": Pruned(0.934, 0.940, 0.853, 0.953, 51),
        "features": Pruned(0.962, 0.968, 0.883, 0.958, 55),
    },
    "CATARACT": {
        "fc1": Pruned(0.668, 0.684, 0.673, 0.740, 63),
        "fc2": Pruned(0.694, 0.689, 0.648, 0.737, 59),
        "both": Pruned(0.686, 0.696, 0.611, 0.746, 63),
        "features": Pruned(0.696, 0.689, 0.687, 0.747, 55),
    },
    "PLANTS": {
        "fc1": Pruned(0.408, 0.403, 0.343, 0.479, 45),
        "fc2": Pruned(0.392, 0.420, 0.313, 0.482, 37),
        "both": Pruned(0.393, 0.411, 0.278, 0.491, 41),
        "features": Pruned(0.421, 0.317, 0.402, 0.472, 68),
    },
}
"""``resultsEvoDeepTLPruningCNN.png`` (fc1, fc2, both) and ``resultsfs.png`` (features)."""

BACKBONES = {
    "SRSMAS": {
        "densenet121": Pruned(0.869, 0.868, None, 0.896, 68),
        "vgg19": Pruned(0.826, 0.825, None, 0.869, 87),
    },
    "RPS": {
        "densenet121": Pruned(0.675, 0.699, None, 0.839, 48),
        "vgg19": Pruned(0.981, 0.834, None, 0.982, 53),
    },
    "LEAVES": {
        "densenet121": Pruned(0.858, 0.891, None, 0.921, 60),
        "vgg19": Pruned(0.904, 0.843, None, 0.924, 68),
    },
    "PAINTING": {
        "densenet121": Pruned(0.937, 0.934, None, 0.956, 63),
        "vgg19": Pruned(0.928, 0.928, None, 0.943, 77),
    },
    "CATARACT": {
        "densenet121": Pruned(0.676, 0.682, None, 0.787, 57),
        "vgg19": Pruned(0.666, 0.688, None, 0.765, 66),
    },
    "PLANTS": {
        "densenet121": Pruned(0.387, 0.394, None, 0.464, 67),
        "vgg19": Pruned(0.322, 0.311, None, 0.376, 66),
    },
}
"""``resultscomparisonfeature.png``, features mode; ResNet-50's columns are in ``PRUNING``."""


class Relevance(NamedTuple):
    """Accuracy, and percentage of active neurons of the evolved heads, on a part of the classes."""

    both: float
    both_active: int
    both_dense: float
    features: float
    features_active: int
    features_dense: float


LEFT_OUT = {
    "PAINTING": {
        "sculpture": Relevance(0.942, 64, 0.932, 0.947, 53, 0.857),
        "painting": Relevance(0.959, 42, 0.946, 0.961, 50, 0.820),
        "iconography": Relevance(0.942, 30, 0.920, 0.949, 57, 0.835),
        "engraving": Relevance(0.979, 74, 0.974, 0.979, 56, 0.883),
        "drawings": Relevance(0.994, 57, 0.989, 0.996, 57, 0.944),
        "": Relevance(0.953, 51, 0.939, 0.958, 55, 0.939),
    }
}
"""``relevantclasses.png``, by the class that is left out; the empty name is the whole set."""

SHARES = {
    "PAINTING": {
        20: Relevance(0.944, 47, 0.931, 0.945, 56, 0.826),
        40: Relevance(0.945, 39, 0.929, 0.950, 65, 0.826),
        60: Relevance(0.946, 53, 0.931, 0.954, 51, 0.839),
        80: Relevance(0.947, 41, 0.927, 0.953, 47, 0.839),
        100: Relevance(0.953, 51, 0.939, 0.958, 55, 0.939),
    }
}
"""``aggregation.png``, by percentage. The picture does not say of what; the authors' ``mainCKA.py``
reads populations of "iconography" with such a percentage, so it is taken to be the share of that
class's images."""


class Similarity(NamedTuple):
    """Hamming distances and RBF CKA of the best head with its neighbour and with the dense head."""

    hamming_closest: float
    cka_closest: float
    hamming_dense: float
    cka_dense: float


CKA = {
    "PAINTING": {
        "sculpture": Similarity(0.002, 0.992, 0.471, 0.259),
        "painting": Similarity(0.003, 0.986, 0.502, 0.202),
        "iconography": Similarity(0.002, 0.993, 0.433, 0.236),
        "engraving": Similarity(0.006, 0.984, 0.441, 0.291),
        "drawings": Similarity(0.021, 0.925, 0.432, 0.236),
    }
}
"""``cka.png``, features mode, by the class that is left out."""


class Figures(NamedTuple):
    """What the paper has of one line: accuracy by the column of the table, and active neurons."""

    accuracy: dict[str, float]
    active: int


NETWORKS = ("resnet50", "densenet121", "vgg19")
"""Backbones of which the paper has figures."""


def paper_name(names: Iterable[str]) -> str | None:
    """What the paper calls a data set; None for one that is not in it.

    Args:
        names: what it is called here: paths, or names.
    """
    known = (NAMES.get(Path(name).stem.lower()) for name in names)
    return next((name for name in known if name), None)


def figures(name: str, backbone: str, mode: str, shares: Mapping[str, float]) -> Figures | None:
    """The paper's figures of one line; None where there are none.

    Args:
        name: what the paper calls the data set.
        backbone: of the features.
        mode: prune mode.
        shares: part of a class's rows that are used, by the class's name; empty for all classes.
    """
    if shares:
        part = _relevance(name, shares) if backbone == "resnet50" else None
        return None if part is None else _of_part(part, mode)
    if backbone == "resnet50":
        known = PRUNING.get(name, {}).get(mode)
    else:
        known = BACKBONES.get(name, {}).get(backbone) if mode == "features" else None
    if known is None:
        return None
    accuracy = {
        "Weight": known.weight,
        "Poly. decay": known.polynomial,
        "Neuron": known.neuron,
        "Evolved": known.evolved,
    }
    found = {column: value for column, value in accuracy.items() if value is not None}
    whole = LEFT_OUT.get(name, {}).get("") if backbone == "resnet50" else None
    dense = None if whole is None else _of_part(whole, mode)
    return Figures(found | (dense.accuracy if dense else {}), known.active)


def _relevance(name: str, shares: Mapping[str, float]) -> Relevance | None:
    """Figures of a data set without one class, or with a share of the class of ``SHARES``."""
    if len(shares) != 1:
        return None
    ((label, share),) = shares.items()
    if share == 0:
        return LEFT_OUT.get(name, {}).get(label.lower())
    if label.lower() != "iconography":
        return None
    return SHARES.get(name, {}).get(round(100 * share))


def _of_part(part: Relevance, mode: str) -> Figures | None:
    if mode not in ("both", "features"):
        return None
    evolved, dense = getattr(part, mode), getattr(part, f"{mode}_dense")
    return Figures({"Not pruned": dense, "Evolved": evolved}, getattr(part, f"{mode}_active"))
