"""How far a result can be trusted, and why not further; all there is to say is in ``farm.analysis.rules``.

Levels: an *invalid* result answers another question than the one asked (the variant computes something else); a
*suspect* one may be off by more than its interval says. A result with neither kind of reason is *trusted*.

The results of virtual devices are judged like others, so that verdicts can be tried out, but carry the note
*simulated*: nothing was run, so there is nothing to compare with PyTorch either.

What a machine cannot show does not by itself make a result suspect: virtual machines show neither clock frequency
nor temperature, and if that counted, every result of theirs would be suspect and a bad one could not be told from a
plain one. Such a meter is named in ``Telemetry.absent`` and shown next to the verdict; what it would have caught
(throttling) also shows as drift. The load of other work is different: nothing else reveals it when it is constant,
so a result without that reading is suspect.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from farm.analysis import figures
from farm.analysis.growth import grows, growth
from farm.analysis.rules import (
    MAX_BACKGROUND_CPU_RATIO,
    MAX_DRIFT_RATIO,
    MAX_OUTLIER_RATIO,
    MAX_STEAL_RATIO,
    MIN_FREQUENCY_LIMIT_RATIO,
    RULES,
)
from farm.analysis.statistics import OUTLIER_RATIO, Summary
from farm.types import (
    Filled,
    Measurement,
    Parity,
    ParityLimits,
    Protocol,
    Reason,
    Scenario,
    Telemetry,
    Verdict,
    VerdictLevel,
)


def judge(
    measurement: Measurement,
    summary: Summary,
    protocol: Protocol,
    limits: ParityLimits,
    scenario: Scenario,
    filled: Sequence[Filled] = (),
    energy_absent: str | None = None,
) -> Verdict:
    """The verdict on one measurement, with every reason that holds. ``energy_absent``: why there is no energy."""
    found = (
        *_outputs(measurement, limits),
        *_samples(summary, protocol),
        *_series(summary),
        *_tool(measurement),
        *_machine(measurement.telemetry),
        *_heat(measurement.telemetry),
        *_cpus(measurement, scenario.threads),
        *_memory(measurement, protocol.confidence),
        *_origin(measurement),
        *_energy(measurement, energy_absent),
        *(("inputs-filled", f"Missing values were filled: {each}.") for each in filled),
    )
    reasons = tuple(Reason(code=code, level=RULES[code].level, text=text) for code, text in found)
    levels = {reason.level for reason in reasons}
    worst_first = (VerdictLevel.INVALID, VerdictLevel.SUSPECT)
    level = next((level for level in worst_first if level in levels), VerdictLevel.TRUSTED)
    return Verdict(level=level, reasons=reasons)


Found = Iterator[tuple[str, str]]


def _outputs(measurement: Measurement, limits: ParityLimits) -> Found:
    if measurement.non_finite_outputs:
        yield "non-finite-output", f"{measurement.non_finite_outputs:,} output values are NaN or infinite."
    if measurement.simulated:
        return  # there are no outputs
    if measurement.parity is None and measurement.tool_report:
        why = measurement.absent.get("parity", f"{measurement.tool_report.tool} writes none")
        yield "outputs-unseen", f"Outputs were not seen: {why}."
    elif measurement.parity is None:
        why = measurement.absent.get("parity", "the record holds no comparison")
        yield "parity-missing", f"Outputs were not compared with PyTorch's: {why}."
    else:
        yield from _parity(measurement.parity, limits)


def _parity(parity: Parity, limits: ParityLimits) -> Found:
    missed = list(_missed(parity, limits))
    for text in missed[:-1]:
        yield "parity-failed", f"{text}."
    if missed:
        yield "parity-failed", f"{missed[-1]}. All figures: {figures.parity(parity)}."


def _missed(parity: Parity, limits: ParityLimits) -> Iterator[str]:
    if parity.max_abs_error == 0:
        return  # identical; the cosine of outputs that are all zero is not defined
    # Written so that NaN fails.
    if not parity.cosine >= limits.min_cosine:
        yield f"Cosine with PyTorch's outputs is {parity.cosine:.6f}, below {limits.min_cosine:g}"
    if limits.max_abs_error_ratio is None:
        if not math.isfinite(parity.max_abs_error):
            yield f"The largest error is {parity.max_abs_error}"
    elif not parity.max_abs_error <= (allowed := limits.max_abs_error_ratio * parity.reference_abs_max):
        yield (
            f"The largest error is {parity.max_abs_error:.3g}, over {allowed:.3g} "
            f"({limits.max_abs_error_ratio:g} of the largest output, {parity.reference_abs_max:.3g})"
        )
    if limits.max_rel_error is not None and not parity.max_rel_error <= limits.max_rel_error:
        yield f"The largest relative error is {parity.max_rel_error:.3g}, over {limits.max_rel_error:g}"
    if limits.min_snr_db is not None and not parity.snr_db >= limits.min_snr_db:
        yield f"The signal-to-noise ratio is {parity.snr_db:.1f} dB, below {limits.min_snr_db:g} dB"
    for name, share, least in (
        ("top-1", parity.top1_agreement, limits.min_top1_agreement),
        ("top-5", parity.top5_agreement, limits.min_top5_agreement),
    ):
        if least is not None and share is None:
            yield f"A {name} agreement of {least:g} is asked for, and the outputs are no class scores that have one"
        elif least is not None and share is not None and not share >= least:
            yield f"The {name} agreement with PyTorch is {share:.4g}, below {least:g}"


def _samples(summary: Summary, protocol: Protocol) -> Found:
    if summary.count < protocol.min_samples:
        yield "too-few-samples", f"{summary.count} samples, {protocol.min_samples} are asked for."
    median, target = summary.quantiles.get("p50"), protocol.target_half_width_ratio
    if summary.independent_count is None:
        return  # a tool's summary, which has a reason of its own
    if median is None:
        yield "interval-not-reached", f"The median has no interval: {summary.absent['latency_seconds.p50']}."
    elif median.half_width_ratio > target:
        correlated = summary.independent_count < summary.count
        counted = f", which count as {summary.independent_count:,} independent ones" if correlated else ""
        yield (
            "interval-not-reached",
            f"The median is known to ±{median.half_width_ratio:.1%} instead of ±{target:.1%} "
            f"({summary.count:,} samples{counted}).",
        )


def _series(summary: Summary) -> Found:
    warmup, drift = summary.warmup, summary.drift
    if warmup is not None and warmup.value > MAX_DRIFT_RATIO and warmup.low > 1:
        yield "warmup-incomplete", f"The first samples were {warmup.value - 1:.0%} slower than the last half."
    if drift is not None and drift.value > MAX_DRIFT_RATIO and drift.low > 1:
        yield "drift", f"The last third of the samples was {drift.value - 1:.0%} slower than the first."
    if drift is not None and drift.value < 1 / MAX_DRIFT_RATIO and drift.high < 1:
        yield "drift", f"The last third of the samples was {1 - drift.value:.0%} faster than the first."
    if summary.outlier_ratio is not None and summary.outlier_ratio > MAX_OUTLIER_RATIO:
        yield "outliers", f"{summary.outlier_ratio:.1%} of the samples took over {OUTLIER_RATIO:g} times the median."


def _tool(measurement: Measurement) -> Found:
    report = measurement.tool_report
    if report is None:
        return
    if report.delegation and report.delegation.taken != "whole":
        code = {"refused": "delegate-refused", "partly": "delegate-partly", "unproven": "delegate-unproven"}
        yield code[report.delegation.taken], f"{report.accelerator.upper()}: {report.delegation.said}."
    if not measurement.latency_samples_seconds:
        mixed = "; the first inference and the warm-up are part of it" if report.warmup_included else ""
        yield "tool-summary", f"{report.tool} printed a summary of {report.count:,} runs, not their times{mixed}."
    yield "tool-figures", f"The figures are {report.tool}'s, not those of the farm's harness."


def _machine(telemetry: Telemetry) -> Found:
    background, steal = telemetry.background_cpu_ratio, telemetry.steal_ratio
    if background is None:
        why = telemetry.absent.get("background_cpu_ratio", "no reading")
        yield "meter-unreadable", f"The load of other work could not be read: {why}."
    elif background > MAX_BACKGROUND_CPU_RATIO:
        yield "machine-busy", f"Other processes took {background:.0%} of the machine's CPU time."
    if steal is not None and steal > MAX_STEAL_RATIO:
        yield "cpu-stolen", f"The hypervisor took {steal:.1%} of the CPU time for others."
    limit, maximum = telemetry.cpu_frequency_limit_hertz, telemetry.cpu_frequency_maximum_hertz
    if limit is not None and maximum is not None and limit < MIN_FREQUENCY_LIMIT_RATIO * maximum:
        yield "throttled", f"The clock was capped at {limit / 1e9:.2f} of {maximum / 1e9:.2f} GHz."


def _heat(telemetry: Telemetry) -> Found:
    """What a phone says of its own heat. A cap may be in force also where its status is still none."""
    if telemetry.thermal_overridden:
        yield "thermal-override", "The phone's thermal status was set by hand."
    if telemetry.thermal_status_max:
        yield "throttled", f"The phone's thermal status reached {telemetry.thermal_status_max} of 6."
    if telemetry.cooling_devices:
        yield "throttled", f"Cooling devices were active: {', '.join(telemetry.cooling_devices)}."


def _cpus(measurement: Measurement, threads: int) -> Found:
    allowed, asked = measurement.cpus_allowed, measurement.cpus_asked
    if allowed and len(allowed) < threads:
        yield "too-few-cpus", f"{threads} threads ran on {len(allowed)} CPUs."
    if asked and allowed and set(allowed) != set(asked):
        ran, wanted = (", ".join(map(str, sorted(cpus))) for cpus in (allowed, asked))
        yield "wrong-cpus", f"It ran on the CPUs {ran} instead of {wanted}."
    if measurement.niceness is not None and measurement.niceness > 0:
        yield "low-priority", f"It ran at nice {measurement.niceness}."


def _energy(measurement: Measurement, absent: str | None) -> Found:
    """Only where power was recorded at all: of most devices nobody expects it."""
    if absent and (measurement.power or measurement.power_recorded):
        yield "energy-refused", f"{absent[:1].upper()}{absent[1:]}."


def _memory(measurement: Measurement, confidence: float) -> Found:
    series = measurement.memory_series
    if series is None:
        return  # a runtime too slow for it, or a system that does not tell, makes no result suspect
    found = growth(series, confidence)
    if grows(series, found):
        yield (
            "memory-growth",
            f"Memory grew by {found.value / 2**20:.3g} MiB per 1,000 inferences "
            f"({found.low / 2**20:.3g} to {found.high / 2**20:.3g}).",
        )


def _origin(measurement: Measurement) -> Found:
    if measurement.emulated:
        yield "emulated", f"{measurement.emulated} was emulated: outputs are as on it, times are the emulator's."
    if measurement.simulated:
        yield "simulated", "The device is virtual: nothing was run, the figures come from a model."
