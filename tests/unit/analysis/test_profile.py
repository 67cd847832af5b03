from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from farm.analysis.profile import OTHERS, OperatorProfile, compact, find
from farm.errors import NotFoundError, UserError
from farm.types import JobOutcome, OperatorTime, Profile
from tests.unit.analysis.outcomes import device, finished, series

ROWS = st.lists(
    st.builds(
        OperatorTime,
        name=st.sampled_from(["a", "b", "conv_1", "conv_2"]),
        type=st.sampled_from(["Conv", "Gemm", "Relu"]),
        count=st.integers(1, 30),
        total_seconds=st.just(0.0) | st.floats(1e-9, 10),
        where=st.sampled_from(["CPU", "XNNPACK"]),
    ),
    min_size=1,
    max_size=30,
)
PROFILES = st.builds(
    Profile,
    tool=st.just("t"),
    runs=st.integers(1, 9),
    inference_seconds=st.just(0.5),
    unprofiled_seconds=st.just(0.4),
    operators=ROWS,
)


def profile(*rows: tuple[str, str, float], median_seconds: float = 0.01) -> Profile:
    operators = [OperatorTime(name=n, type=t, count=10, total_seconds=s * 10, where="CPU") for n, t, s in rows]
    return Profile(
        tool="a profiler",
        runs=10,
        inference_seconds=1.2 * median_seconds,
        unprofiled_seconds=median_seconds,
        operators=tuple(operators),
    )


BEFORE = OperatorProfile("fp32", profile(("c1", "Conv", 0.004), ("c2", "Conv", 0.003), ("r", "Relu", 0.001)))
AFTER = OperatorProfile("int8", profile(("c1", "Conv", 0.001), ("c2", "Conv", 0.002), ("q", "Quantize", 0.0005)))


@given(PROFILES)
def test_types_and_operators_add_up_to_the_same(found: Profile) -> None:
    view = OperatorProfile("x", found)
    for lines in (view.lines, view.types):
        assert sum(line.seconds for line in lines) == pytest.approx(found.operators_seconds)
        assert sum(line.share for line in lines) == pytest.approx(1 if found.operators_seconds else 0)
        assert list(lines) == sorted(lines, key=lambda line: -line.seconds)
    assert sum(line.calls for line in view.types) * found.runs == pytest.approx(sum(r.count for r in found.operators))


@given(PROFILES, PROFILES)
def test_a_diff_adds_up_and_turns_around(first: Profile, second: Profile) -> None:
    one, two = OperatorProfile("1", first), OperatorProfile("2", second)
    there, back = one.diff(two), two.diff(one)
    assert sum(change.gained_seconds for change in there.types) == pytest.approx(there.gained_seconds, abs=1e-9)
    assert there.gained_seconds == -back.gained_seconds
    assert {c.name: c.gained_seconds for c in there.types} == {c.name: -c.gained_seconds for c in back.types}
    assert all(change.gained_seconds == 0 for change in one.diff(one).types)


@given(PROFILES, st.integers(1, 40))
def test_what_is_cut_off_stays_in_the_sum(found: Profile, most: int) -> None:
    cut = compact(found, most)
    assert cut.operators_seconds == pytest.approx(found.operators_seconds)
    assert sum(row.count for row in cut.operators) == sum(row.count for row in found.operators)
    assert len([row for row in cut.operators if row.name != OTHERS]) <= most
    assert {row.where for row in cut.operators} == {row.where for row in found.operators}


def test_a_diff_tells_types_and_the_operators_that_both_have() -> None:
    diff = BEFORE.diff(AFTER)
    types = {change.name: change for change in diff.types}
    assert [change.name for change in diff.types] == ["Conv", "Relu", "Quantize"]
    assert types["Conv"].gained_seconds == pytest.approx(-0.004)
    assert types["Conv"].before_calls == 2
    assert types["Relu"].after_seconds is None
    assert types["Quantize"].before_seconds is None
    assert [(change.name, round(change.gained_seconds, 6)) for change in diff.names] == [("c1", -0.003), ("c2", -0.001)]
    assert json.loads(json.dumps(diff.to_dict()))["gained_seconds"] == pytest.approx(-0.0045)


def test_operators_without_names_are_told_by_type_alone() -> None:
    """torch.profiler knows types only: there is nothing to match by name."""
    before = OperatorProfile("a", profile(("aten::conv2d", "aten::conv2d", 0.1)))
    assert before.diff(before).names == ()
    assert len(before.diff(before).types) == 1


def test_the_profiler_s_own_cost_is_told() -> None:
    assert BEFORE.overhead_ratio == pytest.approx(0.2)
    assert BEFORE.covered_ratio == pytest.approx(0.8)
    assert "+20% with the profiler" in BEFORE.said
    assert "80% of the median" in BEFORE.said


def test_tables_show_the_most_expensive_first() -> None:
    console = Console(width=120, color_system=None)
    with console.capture() as shown:
        console.print(BEFORE)
        console.print(BEFORE.diff(AFTER))
    lines = shown.get().splitlines()
    assert next(line.split()[0] for line in lines if "CPU" in line) == "c1"
    assert any(line.split()[:3] == ["Conv", "7.000", "3.000"] for line in lines)
    assert any("Relu" in line and "—" in line for line in lines)


def test_a_table_of_single_operators_is_there_for_pandas() -> None:
    frame = BEFORE.to_pandas()
    assert list(frame["name"]) == ["c1", "c2", "r"]
    assert frame["share"].sum() == pytest.approx(1)


def outcome(name: str, id: int, *, device_id: str = "local-cpu", **fields: Any) -> JobOutcome:
    return finished(name, series(0.02, 200), id=id, on=device(device_id), **fields)


def test_a_profile_is_found_by_recipe_and_where_there_are_several_by_device() -> None:
    outcomes = [
        outcome("onnxruntime", 1, profile=BEFORE.profile),
        outcome("pytorch", 2, profile=AFTER.profile),
        outcome("pytorch", 3, device_id="other-cpu", profile=BEFORE.profile),
        outcome("litert", 4, absent={"profile": "LiteRT has none"}),
        outcome("torchscript", 5),
    ]
    assert find(outcomes, "onnxruntime").label == "onnxruntime"
    assert find(outcomes, "pytorch", device="other-cpu").profile.operators == BEFORE.profile.operators
    with pytest.raises(UserError, match=r"2 profiles of pytorch: local-cpu single-stream/1t, other-cpu"):
        find(outcomes, "pytorch")
    with pytest.raises(NotFoundError, match="LiteRT has none"):
        find(outcomes, "litert")
    with pytest.raises(NotFoundError, match="none was asked for"):
        find(outcomes, "torchscript")
    with pytest.raises(NotFoundError, match="no recipe 'onnx'"):
        find(outcomes, "onnx")
