"""The coordinator's line to the Ray cluster: agents (actors) and builds (tasks). No Ray retries anywhere:
Ray runs a retried task twice without a word, so the coordinator alone decides what is tried again."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar

import ray
from pydantic import TypeAdapter
from ray.exceptions import RayError, TaskCancelledError, WorkerCrashedError

from agents.actor import AgentActor
from farm.cluster import labels
from farm.cluster.node import check_reachable
from farm.config import MAX_CHECK_SECONDS, MAX_RECOVERY_SECONDS
from farm.errors import FarmError, InfrastructureError, NoBuilderError
from farm.recipes.build import run_build
from farm.types import (
    AgentEvent,
    AgentInfo,
    Artifact,
    Blob,
    BuildRequest,
    CheckStep,
    DeviceCheck,
    DeviceReadings,
    Failure,
    Lease,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

_CALL_TIMEOUT_SECONDS = 10.0
_CHECK_TIMEOUT_SECONDS = MAX_RECOVERY_SECONDS + MAX_CHECK_SECONDS + _CALL_TIMEOUT_SECONDS
_CALLS_AT_ONCE = 100  # which an agent takes; those that are checks must leave room for the others
_CHECKS_AT_ONCE = 50
_BUILD_GRACE_SECONDS = 60.0  # beyond the build's own time-out, for its transfers
_READINGS = TypeAdapter(dict[str, DeviceReadings])
_LOOK_SECONDS = 2.0  # between looks for a node, while a build waits for one


class BuildFailed(Exception):
    """A build ended without an artifact."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class AgentConnection:
    """One agent. Every call raises InfrastructureError when it does not answer in time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._checking = asyncio.Semaphore(_CHECKS_AT_ONCE)
        actor = ray.remote(AgentActor)
        self._actor: Any = actor.options(
            name=f"agent-{name}",
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_task_retries=0,
            num_cpus=0,
            max_concurrency=_CALLS_AT_ONCE,
            label_selector=labels.of_agent(name),
        ).remote()

    async def info(self, known_revision: str = "") -> AgentInfo:
        """Without its devices where they are still those of ``known_revision``."""
        return AgentInfo.model_validate_json(await self._call(self._actor.info.remote(known_revision)))

    async def start(self, lease: Lease) -> Failure | None:
        failure = await self._call(self._actor.start.remote(lease.model_dump_json()))
        return Failure.model_validate_json(failure) if failure else None

    async def reconcile(self, held: dict[int, float]) -> list[int]:
        answer: list[int] = await self._call(self._actor.reconcile.remote(json.dumps(held)))
        return answer

    async def events(self, after_seq: int, timeout_seconds: float) -> list[AgentEvent]:
        call = self._actor.events.remote(after_seq, timeout_seconds)
        texts = await self._call(call, timeout_seconds + _CALL_TIMEOUT_SECONDS)
        return [AgentEvent.model_validate_json(text) for text in texts]

    async def readings(self) -> dict[str, DeviceReadings]:
        """How its devices are now, by id: of those that show something."""
        return _READINGS.validate_json(await self._call(self._actor.readings.remote()))

    async def acknowledge(self, seq: int) -> None:
        await self._call(self._actor.acknowledge.remote(seq))

    async def check(self, device_id: str, step: CheckStep) -> DeviceCheck:
        """Take the step, then check the device. Minutes; a repeated call joins the one that is running."""
        async with self._checking:
            text = await self._call(self._actor.check.remote(device_id, step), _CHECK_TIMEOUT_SECONDS)
        return DeviceCheck.model_validate_json(text)

    async def _call(self, reference: Awaitable[T], timeout_seconds: float = _CALL_TIMEOUT_SECONDS) -> T:
        try:
            return await asyncio.wait_for(reference, timeout_seconds)
        except (RayError, TimeoutError) as error:
            raise InfrastructureError(
                f"Agent {self.name} does not answer ({type(error).__name__}: {str(error)[:300]}).",
                remedy="The farm keeps trying; see the agent's log.",
            ) from error


class Cluster:
    """A driver of the cluster at ``address``. Raises ConfigError when nobody listens there."""

    def __init__(self, address: str) -> None:
        check_reachable(address)
        ray.init(address=address, namespace="torchfarm", log_to_driver=False, logging_level=logging.WARNING)

    def close(self) -> None:
        ray.shutdown()

    def agent_names(self) -> set[str]:
        """Agents whose node is alive, by its label: node ids change at every rejoin. Raises InfrastructureError."""
        return labels.agent_names(self._nodes())

    def build_slots(self) -> int:
        """How many builds the cluster takes at a time now. Raises InfrastructureError."""
        return labels.build_slots(self._nodes())

    def buildable_runtimes(self) -> set[str]:
        """What some node that is alive can build for. Raises InfrastructureError."""
        return labels.buildable_runtimes(self._nodes())

    def _nodes(self) -> list[dict[str, Any]]:
        """Raises InfrastructureError while the cluster is away."""
        try:
            nodes: list[dict[str, Any]] = ray.nodes()
        except (RayError, OSError) as error:
            raise InfrastructureError(
                f"The Ray cluster does not answer: {error}.", remedy="The coordinator reconnects by itself."
            ) from error
        return nodes

    async def build(self, request: BuildRequest, start_timeout_seconds: float) -> Artifact:
        """Build in a Ray task on a node that has the recipe's tools. Raises BuildFailed.

        ``start_timeout_seconds``: how long it is waited for such a node. The task is in Ray's queue meanwhile,
        because that demand is what makes an autoscaler start one.
        """
        task = ray.remote(_build).options(num_cpus=1, max_retries=0, **labels.placement(request.recipe))
        answers = task.remote(request.model_dump_json())
        try:
            while not await self._started(answers, request.recipe.runtime, start_timeout_seconds):
                # Busy nodes, or one whose link was cut when it took the task, of which Ray says nothing.
                ray.cancel(answers, force=True)
                answers = task.remote(request.model_dump_json())
            limit_seconds = request.timeout_seconds + _BUILD_GRACE_SECONDS
            artifact, failure = await asyncio.wait_for(_next(answers), limit_seconds)
        except TimeoutError:
            ray.cancel(answers, force=True)
            raise BuildFailed(_worker_failure("did not answer in time and was killed")) from None
        except InfrastructureError as error:
            ray.cancel(answers, force=True)
            raise BuildFailed(Failure.of(error)) from error
        except (WorkerCrashedError, TaskCancelledError) as error:
            raise BuildFailed(_worker_failure("was killed")) from error
        except RayError as error:
            raise BuildFailed(_worker_failure(f"failed: {str(error)[:500]}")) from error
        if failure:
            raise BuildFailed(Failure.model_validate_json(failure))
        return Artifact.model_validate_json(artifact)

    async def _started(self, answers: Any, runtime: str, timeout_seconds: float) -> bool:
        """Whether a node runs it within this time. Raises InfrastructureError when for so long no node could."""
        start = asyncio.ensure_future(_next(answers))
        asked_seconds = last_node_seconds = time.monotonic()
        try:
            while not (await asyncio.wait({start}, timeout=_LOOK_SECONDS))[0]:
                known = await asyncio.to_thread(self.buildable_runtimes)
                now = time.monotonic()
                if runtime in known:
                    last_node_seconds = now
                if now - last_node_seconds > timeout_seconds:
                    raise _no_builder(runtime, known, timeout_seconds)
                if now - asked_seconds > timeout_seconds and runtime in known:
                    return False
            await start
            return True
        finally:
            start.cancel()


def _build(request: str) -> Iterator[tuple[str, str]]:
    """Runs in a Ray worker. First that it runs, then (artifact, "") or ("", failure), as JSON."""
    yield "", ""
    try:
        yield run_build(BuildRequest.model_validate_json(request)).model_dump_json(), ""
    except FarmError as error:
        details = error.details
        kept = Blob.model_validate(details["log"]) if "log" in details else None
        yield "", Failure.of(error, log_tail=str(details.get("log_tail", "")), log=kept).model_dump_json()


async def _next(answers: Any) -> tuple[str, str]:
    answer: tuple[str, str] = await (await anext(answers))
    return answer


def _no_builder(runtime: str, known: set[str], seconds: float) -> NoBuilderError:
    wanted = ", ".join(f"{key}={value}" for key, value in labels.selector_for(runtime).items())
    return NoBuilderError(
        f"No node of the cluster can build {runtime}: for {seconds:g} s none was labelled {wanted}"
        f" (nodes build {', '.join(sorted(known)) or 'nothing'}).",
        remedy="Install its tools on a machine that builds (`farm agent --build-slots`), or raise"
        " build_start_timeout_seconds if one is being started.",
    )


def _worker_failure(what: str) -> Failure:
    return Failure.of(InfrastructureError(f"The build's Ray worker {what}.", remedy="The build is tried again."))
