"""``farm agent``: this machine's devices join the farm of a head on another machine."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from importlib.metadata import version

from farm.client import Client
from farm.cluster import node
from farm.config import Settings
from farm.errors import AuthError, ConfigError, ConflictError, InfrastructureError
from farm.recipes import presets
from farm.recipes.runtimes import BUILDERS
from farm.recipes.specification import installed
from farm.supervisor.child import Child
from farm.supervisor.ground import state_folder, stop_signals
from farm.types import ClusterJoin

_POLL_SECONDS = 0.5
_LOOK_SECONDS = 5.0  # between looks whether the head's cluster is still the one that was joined
_ASK_SECONDS = 5.0


def agent(settings: Settings, head_url: str, announce: Callable[[str], None]) -> int:
    """Run until SIGINT or SIGTERM; rejoin when the head was restarted.

    Raises AuthError, ConfigError, ConflictError (another Ray or Python version than the head's), InfrastructureError.
    """
    settings = settings.model_copy(update={"url": head_url.rstrip("/")})
    with state_folder(settings.state_dir, f"agent-{settings.agent_name}") as folder, stop_signals() as stopping:
        settings = settings.model_copy(update={"state_dir": folder})
        join = _ask(settings)
        settings = _as_builder(settings, join, announce)
        ray = _ray_node(settings, join)
        try:
            ray.start()
            announce(f"Agent {settings.agent_name} joins {settings.url}. Ctrl-C stops it.")
            look_seconds = time.monotonic() + _LOOK_SECONDS
            while not stopping():
                time.sleep(_POLL_SECONDS)
                if ray.running and time.monotonic() < look_seconds:
                    continue
                look_seconds = time.monotonic() + _LOOK_SECONDS
                try:
                    current = _ask(settings)
                except InfrastructureError:  # the head is away: it is asked again
                    continue
                if current != join:
                    # Its node would find out by itself, but only after most of a minute.
                    ray.kill()
                    join, ray = current, _ray_node(settings, current)
                ray.keep_running()
        finally:
            ray.stop()
    return 0


def _ask(settings: Settings) -> ClusterJoin:
    """How to join. Raises AuthError, ConflictError, InfrastructureError."""
    if settings.token is None:
        raise AuthError("This agent has no token.", remedy="On the head: `farm token create NAME --role agent`.")
    with Client(settings.url, token=settings.token.get_secret_value(), timeout_seconds=_ASK_SECONDS) as client:
        join = client.cluster()
    for what, theirs, ours in (
        ("Ray", join.ray_version, version("ray")),
        ("Python", join.python_version, platform.python_version()),
    ):
        if theirs != ours:
            raise ConflictError(
                f"The head runs {what} {theirs}, this machine {ours}.", remedy=f"Install {what} {theirs} here."
            )
    return join


def _as_builder(settings: Settings, join: ClusterJoin, announce: Callable[[str], None]) -> Settings:
    """The settings of a machine that builds, where it is to. Raises ConfigError, ConflictError."""
    if not settings.agent_build_slots:
        return settings
    from farm.store.artifacts import ArtifactStore

    if ArtifactStore.id_at(join.store_url) != join.store_id:
        raise ConfigError(
            f"This machine cannot build: it does not see the farm's artifact store at {join.store_url}.",
            remedy="Mount that folder here at the same path (e.g. by NFS), or start the head with a store_url that"
            " both reach (e.g. s3://bucket/farm), or leave out --build-slots.",
        )
    runtimes = _runtimes_as_on_head(join)
    if not runtimes:
        raise ConflictError(
            "This machine cannot build: it has the head's version of no runtime's tools.",
            remedy="Install here what the head has: "
            + ", ".join(f"{tool} {version}" for tool, version in sorted(join.tool_versions.items())),
        )
    announce(f"It builds for {', '.join(sorted(runtimes))}; its own CPU is no device, because builds disturb it.")
    return settings.model_copy(update={"agent_host_device": False})


def _runtimes_as_on_head(join: ClusterJoin) -> set[str]:
    """What is installed here in the versions that the head knows its artifacts by."""
    return {
        runtime
        for runtime in presets.buildable_runtimes()
        if installed(BUILDERS[runtime].TOOLS).items() <= join.tool_versions.items()
    }


def _ray_node(settings: Settings, join: ClusterJoin) -> Child:
    environment = settings.as_environment() | node.environment(settings, join.ray_token)
    if settings.token:
        environment["FARM_TOKEN"] = settings.token.get_secret_value()
    command = node.agent_command(settings, join.ray_address, _runtimes_as_on_head(join))
    return Child(f"ray-agent-{settings.agent_name}", command, environment, settings.state_dir / "logs")
