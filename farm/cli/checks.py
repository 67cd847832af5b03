"""What ``farm doctor`` looks at. Each check is a line: what was found, and what to do about it.

Nothing heavy is imported: what is installed is read from package metadata.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import farm
from farm.client import Client
from farm.config import Settings, config_file
from farm.connection import is_loopback
from farm.errors import FarmError, ForbiddenError
from farm.types import Role

# Distributions by extra, as in pyproject.toml.
HEAD = (
    "alembic",
    "cramjam",
    "fastapi",
    "fsspec",
    "markdown-it-py",
    "prometheus-client",
    "psutil",
    "pyarrow",
    "ray",
    "scikit-learn",
    "scipy",
    "sqlalchemy",
    "sse-starlette",
    "uvicorn",
)
RUNTIMES = {
    "torch": ("torch",),
    "executorch": ("executorch", "torchao"),
    "onnxruntime": ("onnx", "onnxruntime", "onnxscript"),
    "litert": ("ai-edge-litert", "litert-torch"),
    "coreml": ("coremltools", "scikit-learn"),
    "openvino": ("nncf", "openvino"),
    "ncnn": ("ncnn", "pnnx"),
    "mnn": ("MNN",),
}
MLFLOW = ("mlflow-skinny",)
DISK_WANTED_BYTES = 10 * 10**9  # a few dozen models with their variants
HEAD_TIMEOUT_SECONDS = 5.0
PROGRAM_TIMEOUT_SECONDS = 10.0
FREQUENCY = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
ZONES = Path("/sys/class/thermal")


@dataclass(frozen=True)
class Check:
    """``needed``: without it, what this machine is set up for does not work."""

    name: str
    status: Literal["ok", "warn", "missing"]
    found: str
    remedy: str = ""
    needed: bool = True

    @property
    def broken(self) -> bool:
        return self.needed and self.status == "missing"


def run_checks(settings: Settings) -> Iterator[Check]:
    here = is_loopback(settings.url)
    yield python()
    yield configuration()
    yield from state(settings.state_dir)
    yield from head(settings, here)
    yield packages("head and agent", "head", HEAD, needed=here)
    yield database_driver(settings)
    yield from runtimes(needed=here)
    yield prometheus()
    yield from channels(settings)
    yield git(needed=here and settings.allow_sweep_commands)
    yield packages("MLflow", "mlflow", MLFLOW, needed=False)
    yield packages("Grafana", "grafana", ("grafana-api",), needed=False)
    yield phone_runtime(settings.phone_runtime_dir)
    yield readable("CPU frequency", [FREQUENCY], "throttling goes unseen")
    yield readable("temperature", sorted(ZONES.glob("thermal_zone*/temp")), "heat goes unseen")


def python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}, torchfarm {farm.__version__}"
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Check("python", "ok", found)
    return Check("python", "missing", found, "Use Python 3.11 or 3.12.")


def configuration() -> Check:
    file = config_file()
    names = ", ".join(sorted(name for name in os.environ if name.startswith("FARM_")))
    return Check("settings", "ok", f"{file or 'no farm.toml'}; {names or 'no FARM_*'} in the environment")


def state(folder: Path) -> Iterator[Check]:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        yield Check("state folder", "ok", f"{folder} is writable")
    else:
        yield Check("state folder", "missing", f"{folder} is not writable", "Make it so, or set FARM_STATE_DIR.")
    free_bytes = shutil.disk_usage(existing).free
    enough = free_bytes >= DISK_WANTED_BYTES
    yield Check(
        "disk",
        "ok" if enough else "warn",
        f"{free_bytes / 1e9:.1f} GB free at {existing}",
        "" if enough else f"Builds want about {DISK_WANTED_BYTES / 1e9:.0f} GB: free some, or set FARM_STATE_DIR.",
    )


def head(settings: Settings, here: bool) -> Iterator[Check]:
    """The farm at ``url``: does it answer, is it of this version, does it work, does it know the token."""
    token = settings.token.get_secret_value() if settings.token else None
    with Client(settings.url, token=token, timeout_seconds=HEAD_TIMEOUT_SECONDS) as client:
        try:
            health = client.health()
        except FarmError as error:
            # On the machine of the head it is only not started yet; elsewhere nothing works without it.
            yield Check("head", "warn" if here else "missing", error.message, error.remedy)
            return
        version = health.get("version")
        same = version == farm.__version__
        yield Check(
            "head",
            "ok" if same else "warn",
            f"version {version} at {client.url}",
            "" if same else f"Install torchfarm {version} here, or {farm.__version__} there.",
        )
        working = health.get("coordinator") == "running"
        yield Check(
            "coordinator",
            "ok" if working else "warn",
            str(health.get("coordinator")),
            "" if working else "Nothing is built or measured until it is back: see logs/ in the head's state folder.",
        )
        try:
            who = client.whoami()
        except FarmError as error:
            yield Check("token", "missing", error.message, error.remedy)
            return
        yield Check("token", "ok", f"{who['name']}, role {who['role']}")
        if who["role"] in (Role.AGENT, Role.ADMIN):
            yield from cluster(client)


def cluster(client: Client) -> Iterator[Check]:
    """Can this machine join: Ray and Python must be exactly those of the head."""
    try:
        join = client.cluster()
    except ForbiddenError:
        return
    except FarmError as error:
        yield Check("cluster", "warn", error.message, error.remedy, needed=False)
        return
    ours = (version_of("ray"), platform.python_version())
    same = ours == (join.ray_version, join.python_version)
    yield Check(
        "cluster",
        "ok" if same else "missing",
        f"the head has Ray {join.ray_version} and Python {join.python_version}",
        "" if same else "`farm agent` here needs the same.",
        needed=False,
    )


def packages(name: str, extra: str, distributions: tuple[str, ...], *, needed: bool) -> Check:
    versions = {one: version_of(one) for one in distributions}
    lacking = [one for one, version in versions.items() if version is None]
    if lacking:
        remedy = f"pip install 'torchfarm[{extra}]'"
        return Check(name, "missing", f"without {', '.join(lacking)}", remedy, needed)
    return Check(name, "ok", ", ".join(f"{one} {version}" for one, version in versions.items()), needed=needed)


def database_driver(settings: Settings) -> Check:
    wanted = (settings.database_url or "").startswith("postgres")
    version = version_of("psycopg")
    if version:
        return Check("PostgreSQL driver", "ok", f"psycopg {version}", needed=wanted)
    remedy = "pip install 'torchfarm[postgres]'" + ("" if wanted else ", if the farm is to use PostgreSQL.")
    return Check("PostgreSQL driver", "missing", "without psycopg", remedy, needed=wanted)


def runtimes(needed: bool) -> Iterator[Check]:
    """One runtime is enough to measure something."""
    found = [packages(f"runtime {extra}", extra, names, needed=False) for extra, names in RUNTIMES.items()]
    yield from found
    if needed and all(check.status == "missing" for check in found):
        yield Check("runtimes", "missing", "no runtime at all", "pip install 'torchfarm[runtimes]'")


def prometheus() -> Check:
    """Only ``farm up --with-prometheus`` needs one here."""
    remedy = "For `farm up --with-prometheus`: `apt install prometheus`, or from prometheus.io."
    return program("Prometheus", "prometheus", remedy, needed=False)


def git(needed: bool) -> Check:
    """For sweeps whose models are exported from a repository (docs/model-sources.md)."""
    return program("Git", "git", "For sweeps of Git repositories: `apt install git`.", needed=needed)


def program(name: str, command: str, remedy: str, *, needed: bool) -> Check:
    found = shutil.which(command)
    if found is None:
        return Check(name, "missing", "not on PATH", remedy, needed)
    try:
        said = subprocess.run(
            [found, "--version"], capture_output=True, text=True, timeout=PROGRAM_TIMEOUT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Check(name, "warn", f"{found} does not run: {error}", "Install it anew.", needed)
    first = (said.stdout or said.stderr).partition("\n")[0]
    return Check(name, "ok", f"{first.partition(' (')[0]} at {found}", needed=needed)


def channels(settings: Settings) -> Iterator[Check]:
    """Who is told what the nights found. Nothing is sent: `farm notifications test` does."""
    for name, setting in sorted(settings.channels.items()):
        try:
            from farm.notifications.readiness import lacks

            lacking = lacks(name, setting)
        except ModuleNotFoundError as error:
            lacking = f"without {error.name}"
        if lacking:
            remedy = f"See [channels.{name}] of the head's settings and docs/notifications.md."
            yield Check(f"channel {name}", "missing", lacking, remedy, needed=False)
        else:
            found = f"{setting.kind}; `farm notifications test {name}` sends a test"
            yield Check(f"channel {name}", "ok", found, needed=False)


def phone_runtime(folder: Path) -> Check:
    """By the manifests alone: what makes and reads bundles is the agent's."""
    found = sorted((folder / "bundles").glob("*.json"), key=lambda path: path.stat().st_mtime)
    try:
        made = {bundle["abi"]: bundle["layers"] for bundle in (json.loads(path.read_bytes()) for path in found)}
        told = [f"{abi}: {', '.join(layer['name'] for layer in layers)}" for abi, layers in sorted(made.items())]
        lost = any(
            not (folder / "layers" / f"{layer['sha256']}.tar.gz").is_file()
            for layers in made.values()
            for layer in layers
        )
    except (ValueError, KeyError, TypeError):
        told, lost = ["it cannot be read"], True
    if not found or lost:
        remedy = "Phones need one: farm phone-runtime build."
        found_text = f"{'; '.join(told)}, and layers are missing" if lost else f"none in {folder}"
        return Check("phone runtime", "warn", found_text, remedy, needed=False)
    return Check("phone runtime", "ok", "; ".join(told), needed=False)


def readable(name: str, files: list[Path], without: str) -> Check:
    remedy = f"Results say that it is absent: {without}. Virtual machines usually hide it; try on the bare machine."
    for file in files:
        try:
            return Check(name, "ok", f"{int(file.read_text())} in {file}", needed=False)
        except (OSError, ValueError):
            continue
    return Check(name, "warn", "this machine does not show it", remedy, needed=False)


def version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
