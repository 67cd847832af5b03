"""``farm up``: the head of a farm.

Four processes beside this one: the API answers from the store whatever happens to the others, the coordinator is the
Ray driver, ``ray start`` holds the embedded cluster with its agent (docs/adr/0001), and one keeps the sweeps going.
Where results are pushed to a Prometheus, one more does that, and the Prometheus may be another (docs/metrics.md).
This process imports neither ray nor the server.
"""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from farm.cluster import node
from farm.config import Settings
from farm.errors import ConfigError, InfrastructureError
from farm.server.tokens import issue_token
from farm.store.database import Store
from farm.supervisor import prometheus
from farm.supervisor.child import Child, end_predecessor, pid_path
from farm.supervisor.ground import free_port, state_folder, stop_signals, wait_for
from farm.types import HeadStarted, Role

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.2
_PROMETHEUS = "farm-prometheus"  # the name of its token


def up(settings: Settings, announce: Callable[[HeadStarted], None], *, with_prometheus: bool = False) -> int:
    """Run a head until SIGINT or SIGTERM. ``announce`` is called once it takes submissions. ``with_prometheus``: and a
    Prometheus beside it.

    Raises ConflictError (another head on this state folder), ConfigError (port taken, folder unusable,
    no Ray at ``ray_address``), InfrastructureError (a process does not start).
    """
    with state_folder(settings.state_dir, "head") as folder, stop_signals() as stopping:
        port = free_port(settings.host, settings.port)
        url = f"http://{settings.host}:{port}"
        settings = settings.model_copy(update={"state_dir": folder, "port": port, "url": url})
        token = _prepare_store(settings)
        own = None
        if with_prometheus:
            own, settings = _prepare_prometheus(settings)
        with _Head(settings, own).started(stopping) as head:
            shown = settings.prometheus_url if own else None
            announce(HeadStarted(url=url, state_dir=str(folder), token=token, prometheus_url=shown))
            while not stopping():
                head.keep_running(stopping)
                time.sleep(_POLL_SECONDS)
    return 0


def _prepare_store(settings: Settings) -> str | None:
    """Migrate the database; a new admin token where there is no token yet."""
    store = Store(settings.resolved_database_url)
    try:
        store.migrate()
        with store.reading() as reading:
            known = reading.tokens()
        return None if known else issue_token(store, "admin", Role.ADMIN)
    finally:
        store.close()


def _prepare_prometheus(settings: Settings) -> tuple[Child, Settings]:
    """A Prometheus that is ready to start, and the settings that push to it. Raises ConfigError."""
    if settings.remote_write_url is not None:
        raise ConfigError(
            f"Results are pushed to {settings.remote_write_url} already.",
            remedy="Leave out --with-prometheus, or unset remote_write_url.",
        )
    prometheus.find()
    logs = settings.state_dir / "logs"
    end_predecessor(pid_path("prometheus", logs))  # before the port is chosen, which it may hold
    port = _kept_port(settings.state_dir / "prometheus-port", "127.0.0.1")
    token = _new_token_for_prometheus(settings)
    config = prometheus.prepare(settings.state_dir / "prometheus", settings.url, token)
    url = f"http://127.0.0.1:{port}"
    pushing = settings.model_copy(update={"remote_write_url": f"{url}/api/v1/write", "prometheus_url": url})
    return prometheus.child(config, port, logs), pushing


def _new_token_for_prometheus(settings: Settings) -> str:
    """With which it scrapes. The one of the last start ends."""
    store = Store(settings.resolved_database_url)
    try:
        with store.transaction() as tx:
            if any(token.name == _PROMETHEUS for token in tx.tokens()):
                tx.revoke_token(_PROMETHEUS)
        return issue_token(store, _PROMETHEUS, Role.VIEWER)
    finally:
        store.close()


def _kept_port(kept: Path, host: str) -> int:
    """The one of last time where it is free: others look there until it is back."""
    try:
        port = free_port(host, int(kept.read_text()))
    except (FileNotFoundError, ValueError, ConfigError):
        port = free_port(host, 0)
        kept.write_text(str(port))
    return port


class _Head:
    def __init__(self, settings: Settings, own_prometheus: Child | None = None) -> None:
        self._settings = settings
        self._environment = settings.as_environment()
        self._driver_environment = dict(self._environment)
        logs = settings.state_dir / "logs"
        self._api = Child("api", [sys.executable, "-m", "farm.server"], self._environment, logs)
        self._coordinator = Child(
            "coordinator", [sys.executable, "-m", "farm.coordinator"], self._driver_environment, logs
        )
        sweeps = Child("sweeps", [sys.executable, "-m", "farm.sweeps"], self._environment, logs)
        self._beside = [*([own_prometheus] if own_prometheus else []), sweeps]  # what nobody waits for
        if settings.remote_write_url:
            publisher = [sys.executable, "-m", "farm.metrics"]
            self._beside.append(Child("publisher", publisher, self._environment, logs))
        self._ray: Child | None = None
        if settings.ray_address is None:
            end_predecessor(pid_path("ray", logs))  # before the port is chosen, which it may hold
            ray_environment = settings.as_environment() | node.head_environment(settings)
            self._driver_environment |= node.environment(settings, node.cluster_token(settings))
            self._ray = Child(
                "ray",
                node.head_command(settings, _kept_port(settings.state_dir / "ray-port", settings.ray_host)),
                ray_environment,
                logs,
            )

    @contextmanager
    def started(self, stopping: Callable[[], bool]) -> Iterator[_Head]:
        try:
            self._clear_ray()
            self._api.start()
            for beside in self._beside:
                beside.start()
            if self._ray:
                self._ray.start()
                self._await_ray(self._ray, stopping)
            else:
                node.check_reachable(self._settings.ray_address or "")
            self._coordinator.start()
            wait_for(self._api, self._api_answers, stopping)
            yield self
        finally:
            for child in (self._coordinator, self._ray, self._api, *reversed(self._beside)):
                if child:
                    child.stop()
            self._clear_ray()

    def keep_running(self, stopping: Callable[[], bool]) -> None:
        self._api.keep_running()
        for beside in self._beside:
            beside.keep_running()
        if self._ray and not self._ray.running:
            # A driver does not survive its cluster, and would take ten seconds to see it: the coordinator, which
            # is made to crash, starts anew with the new one.
            self._coordinator.kill()
            self._clear_ray()
            if not self._ray.keep_running():
                return
            try:
                self._await_ray(self._ray, stopping)
            except InfrastructureError as error:  # tried again, later and later; the API answers meanwhile
                log.warning("%s", error)
                self._ray.stop()
                return
        self._coordinator.keep_running()

    def _await_ray(self, ray: Child, stopping: Callable[[], bool]) -> None:
        wait_for(ray, lambda: node.head_address(self._settings) is not None, stopping)
        self._driver_environment["FARM_RAY_ADDRESS"] = node.head_address(self._settings) or ""

    def _clear_ray(self) -> None:
        """A cluster that is gone leaves its address behind, which would make the next driver hang.

        One that comes back as the same cluster finds its session's folder again.
        """
        if self._ray and not self._ray.running:
            if self._settings.ray_gcs_storage == "memory":
                shutil.rmtree(node.temporary_folder(self._settings), ignore_errors=True)
            else:
                node.head_address_file(self._settings).unlink(missing_ok=True)

    def _api_answers(self) -> bool:
        try:
            return httpx.get(f"{self._settings.url}/api/v1/health", timeout=2).is_success
        except httpx.TransportError:
            return False
