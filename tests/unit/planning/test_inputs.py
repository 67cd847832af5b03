"""Uploaded arrays are checked against the model's inputs by their headers."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.errors import ModelError
from farm.planning.inputs import check_inputs
from farm.store.artifacts import ArtifactStore
from farm.types import TensorSpec
from tests.values import model_spec

INPUTS = (
    TensorSpec(name="image", shape=(1, 3, 4), dtype="float32"),
    TensorSpec(name="scale", shape=(), dtype="int64"),
)
IMAGE, SCALE = np.zeros((1, 3, 4), np.float32), np.array(1, np.int64)
GOOD = {"0.0": IMAGE, "0.1": SCALE}


def npz(arrays: dict[str, np.ndarray], *, compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def check(example: bytes, parity: bytes = npz(GOOD)) -> None:
    store = ArtifactStore("memory://inputs")
    spec = model_spec(
        inputs=INPUTS,
        example_inputs=store.put([example], "example.npz"),
        parity_inputs=store.put([parity], "parity.npz"),
    )
    check_inputs(spec, store)


def test_arrays_that_fit() -> None:
    check(npz(GOOD))
    check(npz(GOOD, compressed=True), npz(GOOD | {"1.0": IMAGE, "1.1": SCALE}))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"0.0": IMAGE}, "sample 0 has no input 1; the model takes 2"),
        ({}, "sample 0 has no input 0"),
        (GOOD | {"2.0": IMAGE, "2.1": SCALE}, "sample 1 has no input 0"),
        (GOOD | {"0.2": SCALE}, "sample 0 has an input 2; the model takes 2"),
        (
            GOOD | {"0.0": IMAGE[0]},
            r"input 0 of sample 0 is float32\[3, 4\]; the model takes image: float32\[1, 3, 4\]",
        ),
        (GOOD | {"0.0": IMAGE.astype(np.float64)}, "input 0 of sample 0 is float64"),
        (GOOD | {"0.0": IMAGE.astype(object)}, "input 0 of sample 0 is object"),
        (GOOD | {"image": IMAGE}, "named 'image.npy', not SAMPLE.INPUT"),
        (GOOD | {"0.01": IMAGE}, "named '0.01.npy'"),
    ],
)
def test_arrays_that_do_not_fit_are_named(arrays: dict, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        check(npz(arrays))
    with pytest.raises(ModelError, match=r"parity\.npz"):
        check(npz(GOOD), npz(arrays))


def test_a_model_without_inputs() -> None:
    with pytest.raises(ModelError, match="no inputs"):
        check_inputs(model_spec(inputs=()), ArtifactStore("memory://inputs"))


def test_an_array_larger_than_memory_is_not_unpacked() -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.0.npy", header.getvalue() + bytes(10**6))
    with pytest.raises(ModelError):
        check(buffer.getvalue())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_garbage_is_a_model_error_whatever_it_is(data: st.DataObject) -> None:
    content = bytearray(npz(GOOD, compressed=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        check(bytes(content[: data.draw(st.integers(0, len(content)))]) if data.draw(st.booleans()) else bytes(content))
    except ModelError as error:
        assert "example.npz" in error.message
