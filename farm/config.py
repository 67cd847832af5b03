"""One typed settings object: defaults < farm.toml < environment (``FARM_*``) < flags."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from farm.errors import ConfigError
from farm.types.base import Name
from farm.types.channels import ChannelSetting

# The head waits no longer than both together for a health check: an agent cannot be told to take more.
MAX_CHECK_SECONDS = 300.0
MAX_RECOVERY_SECONDS = 600.0

PhoneState = Literal["stay-awake", "dim", "no-doze", "fixed-performance", "airplane"]
Command = Annotated[tuple[str, ...], Field(min_length=1)]
ModelUrl = Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://[^/@?#\s]+(/[^?#\s]*)?$")]


class NativeToolFile(BaseModel):
    """A file of a native tool: where it comes from (a path, or an http(s) URL) and what it must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class NativeTool(BaseModel):
    """A native tool for devices of one ABI (docs/native-tools.md). ``accelerators``: the arguments that choose each;
    ``libraries``: shared objects that are put beside the binary, under their sources' names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    abi: str
    binary: NativeToolFile
    accelerators: dict[Literal["cpu", "gpu", "npu"], tuple[str, ...]] = {"cpu": ()}
    libraries: tuple[NativeToolFile, ...] = ()


def default_toolchains_dir() -> Path:
    """Of the user on this machine: what is in it can always be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "torchfarm" / "toolchains"


def _default_phone_runtime_dir() -> Path:
    return default_toolchains_dir().with_name("phone-runtime")


def _default_state_dir() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "torchfarm"


class Avd(BaseModel):
    """An Android virtual device of this machine's SDK; ``snapshot``: what it starts from, and goes back to after every
    run. Without one it starts cold and is wiped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    snapshot: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


class PowerMeterSetting(BaseModel):
    """An external meter that feeds a phone: ``kind`` is its entry point's name, ``serial`` tells it from others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    serial: str | None = None
    volts: float | None = Field(default=None, gt=0, le=20)  # what a meter that is also the supply is to give


