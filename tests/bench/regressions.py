"""How often a night without a change raises a suspicion, and how soon a slow-down is found, by the noise of the phones.

    python -m tests.bench.regressions

Pure: ``farm.analysis.regression`` on nights whose truth is known. A device remembers its state from night to night, and
the noise has heavy tails (Student's with 5 degrees of freedom for the false alarms, 8 for the rest). Power is that of a
night of 10,000 comparisons, whatever the number simulated here.
"""

from __future__ import annotations

from farm.analysis.regression import Examination, FindingKind, examine
from farm.types import AlertRule, Baseline
from tests.bench import report
from tests.unit.analysis.simulated import Noise, fleet, lines, until

RULES = (
    AlertRule(metric="latency_p50", max_change_ratio=0.03),
    AlertRule(metric="latency_p95", max_change_ratio=0.05),
    AlertRule(metric="energy", max_change_ratio=0.05),
    AlertRule(metric="accuracy", max_drop=0.01),
)
QUIET_FLEETS, QUIET_NIGHTS = 2, (15, 22, 29)
NOISES = (0.003, 0.006, 0.01, 0.02, 0.05)
SLOWER = (1.03, 1.10)
ASKED = (1, 3, 5, 7)  # nights since
COMPARISONS, SUSPICIONS = 10_000, 1.0


def quiet(tails: float) -> dict[str, float]:
    """Of steady nights, 100 devices and 20 variants each."""
    comparisons = suspicions = 0
    for seed in range(QUIET_FLEETS):
        history = lines(fleet(100, 20, 30, Noise(tails=tails), seed))
        for night in QUIET_NIGHTS:
            found = examine(until(history, night), RULES, Baseline())
            comparisons += found.comparisons
            suspicions += len(found.of(FindingKind.REGRESSED)) + len(found.of(FindingKind.IMPROVED))
    nights = QUIET_FLEETS * len(QUIET_NIGHTS)
    return {
        f"quiet_nights_tails_{tails:g}": nights,
        f"quiet_comparisons_tails_{tails:g}": comparisons,
        f"false_suspicions_tails_{tails:g}": suspicions,
    }


def power(own: float) -> dict[str, float]:
    """Of 30 phones, on each of which one variant is 3 % and another 10 % slower since night 22."""
    devices, variants, first = 30, 10, 22
    made = fleet(devices, variants, first + max(ASKED), Noise(own=own, tails=8.0), seed=11)
    for phone in range(devices):
        for number, factor in enumerate(SLOWER):
            made.seconds[phone, (phone + number) % variants, first:] *= factor
    history = lines(made)
    found: dict[str, float] = {}
    for nights in ASKED:
        examination = examine(until(history, first + nights - 1), RULES[:1], Baseline())
        for number, factor in enumerate(SLOWER):
            planted = {(f"phone-{phone:03d}", f"variant-{(phone + number) % variants}") for phone in range(devices)}
            key = f"found_{100 * factor - 100:.0f}_percent_noise_{100 * own:g}_percent_nights_{nights}"
            found[key] = _found(examination, planted) / devices
    smallest = [change.smallest_ratio for change in examination.changes if change.smallest_ratio is not None]
    found[f"noise_ratio_noise_{100 * own:g}_percent"] = sorted(examination.noise.values())[devices // 2]
    found[f"told_in_three_nights_noise_{100 * own:g}_percent"] = sorted(smallest)[len(smallest) // 2]
    return found


def _found(examination: Examination, planted: set[tuple[str, str]]) -> int:
    scale = COMPARISONS / examination.comparisons
    return sum(
        change.p_value is not None
        and change.p_value * scale <= SUSPICIONS
        and change.own_change is not None
        and change.own_change.value > 1
        and change.own_change.high >= 1.03
        for change in examination.changes
        if (change.key.device, change.key.variant) in planted
    )


def main() -> None:
    figures: dict[str, float] = {}
    for own in NOISES:
        figures |= power(own)
    for tails in (5.0, 8.0):
        figures |= quiet(tails)
    print(report.table([("figure", "value"), *((key, float(value)) for key, value in figures.items())]))
    print(f"\nWritten to {report.write('regressions', figures)}.")


if __name__ == "__main__":
    main()
