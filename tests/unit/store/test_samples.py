import math

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import InfrastructureError
from farm.store import samples

seconds = st.lists(st.floats(min_value=0, max_value=1e6), max_size=200)


@given(seconds, seconds)
def test_samples_come_back_in_order(warmup: list[float], measured: list[float]) -> None:
    assert samples.read(samples.write(warmup, measured)) == samples.Samples(warmup, measured)


def test_any_parquet_reader_finds_the_documented_columns(tmp_path) -> None:
    path = tmp_path / "samples.parquet"
    path.write_bytes(samples.write([0.5], [0.25, math.pi]))
    assert pq.read_table(path).to_pylist() == [
        {"phase": "warmup", "seconds": 0.5},
        {"phase": "measured", "seconds": 0.25},
        {"phase": "measured", "seconds": math.pi},
    ]


@pytest.mark.parametrize("content", [b"", b"no parquet", samples.write([], [1.0])[:-20]])
def test_a_damaged_file_is_reported(content: bytes) -> None:
    with pytest.raises(InfrastructureError, match="cannot be read"):
        samples.read(content)
