"""What a whole device does is told apart from what a version does: its good and bad nights, and its noise."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from farm.types import Regression, RegressionState
from tests.integration.sweeps.regressions.story import Story
from tests.integration.sweeps.regressions.test_workflow import only

VARIANTS = tuple(f"variant-{number}" for number in range(6))
PHONES = [f"phone-{number:02d}" for number in range(8)]
NOISY = "phone-03"


def one_slower(whole_phone: float = 1.0) -> Callable[[str, str, str], float]:
    """5 % in v2, of one variant on one phone, whose every variant is so many times as slow."""

    def factor(version: str, variant: str, device: str) -> float:
        if device != "phone-02":
            return 1.0
        return whole_phone * (1.05 if version == "v2" and variant == "variant-4" else 1.0)

    return factor


@pytest.mark.parametrize("whole_phone", [0.9, 0.94, 1.12])
def test_a_good_night_of_the_whole_phone_ends_no_regression(story: Callable[..., Story], whole_phone: float) -> None:
    told = story(variants=VARIANTS, factor=one_slower(), noise=dict.fromkeys(PHONES, 0.003))
    told.quiet_nights(10)
    told.quiet_nights(2, "v2")
    found = only(told.regressions(RegressionState.CONFIRMED))
    told.factor = one_slower(whole_phone)
    night = told.pass_night("v2")
    told.examine()
    told.confirm()
    still = next(each for each in told.regressions() if each.id == found.id)
    assert (still.state, still.seen_night_id) == (RegressionState.CONFIRMED, night)
    assert [each.key.variant for each in told.regressions(RegressionState.CONFIRMED)].count("variant-4") == 1

    told.factor = one_slower(whole_phone)
    night = told.pass_night("v3")
    told.examine()
    assert next(each for each in told.regressions() if each.id == found.id).state is RegressionState.ENDED, "mended"


def test_what_the_phone_did_that_night_is_told_apart(story: Callable[..., Story]) -> None:
    told = story(variants=VARIANTS, factor=one_slower(), noise=dict.fromkeys(PHONES, 0.003))
    told.quiet_nights(10)
    told.factor = one_slower(0.95)
    told.pass_night("v2")
    told.examine()
    (found,) = [each for each in told.regressions() if each.kind == "worse"]
    worst = found.worst
    assert worst.change is not None and worst.own_change is not None
    assert worst.change.value == pytest.approx(0.95 * 1.05, rel=0.015)
    assert worst.own_change.value == pytest.approx(1.05, rel=0.015)


def noisy(told: Story) -> list[Regression]:
    found = told.regressions()
    assert {each.kind for each in found if each.state is not RegressionState.REFUTED} <= {"noisy"}
    return [each for each in found if each.kind == "noisy"]


def test_a_noisy_phone_is_told_of_once_and_ends_when_it_is_quiet(story: Callable[..., Story]) -> None:
    told = story(devices=PHONES, variants=VARIANTS, noise={NOISY: 0.06})
    told.quiet_nights(10)
    told.quiet_nights(4, "v2")
    found = only(noisy(told))
    assert (found.state, found.key.device, found.affected) == (RegressionState.CONFIRMED, NOISY, (NOISY,))
    assert found.seen_night_id > found.night_id
    assert found.worst.noise_ratio is not None and 0.1 < found.worst.noise_ratio < 0.3
    notice = only(told.notices())  # type: ignore[arg-type]
    assert notice.subject == f"Noisy device: {NOISY} (sweep nightly) [virtual]"  # type: ignore[attr-defined]

    with told.store.reading() as reading:
        floor = {each.id: each.noise_ratio for each in reading.devices()}
    assert floor[NOISY] is not None and 0.1 < floor[NOISY] < 0.3
    assert all(ratio is not None and ratio < 0.03 for device, ratio in floor.items() if device != NOISY)

    told.noise = {}
    told.quiet_nights(12, "v2")
    assert only(noisy(told)).state is RegressionState.ENDED
    assert len(told.notices()) == 1


def test_who_closed_a_noisy_phone_hears_of_it_again_once_it_has_been_quiet(story: Callable[..., Story]) -> None:
    told = story(devices=PHONES, variants=VARIANTS, noise={NOISY: 0.06})
    told.quiet_nights(8)
    with told.store.transaction() as tx:
        tx.close_regression(only(noisy(told)).id, "closed by ada: an old phone", told.now)
    told.quiet_nights(3)
    assert only(noisy(told)).state is RegressionState.CLOSED
    told.noise = {}
    told.quiet_nights(12)
    closed = only(noisy(told))
    assert (closed.state, closed.reason) == (RegressionState.CLOSED, "closed by ada: an old phone")
    assert closed.ended_night_id is not None
    told.noise = {NOISY: 0.06}
    told.quiet_nights(6)
    assert [each.state for each in noisy(told)] == [RegressionState.CLOSED, RegressionState.CONFIRMED]
    assert len(told.notices()) == 2
