"""Scores on a labelled set, against scikit-learn asked directly and against what is plain to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from farm.analysis import metrics
from farm.analysis.evaluation import evaluate
from farm.errors import ModelError
from farm.types import EvaluationSpec
from tests.values import blob


def spec(samples: int, task: str = "classification", **fields: Any) -> EvaluationSpec:
    return EvaluationSpec(task=task, inputs=blob("in.npz"), labels=blob("labels.npz"), samples=samples, **fields)


def logits(labels: np.ndarray, classes: int, noise: float, seed: int = 0) -> list[tuple[np.ndarray]]:
    """A row per sample, right as often as there is little noise."""
    random = np.random.default_rng(seed)
    scores = np.eye(classes)[labels] * 2 + random.normal(scale=noise, size=(len(labels), classes))
    return [(row[None].astype(np.float32),) for row in scores]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(8, 60))
def test_figures_are_those_of_scikit_learn(seed: int, classes: int, count: int) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, count)
    theirs, own = logits(labels, classes, 1.0, seed), logits(labels, classes, 1.6, seed + 1)
    found = evaluate(spec(count), own, theirs, {"labels": labels}, 0.95)
    predicted = np.concatenate([row for (row,) in own]).argmax(axis=1)
    before = np.concatenate([row for (row,) in theirs]).argmax(axis=1)
    assert found.metrics["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert found.metrics["f1_macro"] == pytest.approx(sklearn_metrics.f1_score(labels, predicted, average="macro"))
    assert found.reference_metrics["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, before))
    assert found.drop is not None
    assert found.drop.value == pytest.approx(found.reference_metrics["accuracy"] - found.metrics["accuracy"])
    assert np.array_equal(found.confusion, sklearn_metrics.confusion_matrix(labels, predicted, labels=range(classes)))
    assert found.changed_predictions == int(np.sum(predicted != before))
    for curve in found.curves:
        assert (curve.false_positive_rate[0], curve.true_positive_rate[-1]) == (0, 1)
        assert list(curve.false_positive_rate) == sorted(curve.false_positive_rate)
        assert 0 <= curve.auc <= 1


def test_the_auc_of_many_classes_is_scikit_learns_one_versus_rest_mean() -> None:
    labels = np.arange(200) % 4
    outputs = logits(labels, 4, 1.5)
    scores = np.concatenate([row for (row,) in outputs]).astype(np.float64)
    powers = np.exp(scores)
    wanted = sklearn_metrics.roc_auc_score(labels, powers / powers.sum(axis=1, keepdims=True), multi_class="ovr")
    assert evaluate(spec(200), outputs, outputs, {"labels": labels}, 0.95).metrics["auc_macro"] == pytest.approx(wanted)


def test_one_score_per_row_needs_a_threshold() -> None:
    labels = np.array([0, 1, 0, 1])
    outputs = [(np.array([[value]]),) for value in (-2.0, 1.0, 0.5, 3.0)]
    with pytest.raises(ModelError, match="one score per row") as caught:
        evaluate(spec(4), outputs, outputs, {"labels": labels}, 0.95)
    assert "threshold" in caught.value.remedy
    found = evaluate(spec(4, threshold=0.0), outputs, outputs, {"labels": labels}, 0.95)
    assert found.metrics["accuracy"] == 0.75
    assert found.metrics["auc"] == 1.0
    assert found.confusion == ((1, 1), (0, 2))
    assert found.drop is not None
    assert found.drop.value == 0


def test_samples_of_several_rows_are_scored_row_by_row() -> None:
    labels = np.array([0, 1, 2, 1, 0, 2])
    outputs = [(np.eye(3)[labels[:3]],), (np.eye(3)[labels[3:]],)]
    assert evaluate(spec(2), outputs, outputs, {"labels": labels}, 0.95).metrics["accuracy"] == 1


def test_very_unlikely_classes_do_not_break_the_curves() -> None:
    labels = np.array([0, 1] * 10)
    outputs = [(np.array([[0.0, -np.inf]]) if label == 0 else np.array([[-np.inf, 0.0]]),) for label in labels]
    assert evaluate(spec(20), outputs, outputs, {"labels": labels}, 0.95).metrics["auc"] == 1


@pytest.mark.parametrize(
    ("labels", "outputs", "message"),
    [
        ([0, 3], [np.eye(3)[0], np.eye(3)[1]], r"label 1 is 3, the model's classes are 0 to 2"),
        ([0, 1], [np.eye(3)[0], np.full(3, np.nan)], r"outputs are NaN in 1 of 2 rows"),
        ([0, 1], [np.eye(3)[0]], r"outputs are of 1 samples, the evaluation set has 2"),
        ([0, 1], [np.eye(3)[0], np.zeros(5)], "not of the same size"),
    ],
)
def test_what_does_not_fit_is_told_exactly(labels: list[int], outputs: list[np.ndarray], message: str) -> None:
    given_outputs = [(output,) for output in outputs]
    with pytest.raises(ModelError, match=message):
        evaluate(spec(2), given_outputs, given_outputs, {"labels": np.array(labels)}, 0.95)


def test_too_many_classes_for_a_picture_are_absent_with_the_reason() -> None:
    labels = np.arange(60) % 30
    outputs = logits(labels, 30, 1.0)
    found = evaluate(spec(60), outputs, outputs, {"labels": labels}, 0.95)
    assert (found.curves, found.confusion) == ((), ())
    assert set(found.absent) == {"curves", "confusion"}
    assert "30 classes" in found.absent["curves"]


def test_regression_errors_and_how_much_larger_they_became() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=(80, 2))
    theirs = [(row[None] + 0.01,) for row in truth]
    own = [(row[None] + 0.03,) for row in truth]
    found = evaluate(spec(80, "regression"), own, theirs, {"labels": truth}, 0.95)
    assert found.score == "mae"
    assert found.metrics["mae"] == pytest.approx(0.03)
    assert found.metrics["rmse"] == pytest.approx(0.03)
    assert found.metrics["r2"] < found.reference_metrics["r2"] <= 1
    assert found.drop is not None, "positive: worse"
    assert (found.drop.low, found.drop.value, found.drop.high) == pytest.approx((0.02, 0.02, 0.02))
    with pytest.raises(ModelError, match=r"160 numbers, the labels 80"):
        evaluate(spec(80, "regression"), own, theirs, {"labels": truth[:, :1]}, 0.95)


class WordErrorRate:
    """A package's metric: the model answers word numbers, the labels are sentences of word numbers."""

    score = "wer"
    higher_is_better = False

    def check(self, labels: Sequence[metrics.Label], options: metrics.Options) -> None:
        for number, label in enumerate(labels):
            if "words" not in label:
                raise ModelError(f"Label {number} has no words.", remedy="Give dict(words=array).")

    def compute(
        self, outputs: Sequence[metrics.Sample], labels: Sequence[metrics.Label], options: metrics.Options
    ) -> Mapping[str, float]:
        wrong = sum(int(np.sum(output[0] != label["words"])) for output, label in zip(outputs, labels, strict=True))
        return {"wer": wrong / sum(label["words"].size for label in labels)}


