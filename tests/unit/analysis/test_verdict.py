from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.analysis.rules import RULES
from farm.analysis.statistics import summarize
from farm.analysis.verdict import judge
from farm.types import Measurement, ParityLimits, Protocol, Scenario, Verdict, VerdictLevel
from tests.unit.analysis.outcomes import PROTOCOL, measurement, parity, series, telemetry

LIMITS = ParityLimits(min_cosine=0.9999, max_abs_error_ratio=0.001)
QUIET = series(0.01, 400)


def verdict(
    given: Measurement, limits: ParityLimits = LIMITS, protocol: Protocol = PROTOCOL, scenario: Scenario | None = None
) -> Verdict:
    summary = summarize(given.latency_samples_seconds, protocol.confidence)
    return judge(given, summary, protocol, limits, scenario or Scenario())


def codes(found: Verdict) -> set[str]:
    return {reason.code for reason in found.reasons}


def test_a_quiet_measurement_on_a_plain_virtual_machine_is_trusted() -> None:
    given = measurement(QUIET)
    assert given.telemetry.cpu_frequency_limit_hertz is None  # a VM shows neither clock nor temperature
    assert verdict(given) == Verdict(level=VerdictLevel.TRUSTED)


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("non-finite-output", {"non_finite_outputs": 3}),
        ("parity-missing", {"parity": None}),
        ("parity-failed", {"parity": parity(cosine=0.99)}),
        ("parity-failed", {"parity": parity(max_abs_error=0.5)}),
        ("parity-failed", {"parity": parity(cosine=math.nan)}),
        ("parity-failed", {"parity": parity(max_abs_error=math.nan)}),
        ("parity-failed", {"parity": parity(max_abs_error=1e-9, reference_abs_max=0)}),
    ],
)
def test_what_does_not_compute_the_same_is_invalid(code: str, fields: dict[str, Any]) -> None:
    found = verdict(measurement(QUIET, **fields))
    assert found.level is VerdictLevel.INVALID
    assert code in codes(found)


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("machine-busy", {"telemetry": telemetry(background_cpu_ratio=0.3)}),
        ("cpu-stolen", {"telemetry": telemetry(steal_ratio=0.08)}),
        ("meter-unreadable", {"telemetry": telemetry(background_cpu_ratio=None)}),
        (
            "throttled",
            {"telemetry": telemetry(cpu_frequency_limit_hertz=1.8e9, cpu_frequency_maximum_hertz=3.2e9)},
        ),
        ("throttled", {"telemetry": telemetry(thermal_status_max=2)}),
        ("throttled", {"telemetry": telemetry(cooling_devices=("thermal-cpufreq-7 at 2",))}),
        ("thermal-override", {"telemetry": telemetry(thermal_overridden=True)}),
        ("wrong-cpus", {"cpus_asked": (4, 5), "cpus_allowed": (0, 1)}),
        ("low-priority", {"niceness": 5}),
        ("too-few-samples", {"latency_samples_seconds": tuple(QUIET[:30])}),
        ("interval-not-reached", {"latency_samples_seconds": tuple(series(0.01, 120, spread=0.3))}),
        ("interval-not-reached", {"latency_samples_seconds": (0.01, 0.011, 0.012)}),
        ("drift", {"latency_samples_seconds": tuple(QUIET * np.linspace(1, 1.2, 400))}),
        ("drift", {"latency_samples_seconds": tuple(QUIET * np.linspace(1.2, 1, 400))}),
        ("warmup-incomplete", {"latency_samples_seconds": tuple(QUIET * (1 + 0.6 * np.exp(-np.arange(400) / 25)))}),
        ("outliers", {"latency_samples_seconds": tuple(np.where(np.arange(400) % 12 == 0, 0.03, QUIET))}),
    ],
)
def test_what_disturbs_a_measurement_makes_it_suspect(code: str, fields: dict[str, Any]) -> None:
    found = verdict(measurement(QUIET, **fields))
    assert found.level is VerdictLevel.SUSPECT
    assert code in codes(found)


def test_a_clock_at_its_full_limit_is_not_throttled() -> None:
    full = telemetry(cpu_frequency_limit_hertz=3.2e9, cpu_frequency_maximum_hertz=3.2e9, cpu_frequency_hertz_min=8e8)
    assert verdict(measurement(QUIET, telemetry=full)).level is VerdictLevel.TRUSTED


def test_more_threads_than_cpus_are_suspect() -> None:
    given = measurement(QUIET, cpus_allowed=(0,))
    assert codes(verdict(given, scenario=Scenario(threads=2))) == {"too-few-cpus"}
    assert verdict(given, scenario=Scenario(threads=1)).level is VerdictLevel.TRUSTED


def test_a_few_late_samples_do_no_harm() -> None:
    samples = np.where(np.arange(400) % 50 == 0, 0.03, QUIET)
    assert verdict(measurement(samples)).level is VerdictLevel.TRUSTED


