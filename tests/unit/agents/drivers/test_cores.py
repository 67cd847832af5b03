"""Which CPUs a scenario gets, by the clusters that a device has."""

from __future__ import annotations

import pytest

from agents.android import handset
from agents.drivers import cores
from farm.errors import RecipeError
from farm.types import CpuCluster, DeviceReadings, Scenario

# A Galaxy S23: the folklore mask f0 would be wrong.
S23 = (
    CpuCluster(cpus=(0, 1, 2), max_hertz=2_016_000_000),
    CpuCluster(cpus=(3, 4, 5, 6), max_hertz=2_803_200_000),
    CpuCluster(cpus=(7,), max_hertz=3_360_000_000),
)


@pytest.mark.parametrize(
    ("scenario", "clusters", "expected"),
    [
        (Scenario(threads=2), S23, [6, 7]),
        (Scenario(cores="big"), S23, [7]),
        (Scenario(cores="mid", threads=4), S23, [3, 4, 5, 6]),
        (Scenario(cores="little", threads=2), S23, [0, 1, 2]),
        (Scenario(cores="all", threads=2), S23, [0, 1, 2, 3, 4, 5, 6, 7]),
        (Scenario(cores="all"), (), [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_clusters_by_name(scenario: Scenario, clusters: tuple[CpuCluster, ...], expected: list[int]) -> None:
    assert cores.pinned(scenario, range(8), clusters, "phone") == expected


@pytest.mark.parametrize(
    ("scenario", "clusters", "said"),
    [
        (Scenario(cores="big"), (), "no big cores"),
        (Scenario(cores="mid"), (S23[0], S23[2]), "no mid cores: its CPUs are 3 of 2.0 GHz"),
        (Scenario(cores="big", threads=2), S23, "1 big cores; 2 threads"),
    ],
)
def test_what_is_not_there_is_refused(scenario: Scenario, clusters: tuple[CpuCluster, ...], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        cores.pinned(scenario, range(8), clusters, "phone")


@pytest.mark.parametrize(
    ("readings", "said"),
    [
        (DeviceReadings(), ""),
        (DeviceReadings(battery_celsius=35, battery_ratio=0.15, thermal_status=0), ""),
        (DeviceReadings(battery_celsius=41.2), "too hot: 41.2 °C > 35 °C"),
        (DeviceReadings(battery_ratio=0.12), "battery low: 12% < 15%"),
        (DeviceReadings(thermal_status=2), "throttled: thermal status 2 > 0"),
    ],
)
def test_what_is_against_a_start_is_said(readings: DeviceReadings, said: str) -> None:
    limits = {"max_start_celsius": 35.0, "min_battery_ratio": 0.15, "max_thermal_status": 0}
    assert handset.obstacle(readings, **limits) == said  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("adb", "own", "emulator", "expected"),
    [
        ("R5CT1", "R5CT1", False, "R5CT1"),
        ("192.168.1.5:5555", "R5CT1", False, "R5CT1"),
        ("192.168.1.5:5555", "", False, "192.168.1.5-5555"),
        ("emulator-5554", "EMULATOR33X", True, "shelf-emulator-5554"),
        ("x", "_-ü/1", False, "1"),
    ],
)
def test_ids_are_stable_names(adb: str, own: str, emulator: bool, expected: str) -> None:
    assert handset.device_id("shelf", adb, own, emulator=emulator) == expected
