from __future__ import annotations

from farm.notifications.markup import as_html, as_plain
from farm.notifications.messages import night_message, regression_message
from farm.types import Bisection, Member, Night, NightState, RegressionState
from tests.integration.notifications.notices import BAD, GOOD, KEY, NOW, estimate, member, origin, regression


def test_what_a_confirmed_regression_says() -> None:
    said = regression_message(regression(), "https://farm.example/")
    assert said.subject == "latency_p50 up 10.2 %: int8 on pixel-8 (sweep nightly)"
    assert as_plain(said.text) == (
        "latency_p50 of int8 on pixel-8, single-stream/4t: up 10.2 % (9.60 % to 10.8 %), "
        "from 12.34 ms (12.32 ms to 12.36 ms) to 13.60 ms (13.57 ms to 13.63 ms).\n\n"
        "• Confirmed, old and new in turns on pixel-8, 8 pairs: up 10.1 % (9.60 % to 10.6 %)\n"
        "• Allowed: 3 %. Noise of the device: 0.800 % (95 % of repeated measurements differ by less)\n"
        "• Compared with: the median of 14 nights before\n"
        "• Seen: since 2026-11-28 03:00 UTC, found by night 30, last shown by night 30\n"
        "• Version: 0123456789ab, before aaaaaaaaaaaa\n"
        "• Not on galaxy-s24, xperia-1\n\n"
        "All that is known of it: https://farm.example/api/v1/regressions/12/page, also by farm regressions page 12"
    )
    assert (said.data["commit"], said.data["sweep"], said.data["about"]) == (BAD, "nightly", "regression 12")
    assert said.data["page"] == "https://farm.example/api/v1/regressions/12/page"


def test_without_a_public_url_there_is_no_link() -> None:
    said = regression_message(regression())
    assert "page" not in said.data
    assert "](" not in said.text
    assert said.text.endswith("`farm regressions page 12`")


def test_the_first_bad_version_is_named_once_it_is_known() -> None:
    culprit = "c" * 40
    found = Bisection(good=GOOD, bad=BAD, candidates=(culprit,), culprit=culprit)
    said = regression_message(regression(bisection=found))
    assert "First bad version: cccccccccccc, after aaaaaaaaaaaa" in as_plain(said.text)
    assert said.data["commit"] == culprit


def test_a_virtual_device_is_said_to_be_virtual() -> None:
    said = regression_message(regression(virtual=True))
    assert said.subject.endswith("[virtual]")
    assert "Virtual devices: these figures are a simulation's." in as_plain(said.text)
    assert said.data["virtual"] is True


def test_a_drop_of_a_score_is_absolute() -> None:
    key = KEY.model_copy(update={"metric": "accuracy"})
    drop = member(key).model_copy(
        update={"before": estimate(0.712), "now": estimate(0.698), "change": estimate(-0.014, 0.002), "limit": 0.01}
    )
    said = regression_message(regression(key=key, members=(drop,), evidence=()))
    assert said.subject.startswith("accuracy down 0.01400: int8")
    assert "down 0.01400 (-0.0160 to -0.0120), from 0.7120 to 0.6980" in as_plain(said.text)


def test_a_result_that_is_missing() -> None:
    lost = member().model_copy(update={"now": None, "change": None, "new": None})
    key = KEY.model_copy(update={"metric": "result"})
    said = regression_message(
        regression(kind="missing", key=key, members=(lost,), evidence=(), state=RegressionState.SUSPECTED)
    )
    assert said.subject == "Result is missing: int8 on pixel-8 (sweep nightly)"
    assert "commit" not in said.data
    key = KEY.model_copy(update={"metric": "energy"})
    lost = lost.model_copy(update={"key": key})
    said = regression_message(regression(kind="missing", key=key, members=(lost,), evidence=()))
    assert said.subject == "energy is missing: int8 on pixel-8 (sweep nightly)"


def test_a_noisy_device_is_told_of_without_blaming_a_version() -> None:
    text = "pixel-8 is noisy: latency_p50 of one artifact differs by up to 14 % between nights, where 2.8 % is usual"
    wild = Member(key=KEY, noise_ratio=0.14, new=origin(BAD, 30))
    said = regression_message(regression(kind="noisy", scope="device", members=(wild,), evidence=(), reason=text))
    assert said.subject == "Noisy device: pixel-8 (sweep nightly)"
    assert "latency_p50 by up to 14.0 %." in as_plain(said.text)
    assert text in as_plain(said.text)
    assert "commit" not in said.data


def test_what_the_whole_device_did_that_night_is_told_apart() -> None:
    fast = member().model_copy(update={"change": estimate(0.99, 0.01), "own_change": estimate(1.03, 0.01)})
    said = regression_message(regression(members=(fast,), evidence=()))
    assert said.subject.startswith("latency_p50 up 3.00 %: int8")
    assert (
        "up 3.00 % (2.00 % to 4.00 %) without what the whole device did that night; as measured down 1.00 %"
        in as_plain(said.text)
    )


def test_many_series_are_one_message() -> None:
    devices = tuple(f"phone-{number}" for number in range(9))
    members = tuple(member(KEY.model_copy(update={"device": device})) for device in devices)
    said = regression_message(regression(scope="variant", members=members, affected=devices))
    assert said.subject == "latency_p50 up 10.2 %: int8 on 9 devices (sweep nightly)"
    assert "And 4 more series" in said.text


def test_a_night_that_failed_says_why_and_names_are_no_markup() -> None:
    night = Night(
        id=5,
        sweep="nightly",
        due_at=NOW,
        trigger="schedule",
        state=NightState.FAILED,
        requested_by="ada",
        reason="export failed: <img src=x> **boom**",
        version=BAD,
    )
    said = night_message(night)
    assert said.subject == "The night of 2026-11-28 03:00 UTC of sweep nightly failed"
    assert "<img" not in as_html(said.text)
    assert "<strong>" not in as_html(said.text)
    assert said.data["commit"] == BAD
