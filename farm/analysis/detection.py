"""The task ``detection``: mean average precision as COCO defines it, by pycocotools (extra ``detection``).

The model's outputs, after its declared steps, are boxes ``[n, 4]`` (left, top, right, bottom), scores ``[n]`` and
classes ``[n]``, as ``farm.steps.NonMaximumSuppression`` gives them. A label has ``boxes`` ``[m, 4]`` and ``classes``
``[m]``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from farm.analysis.metrics import Array, Label, Options, Sample
from farm.errors import ModelError

score = "map"
higher_is_better = True

_REMEDY = "Give dict(boxes=[m, 4] as left, top, right, bottom, classes=[m] as class numbers) for each sample."


def check(labels: Sequence[Label], options: Options) -> None:
    for number, label in enumerate(labels):
        if lacking := {"boxes", "classes"} - label.keys():
            raise ModelError(f"Label {number} has no {min(lacking)}.", remedy=_REMEDY)
        boxes, classes = label["boxes"], label["classes"]
        if (boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4)) or len(boxes) != len(classes):
            raise ModelError(
                f"Label {number} has boxes of shape {list(boxes.shape)} and {len(classes)} classes.", remedy=_REMEDY
            )
        if classes.size and not np.issubdtype(classes.dtype, np.integer):
            raise ModelError(f"Label {number} has classes of type {classes.dtype}.", remedy=_REMEDY)
        wrong = [at for at, box in enumerate(boxes) if not (np.isfinite(box).all() and (box[:2] < box[2:]).all())]
        if wrong:
            raise ModelError(f"Box {wrong[0]} of label {number} is {boxes[wrong[0]].tolist()}.", remedy=_REMEDY)


def compute(outputs: Sequence[Sample], labels: Sequence[Label], options: Options) -> Mapping[str, float]:
    """``map`` is the mean over overlaps of 0.50 to 0.95, ``map_50`` and ``map_75`` those at one."""
    found = [_detections(number, sample) for number, sample in enumerate(outputs)]
    detections = np.concatenate(found) if found else np.zeros((0, 7))
    if not len(detections) or not any(len(label["boxes"]) for label in labels):
        return {"map": 0.0, "map_50": 0.0, "map_75": 0.0}
    evaluation = _evaluated(labels, detections)
    return dict(zip(("map", "map_50", "map_75"), map(float, evaluation.stats[:3]), strict=True))


def _evaluated(labels: Sequence[Label], detections: Array) -> Any:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ModelError(
            "Mean average precision needs pycocotools, which is not installed at the farm.",
            remedy="On the head: pip install 'torchfarm[detection]'.",
        ) from error
    boxes: list[dict[str, Any]] = [
        {"image_id": number, "category_id": int(kind), "bbox": _sized(box), "area": _area(box), "iscrowd": 0}
        for number, label in enumerate(labels)
        for box, kind in zip(label["boxes"], label["classes"], strict=True)
    ]
    kinds = {int(box["category_id"]) for box in boxes} | set(map(int, detections[:, 6]))
    with contextlib.redirect_stdout(io.StringIO()):  # it tells its progress
        truth = COCO()
        truth.dataset = {
            "images": [{"id": number} for number in range(len(labels))],
            "categories": [{"id": kind} for kind in sorted(kinds)],
            "annotations": [{**box, "id": number} for number, box in enumerate(boxes, 1)],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _detections(number: int, sample: Sample) -> Array:
    """Rows of image, left, top, width, height, score, class."""
    if len(sample) < 3:
        raise ModelError(
            f"The model gives {len(sample)} outputs, not boxes, scores and classes.",
            remedy="Add steps after it that make them, e.g. farm.steps.NonMaximumSuppression().",
        )
    boxes, scores, classes = (np.asarray(each, dtype=np.float64) for each in sample[:3])
    boxes = boxes.reshape(-1, 4)
    sizes = boxes[:, 2:] - boxes[:, :2]
    image = np.full((len(boxes), 1), number)
    return np.concatenate([image, boxes[:, :2], sizes, scores.reshape(-1, 1), classes.reshape(-1, 1)], axis=1)


def _sized(box: Array) -> list[float]:
    left, top, right, bottom = map(float, box)
    return [left, top, right - left, bottom - top]


def _area(box: Array) -> float:
    _, _, width, height = _sized(box)
    return width * height
