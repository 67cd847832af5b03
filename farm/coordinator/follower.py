"""Stays connected to one agent: renews its leases, starts attempts on it, takes in what it reports."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from farm.cluster.connection import AgentConnection
from farm.coordinator import events as ev
from farm.coordinator.concluder import as_record
from farm.coordinator.labelled import labelled
from farm.errors import DeviceBusyError, FarmError, InfrastructureError, InternalError
from farm.metrics.publications import of_result
from farm.store.transaction import Transaction
from farm.types import (
    AgentEvent,
    AgentInfo,
    Blob,
    CheckStep,
    Device,
    DeviceCheck,
    DeviceReadings,
    Failure,
    Job,
    Lease,
    Measurement,
    Result,
)

if TYPE_CHECKING:
    from farm.coordinator.coordinator import Coordinator

log = logging.getLogger(__name__)
T = TypeVar("T")

_EVENTS_POLL_SECONDS = 10.0
_COMMIT_POLL_SECONDS = 0.1  # while results are being worked out
_RETRY_SECONDS = 0.5
_ROOM_SECONDS = 2.0  # until the disk is asked again whether it takes a result
_LOST_AFTER_SECONDS = 15.0


class AgentFollower:
    def __init__(self, name: str, coordinator: Coordinator) -> None:
        self._name = name
        self._farm = coordinator
        self._agent: AgentConnection | None = None  # None while it does not answer
        self._revision = ""  # of its devices,
        self._seen: dict[str, Device] = {}  # which are in the store like this
        self._acknowledged = 0  # of its journal; the store hears of it with the next renewal

    async def follow(self) -> None:
        """Until cancelled. An agent that does not answer for a while is lost until it does again."""
        silent_since_seconds: float | None = None
        while True:
            try:
                agent = AgentConnection(self._name)
                info = await agent.info(self._revision)
                self._agent, silent_since_seconds, self._acknowledged = agent, None, 0
                self._see(info)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._renew(agent))
                    both.create_task(self._read_events(agent, info.journal_id))
            except* InfrastructureError as group:
                log.warning("%s", group.exceptions[0])
            self._agent = None
            silent_since_seconds = silent_since_seconds or time.monotonic()
            if time.monotonic() - silent_since_seconds > _LOST_AFTER_SECONDS:
                self._farm.turn(ev.AgentLost(self._name))
                self._revision, self._seen = "", {}
            await asyncio.sleep(_RETRY_SECONDS)

    async def start(self, lease: Lease) -> None:
        """Until the agent has it: its ``start`` is idempotent. The lease's end stops the trying."""
        while (held := self._farm.leases.get(lease.attempt_id)) is not None:
            try:
                if self._agent is not None:
                    failure = await self._agent.start(lease)
                    if failure is None:
                        return
                    if failure.code != DeviceBusyError.code:  # else something is being ended there: ask again
                        self._farm.end_attempt(held, failure)
                        return
            except InfrastructureError as error:
                log.warning("attempt %d: %s", lease.attempt_id, error)
            await asyncio.sleep(_RETRY_SECONDS)

    async def check(self, device_id: str, step: CheckStep) -> DeviceCheck:
        """Raises InfrastructureError while the agent does not answer."""
        if self._agent is None:
            raise InfrastructureError(f"Agent {self._name} does not answer.", remedy="The farm keeps trying.")
        return await self._agent.check(device_id, step)

    async def readings(self) -> dict[str, DeviceReadings]:
        """How its devices are now. Raises InfrastructureError while the agent does not answer."""
        if self._agent is None:
            raise InfrastructureError(f"Agent {self._name} does not answer.", remedy="The farm keeps trying.")
        return await self._agent.readings()

    async def reconcile_soon(self) -> None:
        """Now if the agent is there; if it is not, its next renewal does it."""
        try:
            if self._agent is not None:
                await self._reconcile(self._agent)
        except InfrastructureError as error:
            log.warning("%s", error)

    async def _reconcile(self, agent: AgentConnection) -> None:
        """Tell the agent what it should run; renew what it does run, and only that."""
        running = await agent.reconcile(self._farm.leases.held_by(self._name))
        for attempt_id in self._farm.leases.renew(running, self._name):
            log.warning("agent %s runs attempt %d without a lease: not renewed", self._name, attempt_id)

    async def _renew(self, agent: AgentConnection) -> None:
        while True:
            await self._reconcile(agent)
            await asyncio.sleep(self._farm.leases.ttl_seconds / 4)
            self._see(await agent.info(self._revision))

    def _look(self, info: AgentInfo) -> None:
        """Between renewals, which say that the agent was heard of."""
        if info.devices is not None:
            self._see(info)

    def _see(self, info: AgentInfo) -> None:
        """Write only what is new: of a thousand devices that idle, one line says that their agent was heard of."""
        devices = self._seen if info.devices is None else {device.id: device for device in info.devices}
        changed = [device for device in devices.values() if self._seen.get(device.id) != device]
        events: list[ev.Event] = [ev.DeviceLost(id) for id in sorted(self._seen.keys() - devices.keys())]
        events += [
            ev.DeviceSeen(device.id, device.agent, device.host, device.blocked, device.recovery) for device in changed
        ]

        def write(tx: Transaction) -> None:
            at = datetime.now(UTC)
            tx.hear_agent(self._name, at)
            if self._acknowledged:
                tx.trim_agent_events(self._name, info.journal_id, self._acknowledged)
            for device in changed:
                tx.upsert_device(device, at)

        self._farm.turn(*events, writing=write)
        self._revision, self._seen = info.revision, devices

    # --- what it reports ------------------------------------------------------------------------------

    async def _read_events(self, agent: AgentConnection, journal_id: str) -> None:
        """Acknowledge an event once it and all before it are committed; go on reading meanwhile."""
        seen = 0  # a journal holds what is not acknowledged yet; what was committed before is told by its number
        open_events: deque[tuple[int, asyncio.Task[None] | None]] = deque()
        while True:
            events = await agent.events(seen, _COMMIT_POLL_SECONDS if open_events else _EVENTS_POLL_SECONDS)
            if not events or any(event.failure and event.failure.fault == "infrastructure" for event in events):
                # An agent answers without an event when its devices have changed, too; and after a failure the device
                # may be gone: no next try on it.
                self._look(await agent.info(self._revision))
            if events:
                open_events += self._take(journal_id, events)
                seen = events[-1].seq
            committed = 0
            while open_events and ((task := open_events[0][1]) is None or task.done()):
                committed, _ = open_events.popleft()
            if committed:
                await agent.acknowledge(committed)
                self._acknowledged = committed

    def _take(self, journal_id: str, events: list[AgentEvent]) -> list[tuple[int, asyncio.Task[None] | None]]:
        """Commit them together, each once; their numbers. A result takes longer to work out: that task is returned
        with it, and belongs to the coordinator, so that it ends also when this agent is lost meanwhile."""
        taken: list[tuple[int, asyncio.Task[None] | None]] = []
        happened: list[ev.Event] = []
        recorded: list[AgentEvent] = []
        late: list[AgentEvent] = []
        for event in events:
            lease = self._farm.leases.get(event.attempt_id)
            task = self._farm.concluding.get(event.attempt_id)
            if task is not None:
                pass  # it was heard of before
            elif lease is None or not self._farm.state.attempt_is_current(lease.job_id, event.epoch):
                # Superseded, cancelled, or reported once more: never counted.
                log.info("late event %s of attempt %d (epoch %d)", event.kind, event.attempt_id, event.epoch)
                if event.measurement is None:
                    late.append(event)
                else:
                    task = self._conclude_later(event, self._keep_late(journal_id, event, event.measurement))
            elif event.kind == "started":
                happened.append(ev.AttemptStarted(lease.job_id, event.epoch))
                recorded.append(event)
            else:
                self._farm.leases.close(event.attempt_id)
                happened += self._device_news(self._farm.state.jobs[lease.job_id].device_id, event)
                if event.measurement is None:
                    happened.append(ev.AttemptEnded(lease.job_id, event.epoch, event.failure))
                    recorded.append(event)
                else:  # the device goes on with its next job meanwhile
                    happened.append(ev.DeviceReleased(lease.job_id, event.epoch))
                    work = self._take_result(lease.job_id, journal_id, event, event.measurement)
                    task = self._conclude_later(event, work)
            taken.append((event.seq, task))

        def write(tx: Transaction) -> None:
            for event in recorded:
                self._record(tx, journal_id, event)
            for event in late:
                tx.record_agent_event(self._name, journal_id, event.seq)

        if happened or late:
            self._farm.turn(*happened, writing=write)
        return taken

    def _conclude_later(self, event: AgentEvent, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._farm.spawn(work)
        self._farm.concluding[event.attempt_id] = task
        task.add_done_callback(lambda _: self._farm.concluding.pop(event.attempt_id))
        return task

    def _device_news(self, device_id: str, event: AgentEvent) -> list[ev.Event]:
        """To be known before the device's next job."""
        news: list[ev.Event] = []
        if event.device_failure:
            news.append(ev.DeviceFailed(device_id, event.device_failure))
        if event.blocked and (device := self._seen.get(device_id)):
            news.append(ev.DeviceBlocked(device_id, event.blocked))
            # Asked anew about all of its devices, the agent says also of this one when that is over.
            self._seen[device_id] = device.model_copy(update={"blocked": event.blocked})
            self._revision = ""
        return news

    async def _take_result(self, job_id: int, journal_id: str, event: AgentEvent, measurement: Measurement) -> None:
        try:
            job, model_name, result, samples, kept = await self._with_room(lambda: self._conclude(job_id, measurement))
        except FarmError as error:  # nothing can be concluded from it
            failed = event.model_copy(update={"failure": Failure.of(error)})

            def write_failure(tx: Transaction) -> None:
                self._record(tx, journal_id, failed)
                tx.note_loose(measurement.evaluation_outputs)

            await self._farm.shared_turn(ev.AttemptEnded(job_id, event.epoch, failed.failure), writing=write_failure)
            return

        counted: list[Result] = []

        def write(tx: Transaction) -> None:
            if self._farm.state.attempt_is_current(job_id, event.epoch):
                self._record(tx, journal_id, event, kept)
                if tx.add_result(result, samples):
                    counted.append(result)
                if counted and self._farm.publishing and not job.in_turns:
                    tx.publish(of_result(job, tx.device(job.device_id), model_name, result), datetime.now(UTC))
                if result.evaluation:
                    return
            elif tx.record_agent_event(self._name, journal_id, event.seq):  # cancelled meanwhile
                tx.end_attempt(event.attempt_id, "cancelled", event.at, measurement=kept)
            tx.note_loose(measurement.evaluation_outputs)

        await self._farm.shared_turn(ev.AttemptEnded(job_id, event.epoch), writing=write)
        for one in counted:
            self._farm.monitor.result(job_id, one.verdict.level)

    async def _keep_late(self, journal_id: str, event: AgentEvent, measurement: Measurement) -> None:
        kept = as_record(measurement)
        blob = await self._with_room(lambda: self._put_record(measurement.job_id, kept))

        def write(tx: Transaction) -> None:
            if tx.record_agent_event(self._name, journal_id, event.seq):
                tx.supersede_attempt(event.attempt_id, blob)
                tx.note_loose(measurement.evaluation_outputs)

        await self._farm.shared_turn(writing=write)

    async def _with_room(self, work: Callable[[], Coroutine[None, None, T]]) -> T:
        """What ``work`` gives; again while the infrastructure (a full disk) does not let it. The agent keeps the result
        until it is committed."""
        while True:
            try:
                return await work()
            except InfrastructureError as error:
                log.warning("a result waits: %s", error)
                await asyncio.sleep(_ROOM_SECONDS)

    def _record(self, tx: Transaction, journal_id: str, event: AgentEvent, measurement: Blob | None = None) -> None:
        if not tx.record_agent_event(self._name, journal_id, event.seq):
            return
        if event.kind == "started":
            tx.start_attempt(event.attempt_id, event.at)
        else:
            tx.end_attempt(
                event.attempt_id, "failed" if event.failure else "finished", event.at, event.failure, measurement
            )

    async def _conclude(self, job_id: int, measurement: Measurement) -> tuple[Job, str, Result, Blob, Blob]:
        with self._farm.store.reading() as reading:
            parts = reading.conclusion_parts(job_id)
            os_version = reading.device(parts.job.device_id).facts.os_version
        if parts.artifact is None:
            raise InternalError(f"Job {job_id} has measured what was never built.", remedy="Report this bug.")
        result, samples, record = await self._farm.concluder.conclude(
            parts.job,
            parts.artifact,
            measurement,
            parts.run.protocol,
            labelled(parts, measurement, self._farm.settings.resolved_store_url),
            parts.model,
        )
        result = result.model_copy(update={"os_version": os_version})
        stored = await self._put(samples, f"samples-{job_id}.parquet")
        return parts.job, parts.model.name, result, stored, await self._put_record(job_id, record)

    async def _put_record(self, job_id: int, record: bytes) -> Blob:
        return await self._put(record, f"measurement-{job_id}.json")

    async def _put(self, content: bytes, name: str) -> Blob:
        return await asyncio.to_thread(self._farm.artifacts.put, [content], name)
