from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.android import facts
from agents.android.parsers.absent import Absent
from farm.types import DeviceFacts, DeviceReadings
from tests.unit.agents.android import samples


def known(**changes: str) -> DeviceFacts | Absent:
    given: dict[str, str] = {
        "getprop": samples.GETPROP,
        "cpuinfo": samples.CPUINFO,
        "meminfo": samples.MEMINFO,
        "cpufreq": samples.CPUFREQ,
        "page": "4096\n",
        "nodes": "/dev/mali0\n",
    }
    return facts.facts(**given | changes)


def test_a_phone_is_known_by_its_own_words() -> None:
    found = known()
    assert not isinstance(found, Absent)
    assert found.model_dump(exclude={"clusters", "memory_bytes", "runtimes", "tools"}) == {
        "platform": "android",
        "device_model": "Rocket 9",
        "soc": "AC900",
        "abi": "arm64-v8a",
        "os_version": "Android 14",
        "cpu_count": 8,
        "accelerators": ("cpu", "gpu"),
        "virtual": False,
        "emulator": False,
        "page_bytes": 4096,
        "hypervisor": None,
    }
    assert len(found.clusters) == 3


@pytest.mark.parametrize(
    "line",
    [
        "[ro.kernel.qemu]: [1]",
        "[ro.boot.qemu]: [1]",
        "[ro.hardware]: [ranchu]",
        "[ro.build.characteristics]: [x,emulator]",
    ],
)
def test_an_emulator_is_virtual_and_has_no_gpu_of_its_own(line: str) -> None:
    found = known(getprop=f"{samples.GETPROP}{line}\n")
    assert not isinstance(found, Absent)
    assert found.emulator and found.virtual and found.accelerators == ("cpu",)


def test_a_virtual_phone_is_virtual_and_no_emulator() -> None:
    found = known(getprop=f"{samples.GETPROP}[ro.torchfarm.virtual]: [1]\n")
    assert not isinstance(found, Absent)
    assert found.virtual and not found.emulator


def test_an_older_phone_names_its_soc_elsewhere() -> None:
    old = samples.GETPROP.replace("[ro.soc.model]: [AC900]", "[ro.board.platform]: [msm8998]")
    found = known(getprop=old)
    assert not isinstance(found, Absent) and found.soc == "msm8998"


@pytest.mark.parametrize("part", ["getprop", "cpuinfo", "meminfo"])
def test_what_no_job_can_be_matched_without_is_a_reason(part: str) -> None:
    found = known(**{part: samples.DENIED})
    assert isinstance(found, Absent) and "Permission denied" in found.why


def test_frequencies_and_accelerators_may_be_denied() -> None:
    found = known(cpufreq=samples.DENIED, nodes="", page="")
    assert not isinstance(found, Absent)
    assert found.clusters == () and found.accelerators == ("cpu",) and found.page_bytes is None


def test_how_a_phone_is() -> None:
    assert facts.readings(battery=samples.BATTERY, thermal=samples.THERMAL) == DeviceReadings(
        battery_ratio=0.61, battery_celsius=28.7, powered=False, thermal_status=1
    )


def test_faked_states_are_no_readings() -> None:
    stopped = samples.BATTERY.replace("  status: 3", "  (UPDATES STOPPED -- use 'reset' to restart)\n  status: 3")
    overridden = samples.THERMAL.replace("IsStatusOverride: false", "IsStatusOverride: true")
    assert facts.readings(battery=stopped, thermal=overridden) == DeviceReadings()


@given(st.text(), st.text())
def test_no_text_raises(first: str, second: str) -> None:
    facts.readings(battery=first, thermal=second)
    facts.facts(getprop=samples.GETPROP, cpuinfo=samples.CPUINFO, meminfo=samples.MEMINFO, cpufreq=first, nodes=second)
    facts.sections(first)


def test_the_commands_are_ones_that_a_shell_runs() -> None:
    done = subprocess.run(["sh", "-c", facts.FACTS_COMMAND], capture_output=True, text=True, timeout=30, check=False)
    parts = facts.sections(done.stdout)
    assert list(parts) == ["getprop", "cpuinfo", "meminfo", "cpufreq", "page", "nodes"]
    found = facts.facts(**parts | {"getprop": samples.GETPROP})
    assert not isinstance(found, Absent) and found.cpu_count >= 1 and found.page_bytes
