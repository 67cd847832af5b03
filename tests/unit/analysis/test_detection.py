"""Mean average precision on scenes that are plain to see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from farm.analysis import detection, metrics, paired
from farm.analysis.evaluation import evaluate
from farm.errors import ModelError
from farm.types import EvaluationSpec
from tests.values import blob

BOXES = np.array([[10, 10, 50, 50], [60, 60, 90, 100]], np.float32)
CLASSES = np.array([1, 2])
LABEL = {"boxes": BOXES, "classes": CLASSES}


def found(shift: float = 0.0, **changes: Any) -> tuple[np.ndarray, ...]:
    fields = {"boxes": BOXES + shift, "scores": np.array([0.9, 0.8]), "classes": CLASSES} | changes
    return tuple(fields.values())


def test_boxes_where_they_should_be_have_full_precision_and_none_have_none() -> None:
    pytest.importorskip("pycocotools")
    assert detection.compute([found()] * 3, [LABEL] * 3, {}) == {"map": 1.0, "map_50": 1.0, "map_75": 1.0}
    wrong = detection.compute([found(classes=CLASSES[::-1])] * 3, [LABEL] * 3, {})
    assert wrong["map"] == 0
    moved = detection.compute([found(shift=5.0)] * 3, [LABEL] * 3, {})
    assert moved["map_50"] == 1 > moved["map_75"] >= 0
    assert 0 < moved["map"] < 1


def test_a_model_that_finds_nothing_has_no_precision() -> None:
    nothing = (np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    assert detection.compute([nothing], [LABEL], {})["map"] == 0


def test_the_drop_of_a_detector_has_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycocotools")
    monkeypatch.setattr(paired, "RESAMPLES", 200)
    labels = {f"{n}.{name}": value for n in range(12) for name, value in LABEL.items()}
    spec = EvaluationSpec(task="detection", inputs=blob("i"), labels=blob("l"), samples=12)
    own = [found(shift=6.0 if n % 2 else 0.0) for n in range(12)]
    scored = evaluate(spec, own, [found()] * 12, labels, 0.95)
    assert scored.reference_metrics["map"] == 1
    assert scored.drop is not None
    assert 0 < scored.drop.low <= scored.drop.value <= scored.drop.high < 1


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ({"boxes": BOXES}, "Label 1 has no classes"),
        ({"boxes": BOXES, "classes": CLASSES[:1]}, r"boxes of shape \[2, 4\] and 1 classes"),
        ({"boxes": BOXES, "classes": CLASSES * 1.0}, "classes of type float64"),
        ({"boxes": BOXES[:, ::-1], "classes": CLASSES}, r"Box 0 of label 1 is \[50.0"),
    ],
)
def test_labels_that_are_no_boxes_are_told_exactly(label: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        metrics.find("detection").check([LABEL, label], {})


def test_outputs_that_are_no_boxes_are_told() -> None:
    with pytest.raises(ModelError, match="1 outputs, not boxes, scores and classes") as caught:
        detection.compute([(BOXES,)], [LABEL], {})
    assert "NonMaximumSuppression" in caught.value.remedy
