"""How well a head classifies, and how far its probabilities can be trusted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from evojax_prune.core.compact_head import CompactHead

BINS = 15
"""Bins of confidence of the calibration error."""


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities ``float64 [n, C]`` of logits ``[n, C]`` divided by a temperature."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def mean_probabilities(heads: Sequence[CompactHead], features: np.ndarray) -> np.ndarray:
    """Probabilities of an ensemble: the mean of its heads'.

    Args:
        heads: at least one, of any sizes.
        features: ``float32 [n, F]``, backbone features.

    Returns:
        ``float64 [n, C]``; its ``argmax(1)`` is what the ensemble predicts.

    Raises:
        ValueError: no heads.
    """
    if not heads:
        raise ValueError("an ensemble needs at least one head, got none")
    return np.mean([softmax(head.logits(features)) for head in heads], axis=0)


@dataclasses.dataclass(frozen=True)
class Metrics:
    """How a head does on some rows.

    Attributes:
        confusion: ``int64 [C, C]``: rows of class i (row) that are taken for class j (column).
        recall: ``float64 [C]``, fraction of each class's rows classified rightly; NaN for a class
            without rows.
        accuracy: fraction of the rows classified rightly.
        balanced_accuracy: mean recall of the classes that have rows.
        calibration_error: see :func:`calibration_error`.
        auroc: area under the ROC curve of each class against the others, mean over the classes that
            have both; NaN if there are none.
    """

    confusion: np.ndarray
    recall: np.ndarray
    accuracy: float
    balanced_accuracy: float
    calibration_error: float
    auroc: float


def metrics(probabilities: np.ndarray, labels: np.ndarray) -> Metrics:
    """Every figure of a head on some rows.

    Args:
        probabilities: ``[n, C]``, as :func:`softmax` makes them of logits; of equal ones the first
            class is predicted.
        labels: ``int [n]`` in [0, C).

    Raises:
        ValueError: no rows, shapes that do not fit, or values that are not probabilities.
    """
    probabilities = _checked(probabilities, labels)
    classes = probabilities.shape[1]
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(1)), 1)
    rows = confusion.sum(1)
    recall = np.where(rows > 0, confusion.diagonal() / np.maximum(rows, 1), np.nan)
    curves = [
        auroc(probabilities[labels == c, c], probabilities[labels != c, c])
        for c in range(classes)
        if 0 < rows[c] < len(labels)
    ]
    return Metrics(
        confusion=confusion,
        recall=recall,
        accuracy=float(confusion.trace() / len(labels)),
        balanced_accuracy=float(np.nanmean(recall)),
        calibration_error=calibration_error(probabilities, labels),
        auroc=float(np.mean(curves)) if curves else math.nan,
    )


@dataclasses.dataclass(frozen=True)
class Reliability:
    """A reliability diagram: accuracy against confidence, in bins of equal width.

    Confidence is the probability of the predicted class. Bin m of M holds the rows whose
    confidence is in ((m - 1) / M, m / M].

    Attributes:
        edges: ``float64 [M + 1]``, from 0 to 1.
        rows: ``int64 [M]``, rows in each bin.
        confidence: ``float64 [M]``, their mean confidence; NaN for an empty bin.
        accuracy: ``float64 [M]``, fraction classified rightly; NaN for an empty bin.
    """

    edges: np.ndarray
    rows: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1."""
        gaps = np.abs(np.nan_to_num(self.accuracy - self.confidence))
        return float((self.rows * gaps).sum() / self.rows.sum())


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Reliability:
    """The reliability diagram of a head (Guo et al. 2017, section 2).

    Args:
        probabilities: ``[n, C]``.
        labels: ``int [n]``.
        bins: M, at least 1.

    Raises:
        ValueError: as :func:`metrics`.
    """
    probabilities = _checked(probabilities, labels)
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    edges = np.arange(bins + 1) / bins
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    rows = np.bincount(place, minlength=bins)
    per_bin = np.where(rows > 0, rows, np.nan)
    return Reliability(
        edges=edges,
        rows=rows,
        confidence=np.bincount(place, confidence, bins) / per_bin,
        accuracy=np.bincount(place, right, bins) / per_bin,
    )


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3), 0 to 1; lower is better.

    The mean over rows of the gap between accuracy and mean confidence in the row's bin, as
    :class:`Reliability` cuts them: ``sum over bins of rows / n * |accuracy - confidence|``.
    """
    return reliability(probabilities, labels, bins).error


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the ROC curve (scikit-learn), 0 to 1.

    The probability that a positive row scores above a negative one, ties counting half.

    Args:
        positive: scores ``[n]`` of the rows that should score high.
        negative: scores ``[m]`` of the others.

    Raises:
        ValueError: one side has no rows, or a score is NaN.
    """
    from sklearn.metrics import roc_auc_score

    if not len(positive) or not len(negative):
        raise ValueError(
            f"AUROC of {len(positive)} positive and {len(negative)} negative rows: expected both"
        )
    truth = np.concatenate([np.ones(len(positive), bool), np.zeros(len(negative), bool)])
    return float(roc_auc_score(truth, np.concatenate([positive, negative])))


def _checked(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    probabilities = np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or probabilities.shape[:1] != np.shape(labels) or not len(labels):
        raise ValueError(
            f"probabilities have shape {probabilities.shape} and labels {np.shape(labels)}: "
            "expected [n, C] and [n] with at least one row"
        )
    # Written so that NaN, of a head that diverged, is refused too.
    if not ((probabilities >= 0) & (probabilities <= 1 + 1e-6)).all():
        raise ValueError("expected probabilities between 0 and 1: take the softmax of logits first")
    return probabilities
