"""Published output of real devices, where it is: our own samples could share a mistake with the parsers."""

from __future__ import annotations

import re

import pytest

from agents.android import facts
from agents.android.parsers import (
    battery,
    cpufreq,
    devicelist,
    getprop,
    memory,
    odpm,
    perfetto,
    powersupply,
    thermalservice,
)
from agents.android.parsers.absent import Absent
from tests.unit.agents.android.samples import CPUINFO, MEMINFO, REAL

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the samples of real devices are not here")


def real(name: str) -> str:
    """Without the first line, which says where it is from."""
    return (REAL / name).read_text().split("\n", 1)[1]


def section(text: str, name: str) -> str:
    return re.split(r"^#(\w+)\n", text, flags=re.MULTILINE)[1:][
        re.split(r"^#(\w+)\n", text, flags=re.MULTILINE)[1::2].index(name) * 2 + 1
    ]


def test_batteries() -> None:
    generic = battery.parse(real("dumpsys_battery_generic.txt"))
    samsung = battery.parse(real("dumpsys_battery_samsung_s23.txt"))
    pixel = battery.parse(section(real("power_pixel11pro_sysfs_and_dumpsys.txt"), "dumpsys"))
    assert not isinstance(generic, Absent) and not isinstance(samsung, Absent) and not isinstance(pixel, Absent)
    assert (generic.charge_ratio, generic.celsius, generic.volts, generic.powered) == (1.0, 27.4, 4.352, ("USB",))
    assert (samsung.current_amperes, samsung.celsius, samsung.status) == (0.559, 42.2, battery.CHARGING)
    assert (pixel.powered, pixel.status, pixel.volts) == (("AC",), battery.NOT_CHARGING, 4.446)
    assert "current_amperes" in pixel.absent
    assert all("on a charger" in (battery.charging(each) or "") for each in (generic, samsung, pixel))


def test_histories() -> None:
    whole, digest = (battery.history(real(f"{name}_samsung_s23.txt")) for name in ("dumpsys_battery", "sysfs_denied"))
    assert not isinstance(whole, Absent) and not isinstance(digest, Absent)
    assert [each.current_amperes for each in whole] == [-0.257]
    assert [each.current_amperes for each in digest] == [-1.503, -1.99, -1.337, -0.839]


def test_a_gauge() -> None:
    current, volts = section(real("power_pixel11pro_sysfs_and_dumpsys.txt"), "sysfs").splitlines()
    assert powersupply.current(current) == -11718
    assert powersupply.volts(volts) == 4.446015
    assert isinstance(powersupply.current(real("sysfs_denied_samsung_s23.txt")), Absent)


@pytest.mark.parametrize(
    ("name", "soc", "emulator"),
    [("getprop_emulator_api34.txt", "ranchu", True), ("getprop_xreal_x4000_sm6450.txt", "SM6450", False)],
)
def test_facts(name: str, soc: str, emulator: bool) -> None:
    found = facts.facts(getprop=real(name), cpuinfo=CPUINFO, meminfo=MEMINFO)
    assert not isinstance(found, Absent)
    assert (found.soc, found.emulator, found.virtual) == (soc, emulator, emulator)
    assert found.abi == ("x86_64" if emulator else "arm64-v8a")


def test_a_value_over_two_lines() -> None:
    found = getprop.parse(real("getprop_multiline_value.txt"))
    assert not isinstance(found, Absent)
    assert found == {"persist.sys.boot.reason.history": "reboot,123\nreboot,456", "ro.boot.qemu": "1"}


def test_a_galaxy_s23_has_three_clusters() -> None:
    text = real("devinfo_samsung_s23_shell.txt")
    found = cpufreq.clusters(section(text, "cpu"))
    assert not isinstance(found, Absent)
    assert [len(each.cpus) for each in found] == [3, 4, 1]
    assert memory.total_bytes(section(text, "mem")) == 7242448 * 1024


def test_a_list_of_devices() -> None:
    found = devicelist.parse(real("adb_devices_l.txt"))
    assert not isinstance(found, Absent)
    assert [each.state for each in found] == ["device", "unauthorized", "offline"]


def test_rails() -> None:
    found = odpm.parse(real("odpm_energy_value_device0.txt"))
    assert not isinstance(found, Absent)
    assert len(found.joules) == 8 and found.joules["S5M_VDD_INT"] == pytest.approx(190.164699)


def test_rows_of_perfetto() -> None:
    found = perfetto.rows(real("perfetto_android_power_rows.txt"))
    assert not isinstance(found, Absent) and len(found) == 6


def test_memory_of_processes() -> None:
    rollup, dumped = memory.rollup(real("smaps_rollup.txt")), memory.dumped(real("dumpsys_meminfo_settings.txt"))
    assert rollup == memory.ProcessMemory(423629 * 1024, 448896 * 1024, 53968 * 1024)
    assert dumped == memory.ProcessMemory((96354 - 68605) * 1024, 181492 * 1024, 68605 * 1024)


@pytest.mark.parametrize("path", sorted(REAL.glob("*.txt")), ids=lambda path: path.name)
def test_the_thermal_service_is_not_seen_where_it_is_not(path: object) -> None:
    assert isinstance(thermalservice.parse((REAL / str(path)).read_text()), Absent)