def test_a_recipe_without_an_error_limit_is_judged_by_the_cosine() -> None:
    int8 = ParityLimits(min_cosine=0.99)
    assert verdict(measurement(QUIET, parity=parity(cosine=0.995, max_abs_error=2)), int8).level == "trusted"
    assert verdict(measurement(QUIET, parity=parity(cosine=0.995, max_abs_error=math.inf)), int8).level == "invalid"


def test_identical_outputs_pass_even_when_they_are_all_zero() -> None:
    zeros = parity(cosine=math.nan, max_abs_error=0, reference_abs_max=0)
    assert verdict(measurement(QUIET, parity=zeros)).level is VerdictLevel.TRUSTED


def test_the_reason_names_the_figure_and_the_limit() -> None:
    (reason,) = verdict(measurement(QUIET, parity=parity(cosine=0.98))).reasons
    assert "0.980000" in reason.text and "0.9999" in reason.text
    (reason,) = verdict(measurement(series(0.01, 120, spread=0.3))).reasons
    assert "instead of ±2.0%" in reason.text


def test_an_unreadable_meter_says_why() -> None:
    unread = telemetry(background_cpu_ratio=None, absent={"background_cpu_ratio": "permission denied"})
    (reason,) = verdict(measurement(QUIET, telemetry=unread)).reasons
    assert "permission denied" in reason.text


ratios = st.none() | st.floats(0, 1)


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    floats = st.floats(allow_nan=True, allow_infinity=True)
    known = draw(st.booleans())
    return measurement(
        draw(st.lists(st.floats(1e-6, 10), min_size=1, max_size=80)),
        non_finite_outputs=draw(st.integers(0, 2)),
        parity=parity(draw(floats), draw(floats), draw(st.floats(0, 100))) if known else None,
        telemetry=telemetry(background_cpu_ratio=draw(ratios), steal_ratio=draw(ratios)),
        cpus_allowed=tuple(range(draw(st.integers(0, 4)))),
    )


@given(measurements(), st.floats(-1, 1), st.none() | st.floats(1e-9, 1))
def test_wrong_or_unchecked_outputs_are_never_better_than_invalid(
    given: Measurement, min_cosine: float, max_ratio: float | None
) -> None:
    found = verdict(given, ParityLimits(min_cosine=min_cosine, max_abs_error_ratio=max_ratio))
    right = given.non_finite_outputs == 0 and given.parity is not None
    if right and given.parity is not None and given.parity.max_abs_error != 0:
        near = max_ratio is None or given.parity.max_abs_error <= max_ratio * given.parity.reference_abs_max
        right = given.parity.cosine >= min_cosine and near and math.isfinite(given.parity.max_abs_error)
    assert (found.level is not VerdictLevel.INVALID) == right


@given(measurements())
def test_the_level_is_that_of_the_worst_reason_and_every_reason_is_in_the_table(given: Measurement) -> None:
    found = verdict(given)
    levels = {reason.level for reason in found.reasons}
    assert all(RULES[reason.code].level is reason.level for reason in found.reasons)
    worst_first = (VerdictLevel.INVALID, VerdictLevel.SUSPECT, VerdictLevel.TRUSTED)
    assert found.level is next((level for level in worst_first if level in levels), VerdictLevel.TRUSTED)


@given(measurements())
def test_what_was_simulated_is_judged_by_the_rest_and_always_says_so(given: Measurement) -> None:
    real, simulated = verdict(given), verdict(given.model_copy(update={"simulated": True, "parity": None}))
    assert codes(simulated) == codes(real) - {"parity-missing", "parity-failed"} | {"simulated"}
    of_outputs = {"parity-missing", "parity-failed"}
    if not codes(real) & of_outputs:
        assert simulated.level is real.level


@given(measurements())
def test_load_on_the_machine_never_makes_it_better(given: Measurement) -> None:
    busy = given.model_copy(update={"telemetry": telemetry(background_cpu_ratio=0.9, steal_ratio=0.5)})
    assert codes(verdict(given)) - {"meter-unreadable"} <= codes(verdict(busy))


def test_every_rule_tells_what_it_means_and_what_to_do() -> None:
    for rule in RULES.values():
        assert rule.meaning.endswith(".") and rule.remedy.endswith(".")


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"max_rel_error": 1e-6}, "largest relative error is 6e-05, over 1e-06"),
        ({"min_snr_db": 120.0}, "ratio is 118.0 dB, below 120 dB"),
        ({"min_top1_agreement": 1.0, "min_top5_agreement": 0.9}, "top-5 agreement of 0.9 is asked for"),
    ],
)
def test_a_recipe_may_ask_for_more_than_a_cosine(limits: dict[str, float], text: str) -> None:
    measured = measurement(series(0.01, 300))
    asked = ParityLimits(min_cosine=0.9, **limits)
    summary = summarize(measured.latency_samples_seconds, 0.95)
    (reason,) = judge(measured, summary, PROTOCOL, asked, Scenario()).reasons
    assert reason.code == "parity-failed"
    assert text in reason.text
    assert "SNR 118.0 dB" in reason.text
