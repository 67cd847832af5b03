"""What a phone is, and how it is: one shell command each, and what its answer means."""

from __future__ import annotations

import re
from collections.abc import Mapping

from agents.android.parsers import cpufreq as frequencies
from agents.android.parsers import memory
from agents.android.parsers.absent import Absent, integer
from agents.android.parsers.battery import parse as parse_battery
from agents.android.parsers.cpuinfo import parse as parse_cpuinfo
from agents.android.parsers.getprop import parse as parse_properties
from agents.android.parsers.thermalservice import parse as parse_thermal
from farm.types import DeviceFacts, DeviceReadings

# Files that only a phone with the accelerator's driver has, and that shell may see. OpenCL comes with the GPU's driver.
# Of NPUs there is no such file: what says whether one can be used is a native tool that runs on it.
_EVIDENCE = {
    "/dev/kgsl-3d0": "gpu",
    "/dev/mali0": "gpu",
    "/vendor/lib64/libOpenCL.so": "gpu",
    "/vendor/lib64/libOpenCL-pixel.so": "gpu",
}
_SECTION = "#torchfarm "


def _sections(**commands: str) -> str:
    return "; ".join(f"echo '{_SECTION}{name}'; {command}" for name, command in commands.items())


# One adb command instead of six. Each section may fail on its own.
FACTS_COMMAND = _sections(
    getprop="getprop",
    cpuinfo="cat /proc/cpuinfo 2>&1",
    meminfo="cat /proc/meminfo 2>&1",
    cpufreq=frequencies.COMMAND,
    page="getconf PAGE_SIZE 2>&1",
    nodes=f"ls -d {' '.join(_EVIDENCE)} 2>/dev/null",
)
READINGS_COMMAND = _sections(battery="dumpsys battery 2>&1", thermal="dumpsys thermalservice 2>&1")


def sections(text: str) -> dict[str, str]:
    """The answer to ``FACTS_COMMAND`` or ``READINGS_COMMAND``, by the name of each part: arguments of ``facts`` and
    ``readings``."""
    parts = re.split(rf"^{_SECTION}([a-z]+)\r?$\n?", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def facts(
    *, getprop: str = "", cpuinfo: str = "", meminfo: str = "", cpufreq: str = "", page: str = "", nodes: str = ""
) -> DeviceFacts | Absent:
    """Facts as far as the phone tells: clusters may be none, ``soc`` and ``device_model`` "unknown". Without an ABI, a
    number of processors or a memory there are no facts to match a job with, and the reason says which is missing."""
    properties, processors = parse_properties(getprop), parse_cpuinfo(cpuinfo)
    memory_bytes = memory.total_bytes(meminfo)
    if isinstance(properties, Absent):
        return properties
    if isinstance(processors, Absent):
        return processors
    if isinstance(memory_bytes, Absent):
        return memory_bytes
    abis = properties.get("ro.product.cpu.abilist") or properties.get("ro.product.cpu.abi", "")
    if not (abi := abis.split(",")[0].strip()):
        return Absent("getprop: there is no ro.product.cpu.abilist and no ro.product.cpu.abi")
    read = frequencies.clusters(cpufreq)
    clusters = () if isinstance(read, Absent) else read
    page_bytes = integer(page)
    emulator = is_emulator(properties)
    found = {_EVIDENCE[line.strip()] for line in nodes.splitlines() if line.strip() in _EVIDENCE}
    return DeviceFacts(
        platform="android",
        device_model=_first(properties, "ro.product.model", "ro.product.device"),
        soc=soc(properties, processors.hardware),
        abi=abi,
        os_version=f"Android {release}" if (release := properties.get("ro.build.version.release")) else "Android",
        memory_bytes=memory_bytes,
        # A CPU that is offline is missing from /proc/cpuinfo, but not from sysfs.
        cpu_count=max(processors.count, sum(len(cluster.cpus) for cluster in clusters)),
        accelerators=("cpu", *(sorted(found) if not emulator else ())),
        clusters=clusters,
        page_bytes=None if isinstance(page_bytes, Absent) else page_bytes,
        virtual=emulator or properties.get("ro.torchfarm.virtual") == "1",
        emulator=emulator,
    )


def soc(properties: Mapping[str, str], hardware: str = "") -> str:
    """The SoC's model: what selectors match (``soc=SM8550``). Android 12 and later have a property of its own."""
    return _first(
        properties,
        "ro.soc.model",
        "ro.hardware.chipname",
        "ro.chipname",
        "ro.board.platform",
        "ro.hardware",
        otherwise=hardware or "unknown",
    )


def is_emulator(properties: Mapping[str, str]) -> bool:
    return (
        "1" in (properties.get("ro.kernel.qemu"), properties.get("ro.boot.qemu"))
        or properties.get("ro.hardware") in ("ranchu", "goldfish")
        or "emulator" in properties.get("ro.build.characteristics", "").split(",")
    )


def readings(*, battery: str = "", thermal: str = "") -> DeviceReadings:
    """How the phone is. A faked battery state or thermal status is no reading."""
    power, heat = parse_battery(battery), parse_thermal(thermal)
    seen = None if isinstance(power, Absent) or power.updates_stopped else power
    return DeviceReadings(
        battery_ratio=seen.charge_ratio if seen else None,
        battery_celsius=seen.celsius if seen else None,
        powered=bool(seen.powered) if seen and seen.powered is not None else None,
        thermal_status=None if isinstance(heat, Absent) or heat.overridden else heat.status,
    )


def _first(properties: Mapping[str, str], *names: str, otherwise: str = "unknown") -> str:
    return next((value for name in names if (value := properties.get(name, "").strip())), otherwise)