class Settings(BaseSettings):
    """Settings of client, head and agent. ``farm.toml`` is looked for in the working directory, then in
    ``~/.config/torchfarm``; ``FARM_CONFIG`` names another file."""

    model_config = SettingsConfigDict(env_prefix="FARM_", extra="forbid", hide_input_in_errors=True)

    # client
    url: str = "http://127.0.0.1:7070"
    token: SecretStr | None = None
    timeout_seconds: float = Field(default=30.0, gt=0)

    # every machine that builds or measures
    toolchains_dir: Path = Field(default_factory=default_toolchains_dir)
    toolchains_bytes: int = Field(default=10 * 2**30, gt=0)  # more than that: the longest unused ones go

    phone_runtime_dir: Path = Field(default_factory=_default_phone_runtime_dir)  # docs/phone-runtime.md

    # head
    host: str = "127.0.0.1"
    port: int = Field(default=7070, ge=0, le=65535)
    state_dir: Path = Field(default_factory=_default_state_dir)
    database_url: str | None = None  # default: SQLite in state_dir
    store_url: str | None = None  # default: a folder in state_dir
    max_upload_bytes: int = Field(default=4 * 2**30, gt=0)
    max_evaluation_bytes: int = Field(default=256 * 2**20, gt=0)  # outputs of one job on a labelled set
    build_timeout_seconds: float = Field(default=900.0, gt=0)
    distill_timeout_seconds: float = Field(default=6 * 3600.0, gt=0)  # in place of the former, of builds that train
    build_memory_bytes: int = Field(default=8 * 2**30, gt=0)
    # Code of users that harnesses run as the agent: docs/custom-operators.md. On the head, and on agents' machines.
    allow_custom_operators: bool = False
    build_start_timeout_seconds: float = Field(default=600.0, gt=0)  # while no node of the cluster can do it
    build_slots: int = Field(default_factory=lambda: max(1, os.cpu_count() or 1), ge=0)  # on the head
    max_builds: int | None = Field(default=None, ge=1)  # at a time; default: as many as the cluster has slots
    lease_ttl_seconds: float = Field(default=30.0, gt=0)
    health_recheck_seconds: float = Field(default=600.0, gt=0)  # of a quarantined device
    retention_days: float | None = Field(default=None, gt=0)  # of runs that ended; default: for ever
    samples_days: float | None = Field(default=None, gt=0)  # of all raw samples; then some are kept (docs/retention.md)
    history_days: float | None = Field(default=None, gt=0)  # of the line per result that outlives its run
    # Prometheus (docs/metrics.md); without the URL, nothing is kept for it
    remote_write_url: str | None = None  # e.g. http://prometheus:9090/api/v1/write
    remote_write_headers: dict[str, str] = {}  # e.g. {"X-Scope-OrgID": "phones"}; also of queries
    remote_write_token_file: Path | None = None  # a bearer token, read anew each time; also for queries
    prometheus_url: str | None = None  # to ask every night whether it has all results, e.g. http://prometheus:9090
    # Grafana, for `farm dashboards` (docs/dashboards.md)
    grafana_url: str | None = None  # e.g. http://grafana:3000
    grafana_token_file: Path | None = None  # of a service account
    # What sweeps may take models from (docs/model-sources.md): without these, from the farm's own models only.
    sweep_model_dirs: tuple[Path, ...] = ()  # of this machine: files and Git repositories below them
    sweep_model_urls: tuple[ModelUrl, ...] = ()  # e.g. "s3://models", "https://git.example.org/vision"
    allow_sweep_commands: bool = False  # of Git repositories, which export models: code of who may push to them
    sweep_fetch_timeout_seconds: float = Field(default=1800.0, gt=0)
    # Who is told what the nights found (docs/notifications.md)
    channels: dict[Name, ChannelSetting] = {}
    # Of this farm, as people reach it, for links in what they are told.
    public_url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    # quotas; None: no limit
    devices_per_user: int | None = Field(default=None, ge=1)  # leased at a time, and reserved at a time
    jobs_per_user: int | None = Field(default=None, ge=1)  # that have not ended
    reservation_max_seconds: float = Field(default=8 * 3600.0, gt=0)

    # Ray
    ray_address: str | None = None  # default: an embedded local cluster
    ray_host: str = "127.0.0.1"
    ray_gcs_storage: Literal["memory", "rocksdb"] = "memory"  # of the embedded cluster: docs/adr/0004

    # agent
    agent_name: str = "local"
    agent_cache_bytes: int = Field(default=20 * 2**30, gt=0)
    agent_host_device: bool = True  # offer this machine's CPU
    agent_build_slots: int = Field(default=0, ge=0)  # builds at a time on a joined machine
    agent_android: bool = True  # offer the phones that adb servers have
    agent_adb_servers: tuple[str, ...] = ("127.0.0.1:5037",)  # HOST:PORT; one on this machine is started
    agent_tools: tuple[NativeTool, ...] = ()  # and those that `farm tools add` has registered in state_dir
    agent_avds: tuple[Avd, ...] = ()  # emulators to run: docs/emulators.md
    agent_power_meters: dict[str, PowerMeterSetting] = {}
    agent_phone_cache_bytes: int = Field(default=2 * 2**30, gt=0)  # of a phone's storage, for models and inputs
    agent_phone_state: tuple[PhoneState, ...] = ("stay-awake", "no-doze", "dim")  # set for a measurement, put back
    # A phone that is hotter, emptier or more throttled (Android's thermal status) starts nothing.
    agent_phone_max_start_celsius: float = 35.0
    agent_phone_min_battery_ratio: float = Field(default=0.15, ge=0, le=1)
    agent_phone_max_start_thermal_status: int = Field(default=0, ge=0, le=6)
    agent_virtual_devices: int = Field(default=0, ge=0, le=100_000)
    agent_virtual_profile: Path | None = None  # default: agents/virtual/lab.yaml
    agent_hook_pre_lease: Command | None = None  # commands as lists, run without a shell
    agent_hook_post_lease: Command | None = None
    agent_hook_power_cycle: Command | None = None
    agent_hook_timeout_seconds: float = Field(default=60.0, gt=0)
    agent_check_timeout_seconds: float = Field(default=60.0, gt=0, le=MAX_CHECK_SECONDS)
    agent_recovery_timeout_seconds: float = Field(default=180.0, gt=0, le=MAX_RECOVERY_SECONDS)

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.state_dir / 'farm.db'}"

    @field_validator("sweep_model_dirs")
    @classmethod
    def _absolute(cls, folders: tuple[Path, ...]) -> tuple[Path, ...]:
        if relative := [folder for folder in folders if not folder.is_absolute()]:
            raise ValueError(f"{relative[0]} is no absolute path")
        return folders

    @property
    def resolved_store_url(self) -> str:
        return self.store_url or (self.state_dir / "store").resolve().as_uri()

    def as_environment(self) -> dict[str, str]:
        """These settings as ``FARM_*`` variables for a child process; never the token."""
        values = self.model_dump(mode="json", exclude_none=True, exclude={"token"})
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
        return {f"FARM_{name.upper()}": text for name, text in texts.items()}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=config_file())


def config_file() -> Path | None:
    """The ``farm.toml`` in force, if there is one."""
    named = os.environ.get("FARM_CONFIG")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"FARM_CONFIG names {named}, which is no file.", remedy="Correct or unset FARM_CONFIG.")
        return Path(named)
    for folder in (Path.cwd(), Path.home() / ".config" / "torchfarm"):
        if (folder / "farm.toml").is_file():
            return folder / "farm.toml"
    return None


def load(**flags: Any) -> Settings:
    """Settings in force; flags that are None do not count.

    Raises ConfigError naming the key, the value's source and what is wrong with it.
    """
    try:
        return Settings(**{key: value for key, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"Setting {key!r} cannot be used: {first['msg']}.",
            remedy=f"Correct it in farm.toml, in FARM_{key.upper()} or in the flag.",
        ) from error
