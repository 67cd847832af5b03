from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.android import power
from agents.android.calibration import Calibration
from agents.android.parsers.absent import Absent
from agents.android.samples import RUNNING, Samples, read
from agents.android.sampling import PROBE_COMMAND, Plan, read_plan
from farm.types import CpuCluster, Telemetry
from tests.unit.agents.android.phone import harness, sampled
from tests.unit.agents.android.samples import DENIED, THERMAL

PLAN = Plan(
    gauge=("current", "voltage", "charge"),
    rails=(),
    load=True,
    clusters=(CpuCluster(cpus=(0, 1), max_hertz=1_800_000_000),),
    absent={},
)


def whole(text: str) -> Samples:
    found = read(text)
    assert not isinstance(found, Absent), found
    return found


def told(text: str, plan: Plan = PLAN, *, emulator: bool = False) -> Telemetry:
    return whole(text).telemetry(plan, cpu_count=8, emulator=emulator)


def test_a_whole_file_has_every_meter() -> None:
    found = told(sampled())
    assert found.background_cpu_ratio == pytest.approx(8 / 25 / 8, rel=0.1)
    assert (found.cpu_frequency_limit_hertz, found.cpu_frequency_maximum_hertz) == (1.8e9, 1.8e9)
    assert (found.temperature_max_celsius, found.temperature_sensor) == (None, None), "the same for a minute is stale"
    assert "stale" in found.absent["temperature"]
    assert (found.thermal_status_max, found.thermal_overridden, found.powered) == (1, False, False)
    assert found.cooling_devices == ("thermal-cpufreq-7 at 2",)
    assert found.sampler_cpu_ratio == pytest.approx(1.5 / 1000, rel=0.2)


def test_temperatures_start_before_and_are_the_hottest_meanwhile() -> None:
    found = told(sampled(thermal=lambda at: THERMAL.replace("44.25", f"{30 + (at - 1000) / 10:.1f}")))
    assert (found.temperature_start_celsius, found.temperature_max_celsius) == (39.0, 39.0)
    found = told(sampled(thermal=lambda at: THERMAL.replace("44.25", f"{40 + (at - 1000) / 10:.1f}")))
    assert (found.temperature_start_celsius, found.temperature_max_celsius) == (43.0, 49.0)
    assert found.temperature_sensor == "CPU"


def test_a_status_that_was_set_by_hand_is_none() -> None:
    found = told(sampled(thermal=lambda at: THERMAL.replace("Override: false", "Override: true")))
    assert found.thermal_overridden and found.thermal_status_max is None and "by hand" in found.absent["thermal_status"]


def test_a_cap_in_the_middle_is_seen() -> None:
    found = told(sampled(values=lambda at: {"m0": "1200000"} if 1040 < at < 1041 else {}))
    assert found.cpu_frequency_limit_hertz == 1.2e9


def test_a_meter_that_is_read_too_seldom_has_failed() -> None:
    found = told(sampled(values=lambda at: {"s": "" if round(at * 4) % 10 == 0 else "1,2,3,4,5,6,7,8"}))
    assert found.background_cpu_ratio is None and "90%" in found.absent["background_cpu_ratio"]


def test_what_the_phone_denies_is_absent_with_its_word() -> None:
    denied = PLAN.model_copy(update={"absent": {"load": "/proc/stat: Permission denied"}})
    found = told(sampled(), denied)
    assert found.background_cpu_ratio is None and "Permission denied" in found.absent["background_cpu_ratio"]


def test_lost_records_count_against_coverage() -> None:
    found = whole(sampled(edit=lambda lines: [line for n, line in enumerate(lines) if not 600 < n < 700]))
    span = found.span(RUNNING)
    assert not isinstance(span, Absent)
    assert found.lost == 99 and found.coverage_ratio("s", span) < 0.95


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda lines: [*lines, lines[5]], "twice"),
        (lambda lines: lines[1:], "no beginning"),
        (lambda lines: [], "no beginning"),
        (lambda lines: [lines[0].replace("0.25", "x"), *lines[1:]], "period"),
    ],
)
def test_a_file_that_is_not_one_samplers_is_refused(edit: Callable[[list[str]], list[str]], why: str) -> None:
    found = read(sampled(edit=edit))
    assert isinstance(found, Absent) and why in found.why


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_file_raises_and_a_cut_one_is_no_longer_than_it_is(data: st.DataObject) -> None:
    text = SAMPLED
    start = data.draw(st.integers(0, len(text)))
    piece = data.draw(st.one_of(st.text(max_size=8), st.sampled_from(["\t;\n", "\n0\t", "=", "nan", "٣"])))
    broken = text[:start] + piece + text[start + data.draw(st.integers(0, 40)) :]
    found = read(broken[: data.draw(st.integers(0, len(broken)))] if data.draw(st.booleans()) else broken)
    if not isinstance(found, Absent):
        found.telemetry(PLAN, cpu_count=8, emulator=False)
        power.record(found, harness(), Calibration(sign=-1, amperes_per_unit=1e-6), emulator=False)


SAMPLED = sampled(rails=True)


@given(st.text())
def test_no_text_at_all_raises(text: str) -> None:
    assert isinstance(read(text), Absent)
    read_plan(text)


def probed(**changes: str) -> str:
    supply = "/sys/class/power_supply/battery"
    answers = {
        f"{supply}/current_now": "-411000",
        f"{supply}/voltage_now": "3911000",
        f"{supply}/charge_counter": "2750000",
        "/sys/bus/iio/devices/iio:device*/energy_value": "cat: ...: No such file or directory",
        "/proc/stat": "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3",
        "clusters": "cpu0 1800000\ncpu1 1800000\ncpu2 3000000",
        "limit": "1800000\n1800000",
        "end": "",
    } | {name.replace("__", "/"): value for name, value in changes.items()}
    return "".join(f"#torchfarm {name}\n{answer}\n" for name, answer in answers.items())


def test_a_plan_is_what_the_phone_answers() -> None:
    found = read_plan(probed())
    assert found.gauge == ("current", "voltage", "charge") and found.load and found.measures_energy
    assert [cluster.cpus for cluster in found.clusters] == [(0, 1), (2,)]
    assert "No such file" in found.absent["rails"]


def test_what_is_denied_is_left_out_of_the_plan() -> None:
    found = read_plan(DENIED.join(["#torchfarm /proc/stat\n", "#torchfarm limit\n"]))
    assert not found.load and not found.measures_energy and found.gauge == ()
    assert "Permission denied" in found.absent["load"]


def test_every_source_that_is_tried_has_an_answer_or_a_reason() -> None:
    found = read_plan(probed(limit=DENIED))
    assert found.clusters == () and "Permission denied" in found.absent["cpu_frequency"]
    assert "energy_value" in PROBE_COMMAND
