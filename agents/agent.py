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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agents.attached import Attached
from agents.cache import ArtifactCache
from agents.drivers import catalogue
from agents.drivers.base import Driver
from agents.journal import Journal, JournalUnwritable
from farm.config import Settings
from farm.errors import FarmError, InfrastructureError, InternalError
from farm.types import AgentEvent, AgentInfo, Failure, Lease, Measurement

log = logging.getLogger(__name__)

_LEASE_CHECK_SECONDS = 0.5


@dataclass
class _Attempt:
    lease: Lease
    driver: Driver
    expires_at_seconds: float  # monotonic
    handle: str | None = None  # once it is launched
    task: asyncio.Task[None] | None = None


class Agent:
    """``clock``: monotonic seconds. Create inside a running event loop; ``close`` leaves harnesses running."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._folder = settings.state_dir / "agents" / settings.agent_name
        self._journal = Journal(self._folder / "journal.db")
        self._cache = ArtifactCache(settings, self._folder / "cache")
        self._drivers = catalogue.drivers(settings)
        self._attached = Attached(self._drivers)
        self._attempts: dict[int, _Attempt] = {}
        self._holders: dict[str, _Attempt] = {}  # by device
        self._unwritten: dict[int, tuple[Lease, Measurement | Failure]] = {}  # ends that the journal did not take yet
        self._acknowledged_seq = 0  # 0: no more than the journal knows
        self._news = asyncio.Event()
        self._watchdog = asyncio.create_task(self._keep_watch())
        self._adopt()

    async def close(self) -> None:
        tasks = [self._watchdog, *(attempt.task for attempt in self._attempts.values() if attempt.task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
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

    def start(self, lease: Lease) -> None:
        """Begin an attempt and return at once. A repeated call does nothing.

        Raises InfrastructureError when the device is not here or is in use by another attempt, JournalUnwritable
        when it may be tried again while the lease lives.
        """
        if lease.attempt_id in self._attempts:
            return
        driver = self._attached.driver_of(lease.device_id)
        if holder := self._holders.get(lease.device_id):
            raise InfrastructureError(
                f"{lease.device_id} still runs attempt {holder.lease.attempt_id}.", remedy="The job is queued again."
            )
        if self._journal.begin(lease):
            self._run(_Attempt(lease, driver, self._clock() + lease.ttl_seconds), adopted=False)

    def reconcile(self, held: dict[int, float]) -> list[int]:
        """Renew what the head still holds ({attempt id: seconds}), end what it does not; what runs now."""
        for attempt_id, attempt in list(self._attempts.items()):
            if attempt_id in held:
                attempt.expires_at_seconds = self._clock() + held[attempt_id]
            else:
                self._end(attempt, "the head withdrew its lease")
        return list(self._attempts)

    async def events(self, after_seq: int, timeout_seconds: float) -> list[AgentEvent]:
        """Events past ``after_seq``; waits for one up to ``timeout_seconds``."""
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
            if name is None or handle is None:
                self._finish(lease, _interrupted("the agent ended before it was started"))
            elif name not in self._drivers:
                self._finish(lease, _interrupted(f"the agent no longer has its driver {name!r}"))
            else:
                expires_at_seconds = self._clock() + lease.ttl_seconds
                self._run(_Attempt(lease, self._drivers[name], expires_at_seconds, handle), adopted=True)

    def _run(self, attempt: _Attempt, *, adopted: bool) -> None:
        self._attempts[attempt.lease.attempt_id] = self._holders[attempt.lease.device_id] = attempt
        attempt.task = asyncio.create_task(self._measure(attempt, adopted=adopted))

    async def _measure(self, attempt: _Attempt, *, adopted: bool) -> None:
        lease, folder = attempt.lease, self._folder_of(attempt.lease)
        try:
            if attempt.handle is None:
                attempt.handle = await self._launch(attempt, folder)
            measurement = await attempt.driver.collect(lease, attempt.handle, folder, adopted=adopted)
        except FarmError as error:
            self._finish(lease, Failure.of(error, log_tail=_tail(folder / "log.txt")))
        except (OSError, JournalUnwritable) as error:
            if attempt.handle:
                attempt.driver.kill(attempt.handle)
            problem = InfrastructureError(f"The agent failed: {error}.", remedy="Check its disk and its log.")
            self._finish(lease, Failure.of(problem))
        except Exception as error:  # a bug must end the attempt, not leave the device leased
            log.exception("attempt %d", lease.attempt_id)
            self._finish(lease, Failure.of(InternalError(f"The agent failed: {error!r}.", remedy="Report this bug.")))
        else:
            self._finish(lease, measurement)

    async def _launch(self, attempt: _Attempt, folder: Path) -> str:
        lease = attempt.lease
        blobs = (*lease.files, lease.example_inputs, lease.parity_inputs, lease.reference_outputs)
        needed = blobs if attempt.driver.needs_files else ()
        files = {blob.sha256: await self._cache.obtain(blob) for blob in needed}
        handle = self._launch_now(attempt, files, folder)
        self._news.set()
        return handle

    def _launch_now(self, attempt: _Attempt, files: dict[str, Path], folder: Path) -> str:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        attempt.handle = attempt.driver.launch(attempt.lease, files, folder)  # noted first: it is killed if that fails
        self._journal.started(attempt.lease, attempt.driver.name, attempt.handle)
        return attempt.handle

    def _finish(self, lease: Lease, end: Measurement | Failure) -> None:
        """Into the journal. While that cannot be written the end is kept here and the lease goes on, and if this
        process dies too, the next one finds in the journal that the attempt has no end."""
        _, end = self._unwritten.setdefault(lease.attempt_id, (lease, end))
        try:
            if isinstance(end, Failure):
                self._journal.end(lease, failure=end)
            else:
                self._journal.end(lease, measurement=end)
        except JournalUnwritable as error:
            log.warning("attempt %d: %s", lease.attempt_id, error)
            return
        del self._unwritten[lease.attempt_id]
        self._release(lease)
        shutil.rmtree(self._folder_of(lease), ignore_errors=True)
        self._news.set()

    def _forget_acknowledged(self) -> None:
        if self._acknowledged_seq:
            try:
                self._journal.acknowledge(self._acknowledged_seq)
                self._acknowledged_seq = 0
            except JournalUnwritable as error:
                log.warning("%s", error)

    def _release(self, lease: Lease) -> None:
        attempt = self._attempts.pop(lease.attempt_id, None)
        if attempt is not None and self._holders.get(lease.device_id) is attempt:
            del self._holders[lease.device_id]

    def _end(self, attempt: _Attempt, reason: str) -> None:
        if attempt.task:
            attempt.task.cancel()
        if attempt.handle:
            attempt.driver.kill(attempt.handle)
        self._finish(attempt.lease, _interrupted(reason))
        self._release(attempt.lease)

    async def _keep_watch(self) -> None:
        while True:
            await asyncio.sleep(_LEASE_CHECK_SECONDS)
            for lease, end in list(self._unwritten.values()):
                self._finish(lease, end)
            self._forget_acknowledged()
            for attempt in list(self._attempts.values()):
                if attempt.expires_at_seconds < self._clock():
                    self._end(attempt, "its lease ran out because the head did not renew it")


def _interrupted(reason: str) -> Failure:
    return Failure.of(InfrastructureError(f"The attempt was ended: {reason}.", remedy="The job is tried again."))


def _tail(path: Path, limit_bytes: int = 4000) -> str:
    try:
        return path.read_bytes()[-limit_bytes:].decode(errors="replace")
    except OSError:
        return ""
