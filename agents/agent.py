"""The process on a machine that devices are attached to: takes leases, runs them, reports through its journal.

The head is in charge, level-triggered: ``start`` and ``reconcile`` are idempotent, a lease that is not
renewed runs out here too, and the agent then ends the harness itself, so that a partition never leaves two
attempts on one device.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import shutil
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.attached import Attached
from agents.cache import ArtifactCache
from agents.delivery import Delivery
from agents.drivers import catalogue
from agents.drivers.base import Driver
from agents.fence import Fence
from agents.health import HealthChecks, refused
from agents.hooks import Hooks
from agents.journal import Journal, JournalUnwritable
from farm.config import Settings
from farm.errors import AttemptInterrupted, DeviceBusyError, DeviceError, FarmError, InfrastructureError, InternalError
from farm.types import (
    AgentEvent,
    AgentInfo,
    CheckStep,
    CustomOperators,
    DeviceCheck,
    DeviceReadings,
    Failure,
    Lease,
    Measurement,
)

log = logging.getLogger(__name__)

_LEASE_CHECK_SECONDS = 0.5


@dataclass
class _Attempt:
    lease: Lease
    driver: Driver | None  # None: never launched
    expires_at_seconds: float  # monotonic
    handle: str | None = None  # once it is launched
    task: asyncio.Task[None] | None = None
    hooked: bool = False  # it has its turn on the device with its hooks, so that the post-lease one is due
    ending: bool = False  # how it ends is settled


class Agent:
    """``clock``: monotonic seconds. Create inside a running event loop; ``close`` leaves harnesses running."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._folder = settings.state_dir / "agents" / settings.agent_name
        self._journal = Journal(self._folder / "journal.db")
        self._cache = ArtifactCache(settings, self._folder / "cache")
        self._delivery = Delivery(settings)
        self._drivers = catalogue.drivers(settings)
        self._hooks = Hooks(settings)
        self._attached = Attached(self._drivers, self._hooks.configured)
        self._health = HealthChecks(settings, self._attached, self._hooks, clock)
        self._fence = Fence()
        self._attempts: dict[int, _Attempt] = {}
        self._holders: dict[str, _Attempt] = {}  # by device; the last one where it waits for its turn
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # of attempts with hooks, by device
        # Ends that the journal did not take yet, as its ``end`` wants them, and up to where it should forget.
        self._unwritten: dict[int, tuple[Lease, Measurement | None, Failure | None, Failure | None]] = {}
        self._acknowledged_seq = 0
        self._news = asyncio.Event()
        self._watchdog = asyncio.create_task(self._keep_watch())
        self._adopt()

    async def close(self) -> None:
        tasks = [self._watchdog, *(attempt.task for attempt in self._attempts.values() if attempt.task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._health.close()
        await asyncio.gather(*(driver.close() for driver in self._drivers.values()))
        self._journal.close()

    def info(self, known_revision: str = "") -> AgentInfo:
        """``known_revision``: of the devices that the caller has; they are left out while they are the same."""
        revision = self._attached.revision
        return AgentInfo(
            name=self._settings.agent_name,
            host=socket.gethostname(),
            journal_id=self._journal.id,
            python_version=platform.python_version(),
            revision=revision,
            devices=None if revision == known_revision else self._attached.devices(),
        )

    def readings(self) -> dict[str, DeviceReadings]:
        """How the devices are now, by id: of those that show something."""
        return self._attached.readings()

    def start(self, lease: Lease) -> None:
        """Begin an attempt and return at once. A repeated call does nothing.

        It waits for the post-lease hook of the attempt before. Raises InfrastructureError when the device is not here,
        and when a newer attempt of the job was here, DeviceBusyError while another attempt or a check has it. Raises
        JournalUnwritable when it may be tried again while the lease lives.
        """
        if lease.attempt_id in self._attempts:
            return
        driver = self._attached.driver_of(lease.device_id)
        holder = self._holders.get(lease.device_id)
        if holder and not holder.ending:
            raise DeviceBusyError(
                f"{lease.device_id} still runs attempt {holder.lease.attempt_id}.", remedy="Ask again in a moment."
            )
        if self._health.is_checking(lease.device_id):
            raise DeviceBusyError(f"{lease.device_id} is being checked.", remedy="Ask again in a moment.")
        try:
            self._fence.admit(lease)
        except InfrastructureError as error:
            log.warning("refused: %s", error)
            raise
        if self._journal.begin(lease):
            attempt = _Attempt(lease, driver, self._clock() + lease.ttl_seconds)
            self._run(attempt, self._measure(attempt, driver, adopted=False))

    async def check(self, device_id: str, step: CheckStep) -> DeviceCheck:
        """Take a step of the recovery ladder, then see whether the device is fit. Nothing is raised: what is wrong is
        in the answer. A call for a device that is being checked joins that check."""
        if running := [attempt_id for attempt_id, held in self._attempts.items() if held.lease.device_id == device_id]:
            return refused(device_id, step, f"{device_id} still runs attempt {running[0]}.")
        return await self._health.check(device_id, step)

    def reconcile(self, held: dict[int, float]) -> list[int]:
        """Renew what the head still holds ({attempt id: seconds}), end what it does not; what runs now."""
        for attempt_id, attempt in list(self._attempts.items()):
            if attempt_id not in held:
                self._end(attempt, "the head withdrew its lease")
            elif self._fence.is_stale(attempt.lease):
                self._end(attempt, "a newer attempt of its job was started here")
            else:
                attempt.expires_at_seconds = self._clock() + held[attempt_id]
        return [attempt_id for attempt_id in self._attempts if attempt_id in held]

    async def events(self, after_seq: int, timeout_seconds: float) -> list[AgentEvent]:
        """Events past ``after_seq``; waits for one up to ``timeout_seconds``. None also where the devices have changed
        meanwhile: who gets none asks for ``info``."""
        self._news.clear()
        events = self._journal.events_after(after_seq)
        if not events:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), timeout_seconds)
            events = self._journal.events_after(after_seq)
        return events

    def acknowledge(self, seq: int) -> None:
        self._acknowledged_seq = max(seq, self._acknowledged_seq)
        self._forget_acknowledged()

    # --- inside ---------------------------------------------------------------------------------------

    def _folder_of(self, lease: Lease) -> Path:
        return self._folder / "attempts" / str(lease.attempt_id)

    def _adopt(self) -> None:
        """Take over what a previous process of this agent left running."""
        for lease, name, handle in self._journal.running():
            self._fence.note(lease)
            expires_at_seconds = self._clock() + lease.ttl_seconds
            if name is None or handle is None:
                attempt = _Attempt(lease, None, expires_at_seconds, ending=True)
                self._run(
                    attempt, self._wind_up(attempt, failure=_interrupted("the agent ended before it was started"))
                )
            elif name not in self._drivers:
                self._finish(lease, failure=_interrupted(f"the agent no longer has its driver {name!r}"))
            else:
                attempt = _Attempt(lease, self._drivers[name], expires_at_seconds, handle)
                self._run(attempt, self._measure(attempt, self._drivers[name], adopted=True))

    def _run(self, attempt: _Attempt, work: Coroutine[Any, Any, None]) -> None:
        self._attempts[attempt.lease.attempt_id] = self._holders[attempt.lease.device_id] = attempt
        attempt.task = asyncio.create_task(work)

    async def _measure(self, attempt: _Attempt, driver: Driver, *, adopted: bool) -> None:
        lease, folder = attempt.lease, self._folder_of(attempt.lease)
        measurement = failure = None
        try:
            await self._take_turn(attempt)
            if attempt.handle is None:
                await self._hooks.run("pre-lease", lease.device_id, lease.attempt_id)
                attempt.handle = await self._launch(lease, driver, folder)
            measurement = await driver.collect(lease, attempt.handle, folder, adopted=adopted)
            measurement = await self._delivered(lease, measurement, folder)
        except FarmError as error:
            failure = Failure.of(error, log_tail=_tail(folder / "log.txt"))
        except (OSError, JournalUnwritable) as error:
            problem = InfrastructureError(f"The agent failed: {error}.", remedy="Check its disk and its log.")
            failure = Failure.of(problem)
        except Exception as error:  # a bug must end the attempt, not leave the device leased
            log.exception("attempt %d", lease.attempt_id)
            failure = Failure.of(InternalError(f"The agent failed: {error!r}.", remedy="Report this bug."))
        attempt.ending = True
        await self._wind_up(attempt, measurement, failure)

    async def _delivered(self, lease: Lease, measurement: Measurement, folder: Path) -> Measurement:
        """With its outputs at the head, or without them and the reason. The journal hears of them only afterwards."""
        outputs = measurement.evaluation_outputs
        if outputs is None:
            return measurement
        try:
            await self._delivery.send(folder / outputs.name, outputs, lease.reference_outputs)
        except InfrastructureError as error:
            log.warning("attempt %d: %s", lease.attempt_id, error)
            absent = {**measurement.absent, "evaluation": error.message.rstrip(".")}
            return measurement.model_copy(update={"evaluation_outputs": None, "absent": absent})
        return measurement

    async def _take_turn(self, attempt: _Attempt) -> None:
        """Once the attempt before is through with its post-lease hook."""
        if self._hooks.around_attempts and not attempt.hooked:
            await self._turns[attempt.lease.device_id].acquire()
            attempt.hooked = True

    async def _wind_up(
        self,
        attempt: _Attempt,
        measurement: Measurement | None = None,
        failure: Failure | None = None,
        after: asyncio.Task[None] | None = None,
    ) -> None:
        """Clean the device with the post-lease hook, which nothing but its time-out cuts short, then report."""
        device_failure = None
        if after:
            await asyncio.wait([after])
        await self._take_turn(attempt)
        if attempt.hooked:
            try:
                await self._hooks.run("post-lease", attempt.lease.device_id, attempt.lease.attempt_id)
            except InfrastructureError as error:
                device_failure = Failure.of(error)
        self._finish(attempt.lease, measurement, failure, device_failure)

    async def _launch(self, lease: Lease, driver: Driver, folder: Path) -> str:
        blobs = [*lease.files, *lease.inputs]
        if lease.custom_operators:
            self._check_operators(lease.custom_operators)
            blobs.append(lease.custom_operators.file)
        needed = blobs if driver.needs_files else ()
        files = {blob.sha256: await self._cache.obtain(blob) for blob in needed}
        _empty(folder)
        handle = await driver.launch(lease, files, folder)
        try:
            self._journal.started(lease, driver.name, handle)
        except JournalUnwritable:
            driver.kill(handle)
            raise
        self._news.set()
        return handle

    def _check_operators(self, operators: CustomOperators) -> None:
        if not self._settings.allow_custom_operators:
            raise DeviceError(
                f"{operators.file.name} is code of a user, which this agent does not run.",
                remedy="Whoever answers for the agent's machine sets allow_custom_operators there.",
            )

    def _finish(
        self,
        lease: Lease,
        measurement: Measurement | None = None,
        failure: Failure | None = None,
        device_failure: Failure | None = None,
    ) -> None:
        """Into the journal. While that cannot be written the end is kept here and the lease goes on, and if this
        process dies too, the next one finds in the journal that the attempt has no end."""
        end = self._unwritten.setdefault(lease.attempt_id, (lease, measurement, failure, device_failure))
        try:
            self._journal.end(*end, blocked=self._attached.blocked(lease.device_id))
        except JournalUnwritable as error:
            log.warning("attempt %d: %s", lease.attempt_id, error)
            return
        del self._unwritten[lease.attempt_id]
        self._forget(lease)

    def _forget_acknowledged(self) -> None:
        if self._acknowledged_seq:
            try:
                self._journal.acknowledge(self._acknowledged_seq)
                self._acknowledged_seq = 0
            except JournalUnwritable as error:
                log.warning("%s", error)

    def _forget(self, lease: Lease) -> None:
        attempt = self._attempts.pop(lease.attempt_id, None)
        if attempt is not None and self._holders.get(lease.device_id) is attempt:
            del self._holders[lease.device_id]
        if attempt is not None and attempt.hooked:
            self._turns[lease.device_id].release()
        shutil.rmtree(self._folder_of(lease), ignore_errors=True)
        self._news.set()

    def _end(self, attempt: _Attempt, reason: str) -> None:
        if attempt.ending:
            return
        lease, work, failure = attempt.lease, attempt.task, _interrupted(reason)
        log.info("attempt %d (epoch %d of job %d) is ended: %s", lease.attempt_id, lease.epoch, lease.job_id, reason)
        attempt.ending = True
        if work:
            work.cancel()
        if attempt.handle and attempt.driver:
            attempt.driver.kill(attempt.handle)
        if attempt.hooked:
            attempt.task = asyncio.create_task(self._wind_up(attempt, failure=failure, after=work))
        else:
            self._finish(lease, failure=failure)

    async def _keep_watch(self) -> None:
        revision = self._attached.revision
        while True:
            await asyncio.sleep(_LEASE_CHECK_SECONDS)
            if self._attached.revision != revision:
                revision = self._attached.revision
                self._news.set()
            for end in list(self._unwritten.values()):
                self._finish(*end)
            self._forget_acknowledged()
            for attempt in list(self._attempts.values()):
                if attempt.expires_at_seconds < self._clock():
                    self._end(attempt, "its lease ran out because the head did not renew it")


def _interrupted(reason: str) -> Failure:
    return Failure.of(AttemptInterrupted(f"The attempt was ended: {reason}.", remedy="The job is tried again."))


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _tail(path: Path, limit_bytes: int = 4000) -> str:
    try:
        return path.read_bytes()[-limit_bytes:].decode(errors="replace")
    except OSError:
        return ""
