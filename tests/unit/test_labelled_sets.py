"""A labelled set as users have it, and what is said of one that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import EvaluationSet
from farm.errors import ModelError
from farm.evaluation import unpacked
from farm.types import TensorSpec

IMAGE = TensorSpec(name="image", shape=(1, 2, 3), dtype="float32")
IDS = TensorSpec(name="ids", shape=(1, 4), dtype="int64")
IMAGES = np.arange(30, dtype=np.float32).reshape(5, 2, 3)
LABELS = np.array([0, 1, 2, 1, 0])


def check(rows: list[Any], labels: dict[str, np.ndarray]) -> None:
    assert len(rows) == 5
    for number, (row,) in enumerate(rows):
        assert np.array_equal(row, IMAGES[number : number + 1])
        assert row.dtype == np.float32
    assert labels["labels"].tolist() == LABELS.tolist()


@pytest.mark.parametrize("shape", [(5, 2, 3), (5, 1, 2, 3), (5, 6)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_array_is_cut_into_samples(shape: tuple[int, ...], dtype: type) -> None:
    check(*unpacked(EvaluationSet(IMAGES.reshape(shape).astype(dtype), LABELS.tolist()), [IMAGE]))


def test_npz_and_parquet_are_read(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    np.savez(tmp_path / "set.npz", image=IMAGES, labels=LABELS)
    check(*unpacked(EvaluationSet(tmp_path / "set.npz"), [IMAGE]))
    np.savez(tmp_path / "numbered.npz", y=LABELS, **{f"{n}.0": IMAGES[n : n + 1] for n in range(5)})
    check(*unpacked(EvaluationSet(tmp_path / "numbered.npz", "y"), [IMAGE]))
    pq.write_table(pa.table({"image": IMAGES.reshape(5, 6).tolist(), "digit": LABELS}), tmp_path / "set.parquet")
    check(*unpacked(EvaluationSet(str(tmp_path / "set.parquet"), "digit"), [IMAGE]))


def test_labels_may_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", image=IMAGES)
    np.savez(tmp_path / "labels.npz", y=LABELS)
    check(*unpacked(EvaluationSet(tmp_path / "inputs.npz", tmp_path / "labels.npz"), [IMAGE]))


def test_several_inputs_and_names_for_labels() -> None:
    given_set = EvaluationSet(
        {"ids": np.ones((5, 4), np.int32), "image": IMAGES},
        ["cat", "dog", "cow", "dog", "cat"],
        class_names=["cat", "dog", "cow"],
    )
    rows, labels = unpacked(given_set, [IMAGE, IDS])
    assert [array.dtype for array in rows[0]] == [np.float32, np.int64]
    assert labels["labels"].tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": LABELS[:4]}, "4 labels for 5 samples"),
        ({"labels": LABELS - 1}, r"label 0 is -1, classes are 0 and more \(2 such labels\)"),
        ({"labels": LABELS, "class_names": ["a", "b"]}, r"label 2 is 2, classes are 0 to 1"),
        ({"labels": np.array([0, 1, np.nan, 1, 0])}, r"label 2 is NaN \(1 of 5\)"),
        ({"labels": LABELS + 0.5}, "labels are float64, label 0 is 0.5"),
        ({"labels": LABELS[:, None]}, r"labels have the shape \[5, 1\]"),
        ({"labels": ["a", "b", "x", "a", "a"], "class_names": ["a", "b"]}, "label 2 is 'x', the class names are a, b"),
        ({"inputs": IMAGES[:, :1]}, r"image is float32\[5, 1, 3\], the model takes image: float32\[1, 2, 3\]"),
        ({"inputs": {"picture": IMAGES}}, "it has the inputs picture, the model takes image"),
        ({"inputs": "nowhere.npz"}, "no file nowhere.npz"),
        ({"task": "regression", "labels": np.array([0, 1, np.inf, 1, 0])}, r"label 2 holds inf \(1 such"),
        ({"task": "rouge", "labels": [{"text": np.array("a")}] * 5}, "no evaluation task 'rouge'"),
        ({"task": "rouge", "labels": [{"text": np.array("a")}] * 4}, "4 labels for 5 samples"),
    ],
)
def test_what_is_wrong_with_a_set_is_told_exactly(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        unpacked(EvaluationSet(**{"inputs": IMAGES, "labels": LABELS} | changed), [IMAGE])
    assert caught.value.remedy


def test_a_file_without_those_labels_says_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", image=IMAGES, classes=LABELS)
    with pytest.raises(ModelError, match=r"no labels 'labels'; it has classes, image"):
        unpacked(EvaluationSet(tmp_path / "set.npz"), [IMAGE])


@given(st.integers(1, 4), st.integers(1, 6))
def test_models_that_take_several_rows_at_once(rows_per_sample: int, samples: int) -> None:
    taken = TensorSpec(name="x", shape=(rows_per_sample, 3), dtype="float32")
    values = np.arange(samples * rows_per_sample * 3, dtype=np.float32).reshape(-1, 3)
    rows, labels = unpacked(EvaluationSet(values, np.zeros(len(values), int)), [taken])
    assert np.array_equal(np.concatenate([row for (row,) in rows]), values)
    assert len(labels["labels"]) == len(values)
