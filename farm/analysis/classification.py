"""Class scores against labels: accuracy, precision, recall, F1, ROC curves, confusion matrix. By scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from farm.errors import ModelError
from farm.types import EvaluationSpec, RocCurve

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

MAX_CURVES = 20  # and as many classes in the confusion matrix: more can be neither read nor kept
CURVE_POINTS = 100
_AVERAGES = ("macro", "micro", "weighted")


@dataclass(frozen=True)
class Scores:
    """``values``: a row per label; a column per class, or a single one whose ``threshold`` parts no from yes."""

    values: Array
    threshold: float | None

    @property
    def predicted(self) -> Array:
        if self.threshold is not None:
            return np.asarray(self.values[:, 0] > self.threshold, dtype=np.int64)
        return np.asarray(np.argmax(self.values, axis=1))

    @property
    def classes(self) -> int:
        return 2 if self.threshold is not None else self.values.shape[1]


def rows(outputs: Sequence[Sequence[Array]], count: int, spec: EvaluationSpec, whose: str) -> Scores:
    """The first output of every sample as rows of class scores, as many as there are labels. Raises ModelError."""
    first = [np.asarray(sample[0], dtype=np.float64) for sample in outputs]
    per_sample = count // len(first)
    shape = first[0].shape
    if any(each.size % per_sample or each.size != first[0].size for each in first):
        raise _unfit(f"{whose} first output is not of the same size for every sample, or not divisible into rows")
    values = np.concatenate([each.reshape(per_sample, -1) for each in first])
    if len(values) != count or values.shape[1] == 0:
        raise _unfit(f"{whose} first output of shape {list(shape)} gives {len(values)} rows for {count} labels")
    if missing := int(np.count_nonzero(np.isnan(values).any(axis=1))):
        raise _unfit(f"{whose} outputs are NaN in {missing} of {count} rows")
    if values.shape[1] > 1:
        return Scores(values, None)
    if spec.threshold is None:
        raise ModelError(
            "The model gives one score per row, and nothing says from where on it means yes.",
            remedy="Give EvaluationSet(threshold=0.5) for probabilities, threshold=0 for logits.",
        )
    return Scores(values, spec.threshold)


def check_range(labels: Array, classes: int, names: Sequence[str]) -> None:
    """Raises ModelError naming the first label that is no class."""
    if names and len(names) != classes:
        raise _unfit(f"{len(names)} class names were given, the model tells {classes} classes apart")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        at = int(wrong[0])
        raise _unfit(
            f"label {at} is {int(labels[at])}, the model's classes are 0 to {classes - 1} ({len(wrong)} such labels)"
        )


def metrics(labels: Array, scores: Scores, probabilities: Array) -> dict[str, float]:
    """Averages are over the classes that occur in the labels or in what was predicted; a share of nothing counts 0."""
    from sklearn.metrics import precision_recall_fscore_support

    predicted = scores.predicted
    found = {"accuracy": float(np.mean(predicted == labels))}
    for average in _AVERAGES:
        figures = precision_recall_fscore_support(labels, predicted, average=average, zero_division=0.0)
        for name, value in zip(("precision", "recall", "f1"), figures[:3], strict=True):
            found[f"{name}_{average}"] = float(value)
    areas = [auc for index in _curve_classes(scores) if (auc := _auc(labels, probabilities, index)) is not None]
    if areas:
        found["auc" if scores.classes == 2 else "auc_macro"] = float(np.mean(areas))
    return found


def confusion(labels: Array, scores: Scores) -> tuple[tuple[int, ...], ...]:
    from sklearn.metrics import confusion_matrix

    matrix = confusion_matrix(labels, scores.predicted, labels=range(scores.classes))
    return tuple(tuple(map(int, line)) for line in matrix)


def curves(labels: Array, scores: Scores, probabilities: Array, names: Sequence[str]) -> tuple[RocCurve, ...]:
    """For two classes the one of the second, else one for each class against all others."""
    from sklearn.metrics import roc_curve

    found = []
    for index in _curve_classes(scores):
        auc = _auc(labels, probabilities, index)
        if auc is None:
            continue
        false_positive, true_positive, _ = roc_curve(labels == index, _ranks(probabilities, index))
        kept = np.unique(np.linspace(0, len(false_positive) - 1, CURVE_POINTS).round().astype(int))
        found.append(
            RocCurve(
                label=names[index] if names else str(index),
                auc=auc,
                false_positive_rate=tuple(map(float, false_positive[kept].round(5))),
                true_positive_rate=tuple(map(float, true_positive[kept].round(5))),
            )
        )
    return tuple(found)


def are_probabilities(scores: Scores) -> bool:
    values = scores.values
    return bool(np.all(values >= 0) and np.all(np.abs(values.sum(axis=1) - 1) < 1e-3))


def as_probabilities(scores: Scores, *, already: bool) -> Array:
    """What samples are ranked by within a class. Logits of different samples are on different scales, so they go
    through softmax; ``already``: PyTorch's outputs are probabilities, so the variant's are, too."""
    if scores.threshold is not None or already:
        return scores.values
    with np.errstate(invalid="ignore"):
        powers = np.exp(scores.values - scores.values.max(axis=1, keepdims=True))
    return np.asarray(np.nan_to_num(powers / powers.sum(axis=1, keepdims=True)))


def _curve_classes(scores: Scores) -> range:
    return range(1, 2) if scores.classes == 2 else range(scores.classes)


def _ranks(probabilities: Array, index: int) -> Array:
    """Ranks tell the same as values, and infinity has one."""
    from scipy.stats import rankdata

    column = probabilities[:, 0] if probabilities.shape[1] == 1 else probabilities[:, index]
    return np.asarray(rankdata(column))


def _auc(labels: Array, probabilities: Array, index: int) -> float | None:
    """None where the labels are all of this class, or none is."""
    from sklearn.metrics import roc_auc_score

    mine = labels == index
    if mine.all() or not mine.any():
        return None
    return float(roc_auc_score(mine, _ranks(probabilities, index)))


def _unfit(what: str) -> ModelError:
    return ModelError(
        f"The evaluation set and the model do not fit: {what}.",
        remedy="Give one class number per row of the model's first output, which holds the scores of the classes.",
    )
