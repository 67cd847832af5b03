"""Declared inputs: what is refused, with the exact place, and what is filled, with the account of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import farm
from farm import EvaluationSet, Input
from farm.errors import ModelError
from farm.inputs import Intake, declared
from farm.packaging import package
from farm.recipes import samples
from farm.types import ModelSpec, TensorSpec

IMAGE = np.array([[0.0, 0.25, 0.5, 0.75]], np.float32)
MASKS = hnp.arrays(np.bool_, (3, 5))
VALUES = hnp.arrays(np.float32, (3, 5), elements=st.floats(-100, 100, width=32))


def taken(values: Any, fill: Any = None, **spec: Any) -> tuple[np.ndarray, Intake]:
    array = np.ma.getdata(values)
    intake = Intake([TensorSpec(name="x", shape=array.shape, dtype=array.dtype.name, fill=fill, **spec)])
    ((found,),) = intake.take([(values,)], "parity inputs")
    return found, intake


@given(VALUES, MASKS, st.floats(-100, 100, width=32))
def test_a_number_stands_for_what_is_missing_and_nothing_else_changes(
    values: np.ndarray, mask: np.ndarray, number: float
) -> None:
    for given_values in (np.where(mask, np.nan, values).astype(np.float32), np.ma.masked_array(values, mask)):
        found, intake = taken(given_values, float(number))
        assert np.array_equal(found, np.where(mask, np.float32(number), values))
        assert [filled.values for filled in intake.filled] == ([int(mask.sum())] if mask.any() else [])


@given(VALUES, MASKS)
def test_means_and_lines_stay_between_the_values_that_are_there(values: np.ndarray, mask: np.ndarray) -> None:
    mask[:, 0] = False  # each line has something
    holes = np.where(mask, np.nan, values).astype(np.float32)
    for fill in ("mean", "interpolate"):
        found, _ = taken(holes, fill)
        assert np.array_equal(found[~mask], values[~mask])
        assert np.isfinite(found).all()
        present = values[~mask]
        assert present.min() - 1e-3 <= found.min() <= found.max() <= present.max() + 1e-3
    again, intake = taken(found, "interpolate")
    assert np.array_equal(again, found), "what is complete stays as it is"
    assert intake.filled == []


def test_interpolation_goes_along_the_last_axis() -> None:
    holes = np.array([[0, np.nan, np.nan, 3], [np.nan, 5, np.nan, np.nan]], np.float32)
    assert taken(holes, "interpolate")[0].tolist() == [[0, 1, 2, 3], [5, 5, 5, 5]]
    assert taken(holes, "mean")[0][0, 1] == pytest.approx(8 / 3)


def test_integers_are_filled_with_integers() -> None:
    whole = np.ma.masked_array(np.array([[1, 2, 0, 0]], np.int64), [[False, False, True, True]])
    found, intake = taken(whole, "mean")
    assert (found.dtype, found.tolist()) == (np.int64, [[1, 2, 2, 2]])
    assert str(intake.filled[0]) == "2 values of x in 1 of the parity inputs (with mean)"


def test_a_whole_input_that_is_missing_takes_a_number_only() -> None:
    specs = declared({"a": IMAGE, "b": IMAGE}, ["a", "b"], [Input("b", fill=0.5)])
    intake = Intake(specs)
    (by_name, by_place) = intake.take([{"a": IMAGE}, (IMAGE, None)], "calibration inputs")
    assert np.array_equal(by_name[1], np.full((1, 4), 0.5, np.float32))
    assert np.array_equal(by_place[1], by_name[1])
    assert [(found.input, found.values, found.samples) for found in intake.filled] == [("b", 8, 2)]
    with pytest.raises(ModelError, match=r"Sample 0 of the parity inputs has no a; the model takes a: float32\[1, 4\]"):
        intake.take([{"b": IMAGE}], "parity inputs")


@pytest.mark.parametrize(
    ("values", "spec", "message"),
    [
        ([[0, np.nan, 1, np.nan]], {}, r"Sample 0 of the parity inputs: x\[0, 1\] is NaN \(2 of 4 values\)"),
        ([[0, 2, -3, 1]], {"minimum": 0.0}, r"x\[0, 2\] is -3.0, below the minimum 0.0 \(1 of 4 values\)"),
        ([[0, 2, 3, 1]], {"maximum": 1.0}, r"x\[0, 1\] is 2.0, above the maximum 1.0 \(2 of 4 values\)"),
        ([[np.nan] * 4], {"fill": "mean"}, r"x has no value that the missing ones could be filled from \(mean\)"),
        ([[0.0] * 4, [np.nan] * 4], {"fill": "interpolate"}, "no value in line 1 of its last axis"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_value(values: Any, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        taken(np.array(values, np.float32), **spec)
    assert caught.value.remedy


def test_masked_values_without_a_policy_are_refused() -> None:
    with pytest.raises(ModelError, match="1 of 4 values of x are masked"):
        taken(np.ma.masked_array(IMAGE, [[True, False, False, False]]))


def test_a_model_that_knows_nan_keeps_it() -> None:
    holes = np.array([[0, np.nan]], np.float32)
    found, intake = taken(holes, "keep")
    assert np.isnan(found[0, 1])
    assert intake.filled == []


@pytest.mark.parametrize(
    ("given_input", "message"),
    [
        (Input("x", minimum=1, maximum=0), "minimum 1 is not below maximum 0"),
        (Input("x", minimum=0, maximum=1, fill=2), r"fill 2 is outside \[0, 1\]"),
        (Input("x", shape=(1, 3)), r"x is declared with the shape \(1, 3\), in the example it is \(1, 4\)"),
        (Input("x", dtype="int8"), "declared with the dtype int8, in the example it is float32"),
        (Input("y"), "'y' is declared and no input of the model"),
        (Input("x", fill="median"), "Input x is declared wrongly"),
    ],
)
def test_declarations_that_contradict_are_refused(given_input: Input, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        declared((IMAGE,), ["x"], [given_input])


def test_declarations_from_the_shell() -> None:
    assert Input.parse("image, minimum=0,maximum=1,fill=mean") == Input("image", 0, 1, "mean")
    assert Input.parse("ids,fill=0") == Input("ids", fill=0.0)
    for wrong in ("image,min=0", "image,fill", "image,minimum=low"):
        with pytest.raises(ModelError):
            Input.parse(wrong)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"the farm looks into it when it builds")
    return path


def packed(file: Path, **given_inputs: Any) -> tuple[ModelSpec, dict[str, list[samples.Sample]]]:
    with package(file, **given_inputs) as made:
        spec = made.spec
        blobs = {"parity": spec.parity_inputs, "calibration": spec.calibration_inputs}
        if spec.evaluation:
            blobs["evaluation"] = spec.evaluation.inputs
        return spec, {name: samples.read(made.files[blob.sha256], name) for name, blob in blobs.items() if blob}


def test_all_inputs_of_an_upload_are_filled_and_told(file: Path) -> None:
    holes = IMAGE.copy()
    holes[0, 1] = np.nan
    spec, sent = packed(
        file,
        example_inputs=(holes,),
        parity_inputs=[(IMAGE,), (holes,)],
        calibration_inputs=[(holes,), (holes,)],
        evaluation=EvaluationSet(np.concatenate([holes, IMAGE]), [0, 1]),
        inputs=[Input("image", minimum=0, maximum=1, fill="interpolate")],
    )
    assert (spec.inputs[0].name, spec.inputs[0].range, spec.inputs[0].fill) == ("image", "[0, 1]", "interpolate")
    assert [(found.of, found.values, found.samples) for found in spec.filled] == [
        ("example inputs", 1, 1),
        ("parity inputs", 1, 1),
        ("calibration inputs", 2, 2),
        ("evaluation inputs", 1, 1),
    ]
    for rows in sent.values():
        for (row,) in rows:
            assert np.array_equal(row, IMAGE)
    samples.check(sent["parity"], spec.inputs, "parity inputs")


def test_an_evaluation_input_out_of_range_is_refused(file: Path) -> None:
    with pytest.raises(farm.ModelError, match=r"Sample 1 of the evaluation inputs: image\[0, 3\] is 1.5, above"):
        packed(
            file,
            example_inputs=(IMAGE,),
            evaluation=EvaluationSet(np.concatenate([IMAGE, IMAGE * 2]), [0, 1]),
            inputs=[Input("image", minimum=0, maximum=1)],
        )


def test_what_is_not_declared_does_not_change_a_models_address(file: Path) -> None:
    plain, _ = packed(file, example_inputs=(IMAGE,), input_names=["image"])
    named, _ = packed(file, example_inputs=(IMAGE,), inputs=[Input("image")])
    limited, _ = packed(file, example_inputs=(IMAGE,), inputs=[Input("image", minimum=0)])
    assert plain.id == named.id
    assert limited.id != plain.id


def test_samples_by_name(file: Path) -> None:
    spec, sent = packed(file, example_inputs={"b": IMAGE, "a": IMAGE}, parity_inputs=[{"a": IMAGE + 1, "b": IMAGE}])
    assert [each.name for each in spec.inputs] == ["b", "a"]
    assert np.array_equal(sent["parity"][0][1], IMAGE + 1)
    with pytest.raises(farm.ModelError, match=r"Sample 0 of the parity inputs has an input 'c'; the model takes b, a"):
        packed(file, example_inputs={"b": IMAGE, "a": IMAGE}, parity_inputs=[{"c": IMAGE}])
