"""Which phone a virtual one looks like: a YAML file of ``profiles/`` or of one's own, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import ConfigDict, Field, ValidationError, model_validator

from farm.errors import ConfigError
from farm.types import Frozen

BUILT_IN = Path(__file__).with_name("profiles")

SysfsFile = Literal["current_now", "voltage_now", "temp", "charge_counter", "capacity", "status", "thermal_zone"]


class _Section(Frozen):
    model_config = ConfigDict(allow_inf_nan=False)


class Cluster(_Section):
    """Cores of one kind. ``core_watts`` is one busy core at the highest clock."""

    name: str
    cores: int = Field(ge=1, le=16)
    steps_khz: tuple[int, ...] = Field(min_length=1)  # rising
    core_watts: float = Field(gt=0, le=20)
    capacity: int = Field(ge=1, le=1024)  # of the kernel's scale
    part: str = Field(pattern="^0x[0-9a-f]{3}$")  # of /proc/cpuinfo
    implementer: str = Field(default="0x41", pattern="^0x[0-9a-f]{2}$")

    @property
    def max_khz(self) -> int:
        return self.steps_khz[-1]

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(low >= high for low, high in zip(self.steps_khz, self.steps_khz[1:], strict=False)):
            raise ValueError("steps_khz must rise")
        return self


class Battery(_Section):
    """``sign``: what a positive current means. ``denied``: what the shell may not read."""

    capacity_mah: float = Field(gt=0, le=50_000)
    resistance_ohms: float = Field(gt=0, le=1)
    charger_watts: float = Field(gt=0, le=300)
    unit: Literal["uA", "mA"] = "uA"
    sign: Literal["into_battery", "out_of_battery"] = "into_battery"
    counter_step_uah: int = Field(default=1, ge=1)
    dumpsys: Literal["aosp", "samsung"] = "aosp"
    denied: frozenset[SysfsFile] = frozenset()


class Thermal(_Section):
    """Capacities and conductances of the heat model, trip points, and how thermalservice prints."""

    soc_joules_per_kelvin: float = Field(default=6.0, gt=0)
    skin_joules_per_kelvin: float = Field(default=90.0, gt=0)
    battery_joules_per_kelvin: float = Field(default=60.0, gt=0)
    soc_watts_per_kelvin: float = Field(default=0.25, gt=0)
    battery_watts_per_kelvin: float = Field(default=0.4, gt=0)
    air_watts_per_kelvin: float = Field(default=0.3, gt=0)
    soc_trip_celsius: float = 75.0
    soc_limit_celsius: float = 95.0
    skin_trip_celsius: float = 39.0
    skin_limit_celsius: float = 48.0
    status_celsius: tuple[float, float, float, float, float, float] = (39.0, 42.0, 45.0, 48.0, 52.0, 56.0)
    indent: Literal["", " ", "\t"] = "\t"
    decimals: int | None = Field(default=None, ge=0, le=9)  # None: as a float prints
    zone_unit: Literal["milli", "deci", "unit"] = "milli"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.soc_limit_celsius <= self.soc_trip_celsius or self.skin_limit_celsius <= self.skin_trip_celsius:
            raise ValueError("a limit must be above its trip point")
        return self


class Rail(_Section):
    """A rail of the power monitor (ODPM). ``cluster``: whose power it carries; None: the idle power."""

    name: str
    cluster: str | None = None


class Profile(_Section):
    name: str = Field(pattern="^[a-z0-9][a-z0-9-]*$")
    properties: dict[str, str]  # of getprop; those of the ABI and of being virtual are added
    kernel: str
    memory_kib: int = Field(gt=0)
    data_gib: float = Field(gt=0, le=4096)
    idle_watts: float = Field(gt=0, le=20)
    plugged: bool = False
    charge_ratio: float = Field(default=0.8, ge=0.01, le=1)
    clusters: tuple[Cluster, ...] = Field(min_length=1)  # from the smallest cores to the largest
    battery: Battery
    thermal: Thermal = Thermal()
    rails: tuple[Rail, ...] = ()

    @property
    def emulator(self) -> bool:
        return self.properties.get("ro.kernel.qemu") == "1"

    def on(self, cpus: int) -> Profile:
        """This phone with no more cores than a machine has: each cluster keeps one as long as there are enough, the
        largest and then the smallest first, and the rest goes to clusters in proportion."""
        total = sum(cluster.cores for cluster in self.clusters)
        if cpus >= total:
            return self
        kept = [0] * len(self.clusters)
        order = [len(self.clusters) - 1, *range(len(self.clusters) - 1)]
        for index in order[:cpus]:
            kept[index] = 1
        for _ in range(cpus - sum(kept)):
            index = max(order, key=lambda place: self.clusters[place].cores / (kept[place] + 0.5))
            kept[index] += 1
        clusters = (c.model_copy(update={"cores": n}) for c, n in zip(self.clusters, kept, strict=True) if n)
        return self.model_copy(update={"clusters": tuple(clusters)})


def names() -> list[str]:
    return sorted(path.stem for path in BUILT_IN.glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """A built-in profile's name, or the path of a YAML file. Raises ConfigError."""
    path = BUILT_IN / f"{name}.yaml" if name in names() else Path(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"There is no profile {name}: {error}.", remedy=f"Choose {', '.join(names())}, or name a YAML file."
        ) from error
    except yaml.YAMLError as error:
        raise _unusable(path, f"no valid YAML: {error}") from error
    try:
        return Profile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise _unusable(path, f"{key}: {first['msg']}") from error


def _unusable(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{path}: {what}.", remedy="Correct the profile; docs/virtual-phone.md explains its keys.")
