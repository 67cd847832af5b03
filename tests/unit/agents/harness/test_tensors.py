from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.harness.failure import Failure
from agents.harness.tensors import Input, check, load

IMAGE = Input("image", (1, 3, None, 8), "float32")


def failure(path: Path) -> Failure:
    with pytest.raises(Failure) as caught:
        load(path)
    return caught.value


def test_samples_come_in_order_contiguous_and_with_their_dtypes(tmp_path: Path) -> None:
    fortran = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    arrays = {"1.0": np.zeros(2, np.int64), "0.1": np.array(True), "0.0": fortran}
    arrays |= {f"{number}.0": np.full(1, number) for number in range(2, 12)}
    np.savez(tmp_path / "x.npz", **arrays)
    samples = load(tmp_path / "x.npz")
    assert [len(sample) for sample in samples] == [2, 1, *[1] * 10]
    assert samples[0][0].flags.c_contiguous
    np.testing.assert_array_equal(samples[0][0], fortran)
    assert samples[0][1].shape == ()
    assert samples[1][0].dtype == np.int64
    assert [int(sample[0][0]) for sample in samples[2:]] == list(range(2, 12))


@pytest.mark.parametrize("names", [["0.0", "2.0"], ["0.0", "0.2"], ["1.0"], ["x"], ["0.0", "extra"], []])
def test_names_with_gaps_are_refused(tmp_path: Path, names: list[str]) -> None:
    np.savez(tmp_path / "x.npz", **{name: np.zeros(1) for name in names})
    error = failure(tmp_path / "x.npz")
    assert (error.code, error.fault) == ("bad-tensors", "user")
    assert all(name in error.message for name in names if name != "0.0")


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"0.0": np.array([print], dtype=object)})
    assert failure(tmp_path / "x.npz").code == "bad-tensors"


def test_strings_and_complex_numbers_are_refused_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"0.0": np.array([1j])})
    assert "complex128 in 0.0" in failure(tmp_path / "x.npz").message


def test_what_is_no_npz_or_is_cut_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"0.0": np.zeros(1000)})
    (tmp_path / "cut.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:500])
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("hello")
    for name in ("cut.npz", "one.npy", "text.npz"):
        assert failure(tmp_path / name).code == "bad-tensors"


def test_a_missing_file_is_the_devices_side(tmp_path: Path) -> None:
    error = failure(tmp_path / "gone.npz")
    assert (error.code, error.fault) == ("missing-file", "device")
    assert "gone.npz" in error.message


@given(st.integers(1, 9))
def test_a_free_dimension_takes_any_size(size: int) -> None:
    check([IMAGE], [np.zeros((1, 3, size, 8), np.float32)], "Example input")


@pytest.mark.parametrize(
    ("sample", "code", "message"),
    [
        ([], "wrong-input-count", "Example input: 0 inputs given, the program takes 1 (image)."),
        (
            [np.zeros((1, 3, 4, 9), np.float32)],
            "wrong-input-shape",
            "Example input: input 0 (image) is float32[1, 3, 4, 9], the program takes float32[1, 3, *, 8].",
        ),
        (
            [np.zeros((3, 4, 8), np.float32)],
            "wrong-input-shape",
            "Example input: input 0 (image) is float32[3, 4, 8], the program takes float32[1, 3, *, 8].",
        ),
        (
            [np.zeros((1, 3, 4, 8), np.float64)],
            "wrong-input-dtype",
            "Example input: input 0 (image) is float64[1, 3, 4, 8], the program takes float32[1, 3, *, 8].",
        ),
    ],
)
def test_a_difference_is_named_exactly(sample: list[np.ndarray], code: str, message: str) -> None:
    with pytest.raises(Failure) as caught:
        check([IMAGE], sample, "Example input")
    assert (caught.value.code, caught.value.message, caught.value.fault) == (code, message, "user")


def test_a_format_that_does_not_tell_takes_everything() -> None:
    check([Input("x")], [np.zeros(3, np.int8)], "Example input")


def test_a_largest_shape_takes_smaller_ones_unless_it_is_known_to_be_the_only_one() -> None:
    bounded = Input("x", (4, 8), "float32", at_most=True)
    check([bounded], [np.zeros((2, 8), np.float32)], "Example input")
    with pytest.raises(Failure, match="takes float32"):
        check([bounded], [np.zeros((5, 8), np.float32)], "Example input")
    with pytest.raises(Failure, match="takes float32"):
        check([bounded], [np.zeros((2, 8), np.float32)], "Example input", exactly=True)


def test_a_wider_dtype_is_taken_where_the_program_narrows_it() -> None:
    narrowing = Input("ids", (4,), "int32", narrows=("int64",))
    check([narrowing], [np.zeros(4, np.int64)], "Example input")
    with pytest.raises(Failure, match="int16"):
        check([narrowing], [np.zeros(4, np.int16)], "Example input")
