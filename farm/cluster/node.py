"""Command lines and environment of the Ray nodes that the farm starts itself (design: light nodes, token
authentication, own temp folder, never ``ray stop``)."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from farm.cluster import labels
from farm.config import Settings
from farm.errors import ConfigError
from farm.recipes import presets

_OBJECT_STORE_BYTES = 80_000_000  # artifacts travel through the artifact store, not through Ray's


def environment(settings: Settings, token: str) -> dict[str, str]:
    """For every process that uses this Ray cluster. Loopback only unless ``ray_host`` says otherwise.
    Without a token for a cluster of somebody else's that asks for none."""
    authentication = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}
    return {
        **authentication,
        # Ray replaces 127.0.0.1 by an outside address where it believes in multi-node clusters.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if is_loopback(settings) else "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_worker_prestart": "0",
        # Ray's own 15 would be the agent's and, by inheritance, every measurement's: all else would go first.
        "RAY_worker_niceness": "0",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": "5",
    }


def is_loopback(settings: Settings) -> bool:
    """Whether nobody on another machine can reach this cluster."""
    return settings.ray_host == "127.0.0.1"


def head_environment(settings: Settings) -> dict[str, str]:
    """As ``environment``, for the head of an own cluster: where its control service keeps what it knows."""
    own = environment(settings, cluster_token(settings))
    if settings.ray_gcs_storage == "rocksdb":
        own |= {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(settings.state_dir / "gcs")}
    return own


def cluster_token(settings: Settings) -> str:
    """The Ray cluster's shared secret: made once, kept in the state folder, readable by its owner only. Of somebody
    else's cluster, what ``RAY_AUTH_TOKEN`` or the file ``RAY_AUTH_TOKEN_PATH`` says; none where neither is set.

    It gives full code execution on every node, so users of the farm never get it. Raises ConfigError.
    """
    if settings.ray_address is not None:
        return _foreign_token()
    path = settings.state_dir / "ray-token"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    return path.read_text().strip()


def _foreign_token() -> str:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        return os.environ.get("RAY_AUTH_TOKEN") or (Path(path).read_text().strip() if path else "")
    except OSError as error:
        raise ConfigError(
            f"RAY_AUTH_TOKEN_PATH names {path}, which cannot be read: {error.strerror}.",
            remedy="Correct it, or set RAY_AUTH_TOKEN.",
        ) from error


def temporary_folder(settings: Settings) -> Path:
    """A short path of our own: Ray puts Unix sockets into it, whose paths end at 107 characters."""
    digest = hashlib.sha256(str(settings.state_dir.resolve()).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"farm-ray-{os.getuid()}-{digest}"


def head_command(settings: Settings, port: int) -> list[str]:
    return [
        *_ray_start(settings.build_slots, _labels(settings, settings.build_slots, presets.buildable_runtimes())),
        "--head",
        f"--port={port}",
        f"--node-ip-address={settings.ray_host}",
        f"--temp-dir={temporary_folder(settings)}",
        "--include-dashboard=false",
    ]


def agent_command(settings: Settings, ray_address: str, runtimes: Iterable[str]) -> list[str]:
    """A node that joins a cluster with this machine's devices, and builds for these runtimes if it has slots."""
    slots = settings.agent_build_slots
    return [
        *_ray_start(slots, _labels(settings, slots, runtimes)),
        f"--address={ray_address}",
        f"--node-ip-address={settings.ray_host}",
    ]


def head_address(settings: Settings) -> str | None:
    """Where the head node that ``head_command`` started listens, once it does."""
    path = head_address_file(settings)
    return path.read_text().strip() if path.exists() else None


def head_session(settings: Settings) -> str:
    """The name of the own cluster's life; empty for somebody else's."""
    link = temporary_folder(settings) / "session_latest"
    return link.resolve().name if settings.ray_address is None and link.exists() else ""


def head_address_file(settings: Settings) -> Path:
    """Written by Ray once its head node is up; a head that was killed leaves it behind."""
    return temporary_folder(settings) / "ray_current_cluster"


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


def _labels(settings: Settings, slots: int, runtimes: Iterable[str]) -> dict[str, str]:
    agent = labels.of_agent(settings.agent_name)
    return agent | labels.of_builder(runtimes, gpu=labels.has_gpu()) if slots else agent


def _ray_start(cpus: int, node_labels: dict[str, str]) -> list[str]:
    return [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--block",
        "--disable-usage-stats",
        "--include-log-monitor=false",
        f"--num-cpus={cpus}",
        f"--object-store-memory={_OBJECT_STORE_BYTES}",
        "--labels=" + ",".join(f"{key}={value}" for key, value in node_labels.items()),
    ]
