"""Steps before and after a model, against PyTorch where it has the same, and against their definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter

from agents.harness.failure import Failure
from agents.harness.steps import run
from farm.types import steps as types

STEP: TypeAdapter[Any] = TypeAdapter(types.Step)
SIZES = st.integers(1, 9)
IMAGES = hnp.arrays(np.float32, st.tuples(st.just(1), st.just(3), SIZES, SIZES), elements=st.floats(0, 1, width=32))


def taken(array: np.ndarray, *steps: Any) -> np.ndarray:
    (result,) = run([step.model_dump() for step in steps], [array])
    return result


@settings(deadline=None)
@given(IMAGES, SIZES, SIZES, st.sampled_from(["bilinear", "nearest"]))
def test_resizing_is_pytorchs(image: np.ndarray, height: int, width: int, method: str) -> None:
    torch = pytest.importorskip("torch")
    keywords = {"align_corners": False} if method == "bilinear" else {}
    wanted = torch.nn.functional.interpolate(torch.from_numpy(image), (height, width), mode=method, **keywords).numpy()
    chw = types.Resize(height=height, width=width, method=method, layout="chw")
    assert np.allclose(taken(image, chw), wanted, atol=1e-5)
    hwc = types.Resize(height=height, width=width, method=method)
    assert np.allclose(np.moveaxis(taken(np.moveaxis(image, 1, -1), hwc), -1, 1), wanted, atol=1e-5)


@given(hnp.arrays(np.float32, (3, 7), elements=st.floats(-80, 80, width=32)))
def test_softmax_and_sigmoid_are_pytorchs_without_overflow(values: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    with np.errstate(all="raise", under="ignore"):
        assert np.allclose(taken(values, types.Softmax()), torch.softmax(torch.from_numpy(values), -1), atol=1e-6)
        assert np.allclose(taken(values, types.Sigmoid()), torch.sigmoid(torch.from_numpy(values)), atol=1e-6)


def test_the_way_of_a_photo_into_a_network() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    made = taken(
        photo,
        types.Resize(height=32, width=48),
        types.Crop(height=32, width=32),
        types.Scale(factor=1 / 255),
        types.Normalize(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        types.Transpose(axes=(2, 0, 1)),
        types.Expand(),
    )
    assert (made.shape, made.dtype) == ((1, 3, 32, 32), np.float32)
    assert made.flags.c_contiguous
    assert -2 <= made.min() < made.max() <= 2


def test_small_steps() -> None:
    row = np.array([[0.1, 0.7, 0.2]], np.float32)
    assert taken(row, types.Threshold(value=0.15)).tolist() == [[0, 1, 1]]
    assert taken(row, types.ArgMax()).tolist() == [1]
    assert taken(row, types.Pad(widths=((1, 2),), value=9)).tolist() == [[9, *row[0].tolist(), 9, 9]]
    assert taken(row * 10, types.CastTo(dtype="int64")).dtype == np.int64
    values, places = run([types.TopK(k=2).model_dump()], [row])
    assert (values.round(1).tolist(), places.tolist()) == ([[pytest.approx(0.7), pytest.approx(0.2)]], [[1, 2]])
    kept, scaled = run([types.Scale(factor=2, input=1).model_dump()], [row, row])
    assert np.array_equal(kept, row)
    assert np.allclose(scaled, row * 2)


BOXES = hnp.arrays(np.float32, st.tuples(st.integers(0, 12), st.just(4)), elements=st.floats(0, 10, width=32))


@given(BOXES, st.integers(0, 1000), st.sampled_from([0.3, 0.5, 0.9]))
def test_what_suppression_keeps_does_not_overlap_and_covers_the_rest(
    corners: np.ndarray, seed: int, iou: float
) -> None:
    boxes = np.concatenate([np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], 1)
    scores = np.random.default_rng(seed).random((len(boxes), 2)).astype(np.float32)
    step = types.NonMaximumSuppression(iou=iou, least_score=0.2).model_dump()
    kept, kept_scores, classes = run([step], [boxes, scores])
    assert list(kept_scores) == sorted(kept_scores, reverse=True)
    for number in range(2):
        mine = kept[classes == number]
        assert all(overlap(one, other) <= iou + 1e-6 for at, one in enumerate(mine) for other in mine[:at])
        for box, score in zip(boxes, scores[:, number], strict=True):
            near = [held for held, its in zip(mine, kept_scores[classes == number], strict=True) if its >= score]
            covered = any(overlap(held, box) > iou - 1e-6 or np.array_equal(held, box) for held in near)
            assert score < 0.2 or covered


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    union = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared
    return shared / union if union > 0 else 0.0


def test_a_leading_batch_of_one_is_taken() -> None:
    boxes = np.array([[[0, 0, 2, 2], [0, 0, 2, 2], [5, 5, 6, 6]]], np.float32)
    kept, scores, _ = run(
        [types.NonMaximumSuppression().model_dump()], [boxes, np.array([[0.5, 0.9, 0.7]], np.float32)]
    )
    assert kept.tolist() == [[0, 0, 2, 2], [5, 5, 6, 6]]
    assert scores.tolist() == [pytest.approx(0.9), pytest.approx(0.7)]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            types.Crop(height=9, width=9),
            r"Step 0 \(crop\) cannot be taken with \(float32\[4, 4, 3\]\): .* 4 high",
        ),
        (types.Normalize(mean=(0.0,), std=(1.0,)), "axis -1 has 3 places, there are 1 means"),
        (types.Transpose(axes=(1, 0)), r"Step 0 \(transpose\)"),
        (types.TopK(k=5), "there are 3 values, not 5"),
        (types.Scale(factor=1, input=2), r"Step 0 \(scale\)"),
        (types.NonMaximumSuppression(scores=0), r"boxes are \[n, 4\]"),
        (types.Pad(widths=((1, 1),) * 4), "widths for 4 axes"),
    ],
)
def test_a_step_that_does_not_suit_says_what_it_got(step: Any, message: str) -> None:
    with pytest.raises(Failure, match=message) as caught:
        taken(np.zeros((4, 4, 3), np.float32), step)
    assert caught.value.fault == "user"


@pytest.mark.parametrize("kind", STEP.json_schema()["discriminator"]["mapping"])
def test_every_step_that_may_be_declared_can_be_run(kind: str) -> None:
    from agents.harness import steps

    assert kind in {*steps._ARRAYS, *steps._TENSORS}
