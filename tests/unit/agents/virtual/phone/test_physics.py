"""Battery, heat and clocks obey what physics says of them, whatever the profile and the load."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.virtual.phone import physics
from agents.virtual.phone.profile import Profile, load_profile, names

PROFILES = {name: load_profile(name) for name in names()}
S23 = PROFILES["galaxy-s23"]
profiles = st.sampled_from(list(PROFILES.values()))
ratio = st.floats(0, 1)


def loads(profile: Profile, share: float) -> list[list[float]]:
    return [[share] * cluster.cores for cluster in profile.clusters]


def run(profile: Profile, state: physics.State, seconds: float, share: float, **world: object) -> physics.State:
    where = {"ambient_celsius": 25.0, "plugged": False, **world}
    for _ in range(int(seconds)):
        state = physics.advance(profile, state, 1.0, loads(profile, share), **where)  # type: ignore[arg-type]
    return state


@given(ratio, ratio)
def test_a_fuller_cell_has_the_higher_voltage(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert physics.open_circuit_volts(low) <= physics.open_circuit_volts(high)
    assert 3.0 < physics.open_circuit_volts(low) < 4.5


@given(st.floats(3.3, 4.4), st.floats(0.02, 0.5), st.floats(-20, 5))
def test_the_current_gives_the_power_that_is_asked_for(volts: float, ohms: float, watts: float) -> None:
    current = physics.current_amperes(volts, ohms, watts)
    if volts**2 > 4 * ohms * watts:
        assert (volts - current * ohms) * current == pytest.approx(watts, abs=1e-9)
        assert math.copysign(1, current) == math.copysign(1, watts) or current == 0
    else:
        assert current == pytest.approx(volts / ohms / 2)


@given(profiles, ratio, st.floats(0.3, 0.9), st.booleans())
def test_the_counter_is_the_integral_of_the_current(
    profile: Profile, share: float, charge: float, plugged: bool
) -> None:
    before = physics.rested(profile, 25, charge)
    after = physics.advance(profile, before, 2.0, loads(profile, share), ambient_celsius=25, plugged=plugged)
    taken_mah = (before.charge_ratio - after.charge_ratio) * profile.battery.capacity_mah
    assert taken_mah == pytest.approx(after.current_amperes * 2.0 / 3.6, abs=1e-6)
    assert after.charging == (after.current_amperes < 0 and plugged)


@given(profiles, st.floats(-20, 60), st.floats(0, 5), st.floats(0.05, 900))
def test_heat_never_leaves_the_range_between_air_and_what_the_power_allows(
    profile: Profile, ambient: float, watts: float, seconds: float
) -> None:
    thermal = profile.thermal
    after = physics.heated(thermal, (ambient, ambient, ambient), (watts, 0, 0), ambient, seconds)
    skin_most = ambient + watts / thermal.air_watts_per_kelvin
    soc_most = skin_most + watts / thermal.soc_watts_per_kelvin
    assert ambient - 1e-9 <= after[2] <= after[1] + 1e-9 <= after[0] + 2e-9
    assert after[1] <= skin_most + 1e-6
    assert after[0] <= soc_most + 1e-6


def test_heat_settles_where_conductance_says() -> None:
    thermal = S23.thermal
    soc, skin, cell = physics.heated(thermal, (25, 25, 25), (1.5, 0, 0), 25, 10_000)
    assert skin == pytest.approx(25 + 1.5 / thermal.air_watts_per_kelvin, abs=0.05)
    assert soc - skin == pytest.approx(1.5 / thermal.soc_watts_per_kelvin, abs=0.05)
    assert cell == pytest.approx(skin, abs=0.05)


@given(profiles, st.floats(0, 120), st.floats(0, 120), st.floats(0, 80))
def test_the_hotter_the_lower_the_cap_and_it_is_a_step(profile: Profile, soc: float, skin: float, more: float) -> None:
    for cluster in profile.clusters:
        cool = physics.cap_ratio(cluster, profile.thermal, soc, skin)
        hot = physics.cap_ratio(cluster, profile.thermal, soc + more, skin + more)
        assert hot <= cool
        assert round(hot * cluster.max_khz) in cluster.steps_khz


@given(profiles, ratio, st.floats(0.2, 1))
def test_a_clock_is_a_step_below_the_cap_and_rises_with_the_load(profile: Profile, load: float, cap: float) -> None:
    for cluster in profile.clusters:
        clock = physics.clock_ratio(cluster, load, cap)
        assert round(clock * cluster.max_khz) in cluster.steps_khz
        assert clock <= cap + 1e-6 or round(clock * cluster.max_khz) == cluster.steps_khz[0]
        assert clock <= physics.clock_ratio(cluster, 1.0, cap)


def test_a_phone_under_load_throttles_and_an_emulator_never_does() -> None:
    hot = run(S23, physics.rested(S23, 25, 0.8), 600, 1.0)
    assert min(hot.caps) < 1
    assert hot.skin_celsius > S23.thermal.skin_trip_celsius
    emulator = PROFILES["emulator"]
    assert min(run(emulator, physics.rested(emulator, 25, 0.8), 600, 1.0).caps) == 1


def test_an_idle_phone_stays_cool_and_lasts_about_a_day() -> None:
    rested = run(S23, physics.rested(S23, 25, 1.0), 3600, 0.0)
    assert rested.skin_celsius < 30
    assert 0.9 < rested.charge_ratio < 0.97


def test_a_charger_fills_the_battery_and_tapers() -> None:
    quick = run(S23, physics.rested(S23, 25, 0.5), 60, 0.0, plugged=True)
    slow = run(S23, physics.rested(S23, 25, 0.97), 60, 0.0, plugged=True)
    assert quick.charging
    assert quick.current_amperes < slow.current_amperes


def test_status_counts_the_thresholds_passed() -> None:
    thermal = S23.thermal
    assert [physics.thermal_status(thermal, celsius) for celsius in (20, 39, 42.5, 60)] == [0, 1, 2, 6]


def test_joules_of_a_cluster_are_its_power_over_time() -> None:
    state = replace(physics.rested(S23, 25, 0.8), cluster_joules=(1.0, 2.0, 3.0))
    after = physics.advance(S23, state, 0.5, loads(S23, 1.0), ambient_celsius=25, plugged=False)
    for before, now, watts in zip((1.0, 2.0, 3.0), after.cluster_joules, after.cluster_watts, strict=True):
        assert now - before == pytest.approx(watts * 0.5)
