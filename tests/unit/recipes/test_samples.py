import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from farm.errors import ModelError
from farm.recipes import samples
from farm.types import TensorSpec

ARRAYS = st.sampled_from(sorted(samples.DTYPES)).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, max_side=3))
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(st.lists(ARRAYS, min_size=1, max_size=3).map(tuple), min_size=1, max_size=12))
def test_what_is_written_is_read_back_in_order(tmp_path, rows):
    samples.write(tmp_path / "x.npz", rows)
    found = samples.read(tmp_path / "x.npz", "inputs")
    assert [len(row) for row in found] == [len(row) for row in rows]
    for row, expected in zip(found, rows, strict=True):
        for array, other in zip(row, expected, strict=True):
            assert array.dtype == other.dtype
            np.testing.assert_array_equal(array, other)


def test_pickled_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", **{"0.0": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ModelError, match="cannot be read"):
        samples.read(tmp_path / "x.npz", "example inputs")


@pytest.mark.parametrize("names", [("1.0",), ("0.1",), ("0.0", "2.0"), ("x",), ()])
def test_wrong_names_are_refused(tmp_path, names):
    np.savez(tmp_path / "x.npz", **{name: np.zeros(2) for name in names})
    with pytest.raises(ModelError, match="example inputs"):
        samples.read(tmp_path / "x.npz", "example inputs")


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"not an archive")
    with pytest.raises(ModelError, match="cannot be read"):
        samples.read(tmp_path / "x.npz", "parity inputs")


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        ((np.zeros((1, 3), np.float32),), "x is float32[1, 3], the model takes x: float32[1, 2]"),
        ((np.zeros((1, 2), np.float64),), "x is float64[1, 2]"),
        ((np.zeros((1, 2), np.float32),) * 2, "has 2 inputs, the model takes 1"),
    ],
)
def test_what_does_not_fit_is_named(sample, says):
    spec = TensorSpec(name="x", shape=(1, 2), dtype="float32")
    fitting = (np.zeros((1, 2), np.float32),)
    with pytest.raises(ModelError) as caught:
        samples.check([fitting, sample], [spec], "parity inputs")
    assert "Sample 1 of the parity inputs" in caught.value.message
    assert says in caught.value.message


def test_types_without_a_common_meaning_are_refused():
    with pytest.raises(ModelError, match="complex64"):
        samples.describe((np.zeros(2, np.complex64),), ["x"])