@pytest.fixture
def word_error_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("wer", f"{__name__}:WordErrorRate", metrics.ENTRY_POINTS)
    monkeypatch.setattr(metrics, "entry_points", lambda group: [point] if group == metrics.ENTRY_POINTS else [])


def test_a_package_brings_a_task_of_its_own(word_error_rate: None) -> None:
    words = np.arange(5)
    labels = {f"{n}.words": words for n in range(30)}
    theirs = [(words,) for _ in range(30)]
    own = [(words if n % 3 else words[::-1],) for n in range(30)]
    found = evaluate(spec(30, "wer"), own, theirs, labels, 0.95)
    assert (found.score, found.higher_is_better) == ("wer", False)
    assert found.metrics == {"wer": pytest.approx(10 * 4 / 150)}
    assert found.drop is not None
    assert 0 < found.drop.low < found.drop.value < found.drop.high
    with pytest.raises(ModelError, match=r"array named '30\.words'"):
        evaluate(spec(30, "wer"), own, theirs, labels | {"30.words": words}, 0.95)


def test_a_metric_that_fails_says_whose_it_is(word_error_rate: None) -> None:
    outputs = [(np.arange(4),)]
    with pytest.raises(ModelError, match=r"The metric of wer failed: .*KeyError"):
        evaluate(spec(1, "wer"), outputs, outputs, {"0.text": np.arange(4)}, 0.95)


def test_an_unknown_task_is_answered_with_the_known_ones(word_error_rate: None) -> None:
    with pytest.raises(ModelError, match="no evaluation task 'bleu'") as caught:
        evaluate(spec(1, "bleu"), [(np.ones(1),)], [(np.ones(1),)], {}, 0.95)
    assert "classification, regression, detection, wer" in caught.value.remedy
