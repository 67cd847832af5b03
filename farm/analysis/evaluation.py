"""From the outputs on a labelled set, the device's and PyTorch's, to figures and the drop between them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from farm.analysis import classification, metrics, paired
from farm.analysis.classification import MAX_CURVES
from farm.analysis.metrics import Label
from farm.errors import ModelError
from farm.recipes.boundary import Boundary
from farm.types import Estimate, Evaluation, EvaluationSpec

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Outputs: TypeAlias = Sequence[Sequence[Array]]

_BOOTSTRAP = f"percentile bootstrap over samples, {paired.RESAMPLES:,} resamples (Efron and Tibshirani 1993)"


def evaluate(
    spec: EvaluationSpec, outputs: Outputs, references: Outputs, labels: Mapping[str, Array], confidence: float
) -> Evaluation:
    """``outputs``: the device's, ``references``: PyTorch's, a list of arrays for each sample. ``labels``: the arrays of
    the label file by name. Raises ModelError where they do not fit together, with the difference."""
    for whose, given in (("The device's", outputs), ("PyTorch's", references)):
        if len(given) != spec.samples:
            raise ModelError(
                f"{whose} outputs are of {len(given)} samples, the evaluation set has {spec.samples}.",
                remedy="Submit it again; report it if it persists.",
            )
    if spec.task == "classification":
        return _classification(spec, outputs, references, labels["labels"], confidence)
    if spec.task == "regression":
        return _regression(spec, outputs, references, labels["labels"], confidence)
    return _of_plugin(spec, outputs, references, labels, confidence)


def _classification(
    spec: EvaluationSpec, outputs: Outputs, references: Outputs, labels: Array, confidence: float
) -> Evaluation:
    own = classification.rows(outputs, len(labels), spec, "The device's")
    theirs = classification.rows(references, len(labels), spec, "PyTorch's")
    classification.check_range(labels, theirs.classes, spec.class_names)
    if own.classes != theirs.classes:
        raise ModelError(
            f"The device tells {own.classes} classes apart, PyTorch {theirs.classes}.",
            remedy="The conversion changed what the program returns: take another recipe.",
        )
    already = classification.are_probabilities(theirs)
    own_ranked, their_ranked = (classification.as_probabilities(each, already=already) for each in (own, theirs))
    right, right_before = own.predicted == labels, theirs.predicted == labels
    few = own.classes <= MAX_CURVES
    too_many = f"{own.classes} classes, more than the {MAX_CURVES} that can be shown"
    return Evaluation(
        task=spec.task,
        samples=spec.samples,
        score="accuracy",
        metrics=classification.metrics(labels, own, own_ranked),
        reference_metrics=classification.metrics(labels, theirs, their_ranked),
        drop=paired.difference_of_proportions(
            int(np.sum(right_before & ~right)), int(np.sum(right & ~right_before)), len(labels), confidence
        ),
        confidence=confidence,
        method=paired.TANGO,
        changed_predictions=int(np.sum(own.predicted != theirs.predicted)),
        class_names=spec.class_names,
        confusion=classification.confusion(labels, own) if few else (),
        curves=classification.curves(labels, own, own_ranked, spec.class_names) if few else (),
        absent={} if few else {"confusion": too_many, "curves": too_many},
    )


def _regression(
    spec: EvaluationSpec, outputs: Outputs, references: Outputs, labels: Array, confidence: float
) -> Evaluation:
    own = _predictions(outputs, labels, "The device's")
    theirs = _predictions(references, labels, "PyTorch's")
    own_error, their_error = (np.abs(each - labels.reshape(each.shape)) for each in (own, theirs))
    lost = (own_error - their_error).reshape(len(labels), -1).mean(axis=1)
    drop = paired.bootstrap(lambda drawn: float(lost[drawn].mean()), len(labels), confidence)
    return Evaluation(
        task=spec.task,
        samples=spec.samples,
        score="mae",
        higher_is_better=False,
        metrics=_errors(own, labels),
        reference_metrics=_errors(theirs, labels),
        drop=drop,
        confidence=confidence,
        method=_BOOTSTRAP if drop else "",
        absent={} if drop else {"drop": _too_few(len(labels))},
    )


def _predictions(outputs: Outputs, labels: Array, whose: str) -> Array:
    values = np.concatenate([np.asarray(sample[0], dtype=np.float64).reshape(-1) for sample in outputs])
    if values.size != labels.size:
        raise ModelError(
            f"{whose} first outputs are {values.size:,} numbers, the labels {labels.size:,} ({list(labels.shape)}).",
            remedy="Give one number per number of the model's first output.",
        )
    if wrong := int(values.size - np.count_nonzero(np.isfinite(values))):
        raise ModelError(f"{whose} outputs hold {wrong:,} NaN or infinite values.", remedy="Take another recipe.")
    return values.reshape(len(labels), -1)


def _errors(predicted: Array, labels: Array) -> dict[str, float]:
    """R² is absent where the labels are all the same."""
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    wanted = labels.reshape(predicted.shape)
    found = {
        "mae": float(mean_absolute_error(wanted, predicted)),
        "rmse": float(root_mean_squared_error(wanted, predicted)),
    }
    if len(wanted) > 1 and np.any(wanted != wanted[0]):
        found["r2"] = float(r2_score(wanted, predicted))
    return found


def _of_plugin(
    spec: EvaluationSpec, outputs: Outputs, references: Outputs, labels: Mapping[str, Array], confidence: float
) -> Evaluation:
    metric, truth = metrics.find(spec.task), by_sample(labels, spec.samples)

    def figures(given: Outputs, drawn: Sequence[int]) -> dict[str, float]:
        remedy = "Look at the package that brings this task, and at the labels it wants."
        with Boundary(ModelError, f"The metric of {spec.task} failed", remedy):
            found = metric.compute([given[i] for i in drawn], [truth[i] for i in drawn], spec.options)
            return {name: float(value) for name, value in found.items()}

    sign = 1 if metric.higher_is_better else -1

    def worse_by(drawn: paired.Indices) -> float:
        chosen = drawn.tolist()
        return sign * (figures(references, chosen)[metric.score] - figures(outputs, chosen)[metric.score])

    everything = range(spec.samples)
    drop: Estimate | None = paired.bootstrap(worse_by, spec.samples, confidence)
    return Evaluation(
        task=spec.task,
        samples=spec.samples,
        score=metric.score,
        higher_is_better=metric.higher_is_better,
        metrics=figures(outputs, everything),
        reference_metrics=figures(references, everything),
        drop=drop,
        confidence=confidence,
        method=_BOOTSTRAP if drop else "",
        class_names=spec.class_names,
        absent={} if drop else {"drop": _too_few(spec.samples)},
    )


def by_sample(labels: Mapping[str, Array], samples: int) -> list[Label]:
    """``"{sample}.{field}"`` to one mapping per sample. Raises ModelError for other names and numbers."""
    found: list[dict[str, Array]] = [{} for _ in range(samples)]
    for name, array in labels.items():
        number, _, field = name.partition(".")
        if not (number.isdecimal() and int(number) < samples and field):
            raise ModelError(
                f"The labels hold an array named {name!r}; the evaluation set has samples 0 to {samples - 1}.",
                remedy='Name them "{sample}.{field}", e.g. 0.boxes.',
            )
        found[int(number)][field] = array
    return list(found)


def _too_few(samples: int) -> str:
    return f"{samples} samples, or a metric that is too slow to be computed on enough resamples or not finite"
