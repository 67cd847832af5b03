"""What only passes between processes: events, problems, roles, and how agents and heads meet."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from farm.errors import Fault
from farm.types.base import Frozen, Name
from farm.types.devices import Device
from farm.types.failure import Failure
from farm.types.results import Measurement


class Event(Frozen):
    """One line of a run's event stream."""

    seq: int
    run_id: int
    at: datetime
    kind: Literal["build", "job", "run"]
    subject: str  # recipe name, job id, run id
    state: str
    text: str = ""


class Role(StrEnum):
    VIEWER = "viewer"
    USER = "user"
    AGENT = "agent"
    ADMIN = "admin"


class Problem(Frozen):
    """RFC 9457 problem document: how every error of the API looks."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    fault: Fault
    remedy: str
    details: dict[str, Any] = {}


class AgentInfo(Frozen):
    """What an agent says of itself. ``journal_id`` changes when its journal was lost, ``revision`` with its devices;
    ``devices`` is None when they are those of the revision that was asked about.
    """

    name: Name
    host: str
    journal_id: str
    python_version: str
    revision: str
    devices: tuple[Device, ...] | None


class AgentEvent(Frozen):
    """One line of an agent's journal: delivered at least once, committed once, then acknowledged.

    ``device_failure``: what went wrong with the device afterwards (a post-lease hook), which is not the attempt's.
    ``blocked``: why its device may not start another one yet, as in ``Device``.
    """

    seq: int
    attempt_id: int
    epoch: int
    kind: Literal["started", "measured", "failed"]
    at: datetime
    measurement: Measurement | None = None
    failure: Failure | None = None
    device_failure: Failure | None = None
    blocked: str = ""


class HeadStarted(Frozen):
    """What ``farm up`` says once it is ready. ``token``: of a new admin, on the first start on a state folder.
    ``prometheus_url``: of its own Prometheus, where it was asked for one."""

    url: str
    state_dir: str
    token: str | None = None
    prometheus_url: str | None = None


class ClusterJoin(Frozen):
    """What ``farm agent`` needs to join the Ray cluster of a head. Given to agents and admins only."""

    ray_address: str
    ray_session: str  # another one: the cluster that was joined is gone; empty where the cluster is not the head's own
    ray_token: str
    ray_version: str
    python_version: str
    tool_versions: dict[str, str]  # of the head: artifacts are known by them, so who builds has the same
    store_url: str
    store_id: str  # to be read at ``store_url`` by who sees the same store
