"""What a profile may say, and how it is told what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.virtual.profile import BUILT_IN, load_profile, parse_profile
from farm.errors import ConfigError
from tests.unit.agents.virtual.fleet import kind, profile


def test_the_built_in_profile_is_the_default() -> None:
    assert load_profile() == load_profile(BUILT_IN)
    assert {kind.name for kind in load_profile().kinds} == {"phone", "board"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("noise: 0.03", "nosie: 0.03"), "lab.yaml:15: kinds[0].latency.nosie: unknown key"),
        (("median_seconds: 0.012, noise", "median_seconds: -1, noise"), "lab.yaml:15: kinds[0].latency.median_seconds"),
        (("platform: linux", "platform: ios"), "lab.yaml:24: kinds[1].platform: Input should be 'android' or 'linux'"),
        (("limit_celsius: 55", "limit_celsius: 30"), "lab.yaml:16: kinds[0].thermal: limit_celsius must be above"),
        (("crash_ratio: 0.002", "crash_ratio: .nan"), "lab.yaml:34: kinds[1].failures.crash_ratio"),
        (("crash_ratio: 0.005", "crash_ratio: 0.996"), "lab.yaml:19: kinds[0].failures: crash_ratio, timeout_ratio"),
        (
            ("start_below_celsius: 40", "start_below_celsius: 25"),
            "lab.yaml:16: kinds[0].thermal: start_below_celsius must",
        ),
        (("reconnect: 0.6", "reconnect: 0.8"), "lab.yaml:19: kinds[0].failures: the shares of mended_by add up to"),
        (("reconnect: 0.6", "prayer: 0.6"), "lab.yaml:20: kinds[0].failures.mended_by.prayer"),
        (("seed: 1", "seed: 1\nseed: 2"), "line 4: the key 'seed' is there twice"),
        (("time_scale: 1.0", "time_scale: 0"), "lab.yaml:4: time_scale: Input should be greater than 0"),
        (("seed: 1", "seed: ["), "lab.yaml:5: no valid YAML"),
        (("    speed: 0.4\n", "    speed: 0.4\n    batery: {}\n"), "lab.yaml:32: kinds[1].batery: unknown key"),
    ],
)
def test_errors_name_line_and_key(change: tuple[str, str], said: str) -> None:
    text = BUILT_IN.read_text()
    assert change[0] in text
    with pytest.raises(ConfigError) as caught:
        parse_profile(text.replace(*change, 1), "lab.yaml")
    assert said in caught.value.message


@pytest.mark.parametrize("text", ["", "[]", "3", "kinds: []", "kinds: &a [*a]", "? [a]\n: 1", "a: !!python/name:os.x"])
def test_what_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_profile(text, "x.yaml")


@given(st.text(max_size=60))
def test_no_text_does_worse_than_be_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_profile(text, "x.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_profile(tmp_path / "nowhere.yaml")


def test_kinds_share_the_fleet() -> None:
    fleet = profile(kind(name="a", share=3), kind(name="b"))
    assert "".join(fleet.kind_of(number).name for number in range(8)) == "aaabaaab"
