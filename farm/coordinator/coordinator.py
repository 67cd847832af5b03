"""Applies the state machine: feeds it what happened, writes its instructions to the store in one
transaction, and acts on them only after the commit.

Crash-only: everything is rebuilt from the store at start, so an error that is not an answer to one job
(the database away, a bug) ends this process and its supervisor starts a new one. Turns are synchronous
and there is one event loop, so no locks are needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from functools import partial
from random import Random

from farm.cluster.connection import BuildFailed, Cluster
from farm.config import Settings
from farm.coordinator import events as ev
from farm.coordinator import instructions as do
from farm.coordinator.caretaker import Caretaker
from farm.coordinator.concluder import Concluder
from farm.coordinator.enquiry import Enquiry
from farm.coordinator.follower import AgentFollower
from farm.coordinator.housekeeping import keep_house
from farm.coordinator.leases import Leases, OpenLease
from farm.coordinator.ledger import write_down
from farm.coordinator.nudge import Nudge
from farm.coordinator.outlook import outlook
from farm.coordinator.scrape import Scrape
from farm.coordinator.state import FarmState
from farm.coordinator.views import BuildView, JobView
from farm.errors import AttemptInterrupted, FarmError, InfrastructureError, InternalError
from farm.metrics.instruments import exposition
from farm.metrics.monitor import CoordinatorMonitor
from farm.recipes.keys import tool_versions
from farm.recipes.runtimes import BUILDERS
from farm.recipes.specification import stages, trains
from farm.store.ages import Ages
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.store.reading import Reading
from farm.store.transaction import Transaction
from farm.types import (
    Artifact,
    Blob,
    Build,
    BuildRequest,
    DeviceHealth,
    DeviceReadings,
    Failure,
    JobWait,
    Lease,
    Run,
    digest_of,
)
from farm.types.runs import batch_of
from farm.types.steps import on_device

log = logging.getLogger(__name__)

PROCESS = "coordinator"  # its name in the heartbeat table
_TICK_SECONDS = 1.0
_DISCOVERY_SECONDS = 2.0
_GATHER_SECONDS = 0.01
_BUILD_PAUSE_SECONDS = 5.0
_NO_HOST = "-"  # no machine is called that


Writing = Callable[[Transaction], object]


class TurnFailed(Exception):
    """The store did not take a turn, so memory is ahead of it: only a new coordinator can go on."""


class Coordinator:
    def __init__(self, settings: Settings, store: Store, artifacts: ArtifactStore, cluster: Cluster) -> None:
        self.settings = settings
        self.store = store
        self.artifacts = artifacts
        self.monitor = CoordinatorMonitor(BUILDERS)
        self.publishing = settings.remote_write_url is not None
        self.leases = Leases(settings.lease_ttl_seconds)
        # A head that builds nothing may measure at any time.
        build_host = socket.gethostname() if settings.build_slots else _NO_HOST
        # At least one, also without a node that builds: a build that waits is what an autoscaler starts one for.
        slots = settings.max_builds or max(1, settings.build_slots)
        self.state = FarmState(build_host, slots, settings.devices_per_user, Random())  # noqa: S311
        self.concluding: dict[int, asyncio.Task[None]] = {}  # attempts whose result is being worked out
        self.concluder = Concluder()
        self._caretaker = Caretaker(self)
        self._cluster = cluster
        self._followers: dict[str, AgentFollower] = {}
        self._newest_run = 0
        self._gathered: list[tuple[tuple[ev.Event, ...], Writing]] = []
        self._next_turn: asyncio.Task[None]
        self._going_on: asyncio.Task[None] | None = None
        self._tasks: asyncio.TaskGroup

    async def run(self) -> None:
        """Until cancelled, or until something fails that only a new start can mend."""
        state_dir = self.settings.state_dir
        async with (
            Enquiry(state_dir).serve(self._outlook),
            Scrape(state_dir).serve(self._metrics, self._readings),
            asyncio.TaskGroup() as self._tasks,
        ):
            self.concluder.start()
            self._resume()
            await self._take_submissions()  # before an agent speaks of their jobs
            self.spawn(self._watch_inbox())
            self.spawn(self._discover_agents())
            ages = Ages(self.settings.retention_days, self.settings.samples_days, self.settings.history_days)
            self.spawn(keep_house(self.store, self.artifacts, ages))

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        return self._tasks.create_task(work)

    # --- one turn -------------------------------------------------------------------------------------

    def turn(self, *events: ev.Event, writing: Writing | None = None) -> None:
        """Commit ``writing`` and what follows from the events together; act afterwards. Raises TurnFailed."""
        try:
            with self.store.transaction() as tx:
                if writing is not None:
                    writing(tx)
                instructions = [one for event in events for one in self._decide(event)]
                write_down(instructions, tx, publishing=self.publishing)
                actions = [action for one in instructions if (action := self._action(one, tx)) is not None]
        except FarmError as error:
            raise TurnFailed(str(error)) from error
        for one in instructions:
            if isinstance(one, do.SetJob):
                self.monitor.set_job(one.job_id, one.state, one.failure.fault if one.failure else None)
        for action in actions:
            self.spawn(action())
        if self.state.is_behind and (self._going_on is None or self._going_on.done()):
            self._going_on = self.spawn(self._go_on())

    def _decide(self, event: ev.Event) -> list[do.Instruction]:
        with self.monitor.deciding():
            return self.state.apply(event)

    async def _go_on(self) -> None:
        """A large run portion by portion: leases are renewed and reports are read in between."""
        while self.state.is_behind:
            await asyncio.sleep(0)
            self.turn(ev.Continued())

    async def shared_turn(self, *events: ev.Event, writing: Writing) -> None:
        """A turn that waits a moment for others to share its transaction: for what nobody waits for, in masses."""
        self._gathered.append((events, writing))
        if len(self._gathered) == 1:
            self._next_turn = self.spawn(self._gather())
        await self._next_turn

    async def _gather(self) -> None:
        await asyncio.sleep(_GATHER_SECONDS)
        gathered, self._gathered = self._gathered, []

        def write(tx: Transaction) -> None:
            for _, writing in gathered:
                writing(tx)

        self.turn(*itertools.chain.from_iterable(events for events, _ in gathered), writing=write)

    def follower(self, agent: str) -> AgentFollower | None:
        return self._followers.get(agent)

    def end_attempt(self, lease: OpenLease, failure: Failure) -> None:
        """For attempts whose agent did not say itself how they ended."""
        self.leases.close(lease.attempt_id)
        self.turn(
            ev.AttemptEnded(lease.job_id, lease.epoch, failure),
            writing=lambda tx: tx.end_attempt(lease.attempt_id, "failed", _now(), failure),
        )

    def _action(self, instruction: do.Instruction, tx: Transaction) -> Callable[[], Coroutine[None, None, None]] | None:
        """What is to be done about it after the commit."""
        match instruction:
            case do.StartBuild(key):
                return partial(self._build, self._build_request(key, tx))
            case do.StartAttempt(job_id, device_id, epoch):
                agent = self.state.devices[device_id].agent
                attempt_id = tx.add_attempt(job_id, epoch, device_id, agent, _now())
                self.leases.open(attempt_id, job_id, epoch, agent)
                return partial(self._followers[agent].start, self._lease(attempt_id, job_id, epoch, device_id, tx))
            case do.WithdrawAttempt(job_id, epoch):
                if withdrawn := self.leases.find(job_id, epoch):
                    self.leases.close(withdrawn.attempt_id)
                    tx.end_attempt(withdrawn.attempt_id, "cancelled", _now())
                    if follower := self._followers.get(withdrawn.agent):
                        return follower.reconcile_soon
            case do.CheckDevice(device_id, step, looping):
                return partial(self._caretaker.check, device_id, step, looping=looping)
            case do.SetDevice(id, _, DeviceHealth.BAD):
                self._caretaker.quarantine(id)
        return None

    # --- what the API wrote ---------------------------------------------------------------------------

    def _resume(self) -> None:
        """Hold again what was held when the last coordinator ended; the agents' journals tell the rest."""
        with self.store.transaction() as tx:
            for attempt in tx.open_attempts():
                self.leases.open(attempt.id, attempt.job_id, attempt.epoch, attempt.agent)
            tx.all_devices_offline()  # until their agents are heard of
            remembered = self._caretaker.remember(tx)
        self.turn(*remembered)

    async def _watch_inbox(self) -> None:
        woken = asyncio.Event()
        with Nudge(self.settings.state_dir).listen(woken):
            while True:
                await self._take_submissions()
                self._caretaker.tick()
                self._expire_leases()
                self.turn(writing=lambda tx: tx.heartbeat(PROCESS, _now()))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), _TICK_SECONDS)
                woken.clear()

    async def _take_submissions(self) -> None:
        """Read beside the event loop: nobody else changes jobs of a run that is not taken in yet."""
        for event in await asyncio.to_thread(self._submissions):
            self.turn(event)
            if isinstance(event, ev.RunAdded):
                self._newest_run = event.run_id
            await asyncio.sleep(0)

    def _submissions(self) -> list[ev.Event]:
        with self.store.reading() as reading:
            events: list[ev.Event] = [_run_added(run, reading) for run in reading.runs_after(self._newest_run)]
            events += [ev.CancelRequested(run_id) for run_id in reading.cancel_requests()]
        return events

    def _expire_leases(self) -> None:
        for lease in self.leases.expired():
            error = AttemptInterrupted(
                f"Agent {lease.agent} was lost: it did not renew the lease of attempt {lease.attempt_id}.",
                remedy="The job is tried again when its device is back.",
            )
            self.end_attempt(lease, Failure.of(error))

    def _outlook(self, job_ids: Sequence[int]) -> list[JobWait]:
        with self.store.reading() as reading:
            return outlook(job_ids, self.state, self.leases, reading)

    # --- what Prometheus asks -------------------------------------------------------------------------

    def _metrics(self, accept: str) -> bytes:
        return exposition(self.monitor.registry, accept)[0]

    async def _readings(self, agent: str) -> dict[str, DeviceReadings]:
        """Raises InfrastructureError while the agent does not answer."""
        if agent not in self._followers:
            raise InfrastructureError(f"There is no agent {agent}.", remedy="Start it with `farm agent`.")
        return await self._followers[agent].readings()

    # --- builds ---------------------------------------------------------------------------------------

    def _build_request(self, key: str, reading: Reading) -> BuildRequest:
        build, settings = reading.build(key), self.settings
        timeout_seconds = settings.distill_timeout_seconds if trains(build.recipe) else settings.build_timeout_seconds
        return BuildRequest(
            key=key,
            model=reading.model(build.model_id).spec,
            recipe=build.recipe,
            tool_versions=tool_versions(build.recipe),
            store_url=self.settings.resolved_store_url,
            timeout_seconds=timeout_seconds,
            memory_bytes=self.settings.build_memory_bytes,
        )

    async def _build(self, request: BuildRequest) -> None:
        artifact: Artifact | None = None
        failure: Failure | None = None
        began_seconds = time.monotonic()
        try:
            artifact = await self._cluster.build(request, self.settings.build_start_timeout_seconds)
        except BuildFailed as error:
            failure = error.failure
            self.monitor.built(request.recipe.runtime, time.monotonic() - began_seconds, failed=True)
            if failure.fault == "infrastructure":
                await asyncio.sleep(_BUILD_PAUSE_SECONDS)  # a full disk is still full at once: tries are few
        else:
            self.monitor.built(request.recipe.runtime, time.monotonic() - began_seconds, failed=False)

        def write(tx: Transaction) -> None:
            build = tx.build(request.key)
            tx.set_build(request.key, build.state, artifact, failure, build.attempts + 1)

        self.turn(ev.BuildEnded(request.key, failure), writing=write)

    # --- agents ---------------------------------------------------------------------------------------

    async def _discover_agents(self) -> None:
        """One follower per agent that has a live node. Raises InfrastructureError when the cluster is gone."""
        tasks: dict[str, asyncio.Task[None]] = {}
        while True:
            names = await asyncio.to_thread(self._cluster.agent_names)
            if self.settings.max_builds is None:
                slots = max(1, await asyncio.to_thread(self._cluster.build_slots))
                if slots != self.state.scheduler.build_slots:
                    self.turn(ev.BuildSlotsChanged(slots))
            for name in names - tasks.keys():
                self._followers[name] = AgentFollower(name, self)
                tasks[name] = self.spawn(self._followers[name].follow())
            for name in tasks.keys() - names:
                tasks.pop(name).cancel()
                self.turn(ev.AgentLost(name))
            await asyncio.sleep(_DISCOVERY_SECONDS)

    def _lease(self, attempt_id: int, job_id: int, epoch: int, device_id: str, reading: Reading) -> Lease:
        job = reading.lease_parts(job_id)
        return Lease(
            attempt_id=attempt_id,
            job_id=job_id,
            epoch=epoch,
            device_id=device_id,
            runtime=job.recipe.runtime,
            options=job.recipe.options,
            files=_files(job.artifact),
            custom_operators=job.model.operators_for(job.recipe.runtime),
            example_inputs=job.model.example_inputs,
            parity_inputs=job.model.parity_inputs,
            reference_outputs=job.model.reference_outputs or _files(job.reference_artifact)[0],
            scenario=job.scenario,
            batch=batch_of(job.recipe, job.scenario),
            protocol=job.run.protocol,
            ttl_seconds=self.leases.ttl_seconds,
            evaluation_inputs=job.model.evaluation.inputs if job.model.evaluation else None,
            evaluation_max_bytes=self.settings.max_evaluation_bytes,
            preprocessing=on_device(job.model.preprocessing),
            postprocessing=on_device(job.model.postprocessing),
            raw_example=job.model.raw_example,
        )


def _files(artifact: Artifact | None) -> tuple[Blob, ...]:
    if artifact is None:
        raise InternalError("A job starts before what it needs is built.", remedy="Report this bug.")
    return artifact.files


def _run_added(run: Run, reading: Reading) -> ev.RunAdded:
    jobs = reading.open_jobs(run.id)
    needs = {job.id: frozenset(key for key in (job.build_key, job.reference_key) if key) for job in jobs}
    builds = reading.builds(sorted(frozenset().union(*needs.values())))
    user, priority = run.created_by, run.spec.priority
    return ev.RunAdded(
        run.id,
        tuple(
            JobView(
                job.id,
                run.id,
                user,
                job.device_id,
                needs[job.id],
                priority,
                job.state,
                job.epoch,
                pool=job.pool,
                slot=job.slot,
            )
            for job in jobs
        ),
        tuple(BuildView(build.key, build.state, student=_student(build)) for build in builds),
        reading.pools(run.id),
    )


def _student(build: Build) -> str:
    """What it trains first, whatever tools do it."""
    for stage in stages(build.recipe):
        return digest_of({"model": build.model_id, "transforms": [step.model_dump(mode="json") for step in stage]})
    return ""


def _now() -> datetime:
    return datetime.now(UTC)
