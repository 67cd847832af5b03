"""System commands answer in Android's words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.virtual.phone import physics, readouts, root, services, views
from agents.virtual.phone.profile import load_profile, names
from agents.virtual.phone.services import Process, Services

TEMPERATURE = re.compile(r"Temperature\{mValue=([^,]+), mType=(\d+), mName=([^}]*), mStatus=(\d)\}")


def made(name: str = "galaxy-s23", **changes: object) -> Services:
    profile = load_profile(name)
    state = physics.rested(profile, 25, 0.5)
    state = physics.advance(
        profile, state, 1, [[1.0] * c.cores for c in profile.clusters], ambient_celsius=25, plugged=False
    )
    fields = {
        "profile": profile,
        "properties": root.properties(profile, "arm64-v8a", "serial-1"),
        "state": state,
        "battery": readouts.reading(profile, state, plugged=False),
        "plugged": False,
        "memory_available_kib": 1000,
        "processes": lambda: [Process(7, "python", 4096, 1.5)],
        "uptime_seconds": lambda: 10.0,
        "page_bytes": 4096,
        "cpus": 8,
        **changes,
    }
    return Services(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", names())
def test_every_profile_says_that_it_is_virtual(name: str) -> None:
    assert "[ro.torchfarm.virtual]: [1]\n" in made(name).answer("getprop", []).text


@given(st.sampled_from(services.COMMANDS), st.lists(st.text(max_size=8), max_size=4))
def test_no_words_make_a_command_fail_otherwise_than_by_an_answer(name: str, words: list[str]) -> None:
    answer = made().answer(name, words)
    assert 0 <= answer.code <= 255


@given(st.sampled_from(["battery", "thermalservice", "deviceidle", "meminfo"]), st.lists(st.text(max_size=6)))
def test_nor_do_words_for_a_service(service: str, words: list[str]) -> None:
    made().answer("dumpsys", [service, *words])
    made().answer("cmd", [service, *words])


def test_an_unplug_is_a_fake_that_dumpsys_admits() -> None:
    phone = made(plugged=True)
    assert "  USB powered: true\n" in phone.answer("dumpsys", ["battery"]).text
    phone.answer("dumpsys", ["battery", "unplug"])
    text = phone.answer("dumpsys", ["battery"]).text
    assert "(UPDATES STOPPED" in text
    assert "powered: true" not in text
    phone.answer("dumpsys", ["battery", "set", "level", "3"])
    assert "  level: 3\n" in phone.answer("dumpsys", ["battery"]).text
    phone.answer("dumpsys", ["battery", "reset"])
    assert "  level: 50\n" in phone.answer("dumpsys", ["battery"]).text


@pytest.mark.parametrize("name", names())
def test_temperatures_have_the_profiles_indentation_and_precision(name: str) -> None:
    phone = made(name)
    answer = phone.answer("dumpsys", ["thermalservice"])
    hal = answer.text.split("Current temperatures from HAL:\n")[1]
    lines = hal.splitlines()
    indent = phone.profile.thermal.indent
    assert lines[0].startswith(f"{indent}Temperature")
    found = TEMPERATURE.findall(hal)
    assert {kind for _, kind, _, _ in found} == {"0", "2", "3"}
    decimals = phone.profile.thermal.decimals
    if decimals is not None:
        assert all(len(value.partition(".")[2]) == decimals for value, _, _, _ in found)
    expected = "100" if phone.profile.emulator else "0"
    assert set(re.findall(r"CoolingDevice\{mValue=(\d+)", hal)) == {expected}


def test_signs_and_units_of_the_gauge_differ_by_vendor_and_a_lie_turns_them() -> None:
    currents = {name: made(name).battery.current for name in ("galaxy-s23", "pixel-11-pro", "xiaomi-13")}
    assert -5_000 < currents["galaxy-s23"] < 0  # mA, into the battery
    assert currents["pixel-11-pro"] < -100_000  # µA, into the battery
    assert currents["xiaomi-13"] > 100_000  # µA, out of it
    phone = made("xiaomi-13")
    told = readouts.reading(phone.profile, phone.state, plugged=False, lying="sign")
    assert told.current == -phone.battery.current
    scaled = readouts.reading(phone.profile, phone.state, plugged=False, lying="scale")
    assert scaled.current == pytest.approx(phone.battery.current * readouts.LYING_SCALE, rel=1e-3)


def test_the_counter_moves_in_the_vendors_steps() -> None:
    assert made("galaxy-s23").battery.counter_uah % 3750 == 0


def test_what_the_shell_may_not_set_is_refused() -> None:
    phone = made()
    assert phone.answer("setprop", ["ro.product.model", "x"]).code == 1
    assert phone.answer("setprop", ["debug.x", "1"]).code == 0
    assert phone.answer("getprop", ["debug.x"]).text == "1\n"
    assert phone.answer("cmd", ["nope"]) == services.Answer("cmd: Can't find service: nope\n", 20, failed=True)


def test_settings_and_their_shortcuts_share_one_place() -> None:
    phone = made()
    assert phone.answer("settings", ["get", "global", "airplane_mode_on"]).text == "null\n"
    phone.answer("cmd", ["connectivity", "airplane-mode", "enable"])
    assert phone.answer("settings", ["get", "global", "airplane_mode_on"]).text == "1\n"
    phone.answer("svc", ["power", "stayon", "usb"])
    assert phone.answer("settings", ["get", "global", "stay_on_while_plugged_in"]).text == "2\n"
    assert phone.answer("settings", ["delete", "global", "airplane_mode_on"]).text == "Deleted 1 rows\n"


def test_fixed_performance_needs_android_11() -> None:
    words = ["power", "set-fixed-performance-mode-enabled", "true"]
    assert made("low-end").answer("cmd", words).code == 255
    phone = made()
    assert phone.answer("cmd", words).code == 0
    assert phone.fixed_performance


def test_uname_tells_the_phones_machine() -> None:
    assert made().answer("uname", ["-m"]).text == "aarch64\n"
    assert made().answer("uname", ["-sr"]).text == "Linux 5.15.189-android13-8-33413713\n"


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("cpus", [1, 2, 3, 5, 8, 64])
def test_a_phone_has_no_more_cores_than_its_machine(name: str, cpus: int) -> None:
    whole = load_profile(name)
    profile = whole.on(cpus)
    kept = [cluster.cores for cluster in profile.clusters]
    assert sum(kept) == min(cpus, sum(cluster.cores for cluster in whole.clusters))
    assert min(kept) >= 1
    assert profile.clusters[-1].name == whole.clusters[-1].name
    if cpus >= len(whole.clusters):
        assert len(profile.clusters) == len(whole.clusters)
    limits = {cluster.name: cluster.cores for cluster in whole.clusters}
    assert all(cluster.cores <= limits[cluster.name] for cluster in profile.clusters)


@pytest.mark.parametrize("name", names())
def test_views_have_the_same_files_at_all_times_and_the_clusters_clocks(name: str) -> None:
    phone = made(name)
    cpus = list(range(sum(cluster.cores for cluster in phone.profile.clusters)))
    resident = [[0.0] * len(cluster.steps_khz) for cluster in phone.profile.clusters]
    fixed = views.fixed(phone.profile, cpus)
    current = views.current(phone.profile, cpus, phone.state, phone.battery, resident)
    assert not fixed.keys() & current.keys()
    assert all(text.endswith("\n") for text in (fixed | current).values())
    most = [int(fixed[f"{views.CPU}/cpu{cpu}/cpufreq/cpuinfo_max_freq"]) for cpu in cpus]
    assert most == [cluster.max_khz for cluster in phone.profile.clusters for _ in range(cluster.cores)]


@given(st.sets(st.integers(0, 40)))
def test_ranges_are_what_the_kernel_writes(numbers: set[int]) -> None:
    read: set[int] = set()
    for part in filter(None, views.ranges(list(numbers)).split(",")):
        low, _, high = part.partition("-")
        read |= set(range(int(low), int(high or low) + 1))
    assert read == numbers
