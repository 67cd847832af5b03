"""Command lines and environment of the Ray nodes that the farm starts itself (design: light nodes, token
authentication, own temp folder, never ``ray stop``)."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import sys
import tempfile
from pathlib import Path

from farm.config import Settings
from farm.errors import ConfigError

AGENT_LABEL = "farm.io/agent"
BUILD_LABEL = "farm.io/build"
_OBJECT_STORE_BYTES = 80_000_000  # artifacts travel through the artifact store, not through Ray's


def environment(settings: Settings, token: str) -> dict[str, str]:
    """For every process that uses this Ray cluster. Loopback only unless ``ray_host`` says otherwise."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        # Ray replaces 127.0.0.1 by an outside address where it believes in multi-node clusters.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if is_loopback(settings) else "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_worker_prestart": "0",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": "5",
    }


def is_loopback(settings: Settings) -> bool:
    """Whether nobody on another machine can reach this cluster."""
    return settings.ray_host == "127.0.0.1"


def cluster_token(settings: Settings) -> str:
    """The Ray cluster's shared secret: made once, kept in the state folder, readable by its owner only.

    It gives full code execution on every node, so users of the farm never get it.
    """
    path = settings.state_dir / "ray-token"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    return path.read_text().strip()


def temporary_folder(settings: Settings) -> Path:
    """A short path of our own: Ray puts Unix sockets into it, whose paths end at 107 characters."""
    digest = hashlib.sha256(str(settings.state_dir.resolve()).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"farm-ray-{os.getuid()}-{digest}"


def head_command(settings: Settings) -> list[str]:
    return [
        *_ray_start(settings.build_slots, {AGENT_LABEL: settings.agent_name, BUILD_LABEL: "true"}),
        "--head",
        "--port=0",
        f"--node-ip-address={settings.ray_host}",
        f"--temp-dir={temporary_folder(settings)}",
        "--include-dashboard=false",
    ]


def agent_command(settings: Settings, ray_address: str) -> list[str]:
    """A node that joins a cluster with this machine's devices; it takes no builds."""
    return [
        *_ray_start(0, {AGENT_LABEL: settings.agent_name}),
        f"--address={ray_address}",
        f"--node-ip-address={settings.ray_host}",
    ]


def head_address(settings: Settings) -> str | None:
    """Where the head node that ``head_command`` started listens, once it does."""
    path = temporary_folder(settings) / "ray_current_cluster"
    return path.read_text().strip() if path.exists() else None


def check_reachable(address: str, timeout_seconds: float = 3.0) -> None:
    """Probe before Ray does: ``ray.init`` on a dead address hangs for minutes. Raises ConfigError."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=timeout_seconds).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"No Ray cluster answers at {address}: {error}.",
            remedy="Check ray_address, or leave it out for an embedded cluster.",
        ) from error


def _ray_start(cpus: int, labels: dict[str, str]) -> list[str]:
    return [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--block",
        "--disable-usage-stats",
        "--include-log-monitor=false",
        f"--num-cpus={cpus}",
        f"--object-store-memory={_OBJECT_STORE_BYTES}",
        "--labels=" + ",".join(f"{key}={value}" for key, value in labels.items()),
    ]
