"""What goes on in a virtual phone while it runs: its processes' real CPU time heats it and empties its battery, heat
slows them down, and its views and commands say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass

from agents.virtual.phone import physics, readouts, views
from agents.virtual.phone.faults import Faults
from agents.virtual.phone.profile import Profile
from agents.virtual.phone.root import REQUESTS, SPOOL, VIEWS, Abi, meminfo, properties
from agents.virtual.phone.sandbox import Sandbox
from agents.virtual.phone.services import Answer, Process, Services

TICK_SECONDS = 0.2
IDLE_TICK_SECONDS = 0.5  # while nothing in the phone uses its CPU
AMBIENT_CELSIUS = 25.0
BUSY_SHARE = 0.1  # of one core: from here on a process is slowed when the phone is hot
ANSWER_TRIES, ANSWER_PAUSE_SECONDS = 1000, 0.001  # until who asked listens
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Seen:
    """A process of the phone, from its /proc."""

    number: int
    name: str
    terminal: bool
    cpu: int
    cpu_seconds: float
    began: int
    rss_kib: int


class World:
    def __init__(
        self, profile: Profile, abi: Abi, serial: str, cpus: Sequence[int], sandbox: Sandbox, faults: Faults
    ) -> None:
        self._profile, self._cpus, self._sandbox, self._faults = profile, list(cpus), sandbox, faults
        self._seen: dict[tuple[int, int], float] = {}  # process and its start -> CPU seconds
        self._written: dict[str, str] = {}
        self._denied = views.denied(profile)
        self._began = self._ticked = time.monotonic()
        self._resident = [[0.0] * len(cluster.steps_khz) for cluster in profile.clusters]
        self._paced = False
        self._task: asyncio.Task[None] | None = None
        self._requests = -1
        self._unread = b""
        self._data_bytes = 0
        self._answers: set[asyncio.Task[None]] = set()
        self.state = physics.rested(profile, self._ambient(), profile.charge_ratio)
        self.services = Services(
            profile=profile,
            properties=properties(profile, abi, serial),
            state=self.state,
            battery=readouts.reading(profile, self.state, plugged=profile.plugged),
            plugged=profile.plugged,
            memory_available_kib=profile.memory_kib,
            processes=self.processes,
            uptime_seconds=lambda: time.monotonic() - self._began,
            page_bytes=PAGE_BYTES,
            cpus=len(cpus),
        )
        self._unwatch = faults.watch(self._fault_changed)

    async def start(self, data_bytes: int) -> None:
        """The sandbox runs. Every view is there when this returns."""
        self._data_bytes = data_bytes
        self._write(views.fixed(self._profile, self._cpus))
        self._tick()
        # Made from outside: the shell user may write it, not replace it while it is open.
        path = self._sandbox.resolve(REQUESTS)
        os.mkfifo(path, 0o622)
        path.chmod(0o622)
        self._requests = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._requests, self._hear)
        if self._faults.full_storage:
            await self._fill()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Once. The sandbox is not touched."""
        self._unwatch()
        if self._requests >= 0:
            asyncio.get_running_loop().remove_reader(self._requests)
            os.close(self._requests)
            self._requests = -1
        tasks = [*self._answers, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._task = None

    # time

    async def _run(self) -> None:
        while True:
            busy = self._tick()
            await asyncio.sleep(TICK_SECONDS if busy else IDLE_TICK_SECONDS)

    def _tick(self) -> bool:
        """Look, advance, slow down, show. Returns whether the phone works."""
        now = time.monotonic()
        seconds, self._ticked = now - self._ticked, now
        seen = self._look()
        used = self._used(seen)
        loads = self._loads(used, seconds)
        plugged = self._profile.plugged if self._faults.charging is None else self._faults.charging
        if seconds > 0:
            self.state = physics.advance(
                self._profile, self.state, seconds, loads, ambient_celsius=self._ambient(), plugged=plugged
            )
        for index, cluster in enumerate(self._profile.clusters):
            khz = round(self.state.clocks[index] * cluster.max_khz)
            self._resident[index][cluster.steps_khz.index(khz)] += seconds
        self._pace(used, seconds)
        world = self.services
        world.state, world.plugged = self.state, plugged
        if self._faults.lying_gauge != "frozen":
            world.battery = readouts.reading(self._profile, self.state, plugged=plugged, lying=self._faults.lying_gauge)
        world.memory_available_kib = max(0, self._profile.memory_kib - sum(process.rss_kib for process in seen))
        self._write(views.current(self._profile, self._cpus, self.state, world.battery, self._resident))
        if self._profile.rails:
            self._write({f"{views.RAILS}/energy_value": views.rails(self._profile, self.state, now - self._began)})
        self._put_meminfo(meminfo(self._profile.memory_kib, world.memory_available_kib))
        return any(spent > 0 for _, spent in used) or min(self.state.caps) < 1

    def _ambient(self) -> float:
        return AMBIENT_CELSIUS if self._faults.ambient_celsius is None else self._faults.ambient_celsius

    # processes

    def _look(self) -> list[Seen]:
        found = []
        for name in os.listdir(self._sandbox.processes):  # noqa: PTH208 - of a descriptor
            if not name.isdigit() or name == "1":
                continue
            try:
                file = os.open(f"{name}/stat", os.O_RDONLY, dir_fd=self._sandbox.processes)
                try:
                    text = os.read(file, 4096).decode("utf-8", "replace")
                finally:
                    os.close(file)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ESRCH):  # it ended meanwhile
                    continue
                raise
            if text:
                found.append(parse_stat(text))
        return found

    def _used(self, seen: Sequence[Seen]) -> list[tuple[Seen, float]]:
        """CPU seconds of each since the last look."""
        before, self._seen = self._seen, {(found.number, found.began): found.cpu_seconds for found in seen}
        return [(found, max(0.0, found.cpu_seconds - before.get((found.number, found.began), 0.0))) for found in seen]

    def _loads(self, used: Sequence[tuple[Seen, float]], seconds: float) -> list[list[float]]:
        """Of each core in each cluster the share of its (capped) time; what is beyond one core goes to the next."""
        loads = []
        first = 0
        for index, cluster in enumerate(self._profile.clusters):
            members = self._cpus[first : first + cluster.cores]
            first += cluster.cores
            spent_seconds = sum(spent for found, spent in used if found.cpu in members)
            cores = spent_seconds / max(seconds, 1e-3) / (self.state.caps[index] if self._paced else 1.0)
            loads.append([min(1.0, max(0.0, cores - place)) for place in range(cluster.cores)])
        return loads

    def _pace(self, used: Sequence[tuple[Seen, float]], seconds: float) -> None:
        """A capped clock is a share of the time: exact for what only computes. A process of a terminal is left alone:
        its shell would take it for stopped by its user."""
        duties = {}
        clusters = [index for index, cluster in enumerate(self._profile.clusters) for _ in range(cluster.cores)]
        cap_of = {cpu: self.state.caps[index] for cpu, index in zip(self._cpus, clusters, strict=False)}
        for found, spent in used:
            cap = cap_of.get(found.cpu, 1.0)
            if cap < 1 and not found.terminal and spent > BUSY_SHARE * seconds * cap:
                duties[found.number] = cap
        if duties or self._paced:
            self._sandbox.pace(duties)
        self._paced = bool(duties)

    def processes(self) -> list[Process]:
        return [Process(found.number, found.name, found.rss_kib, found.cpu_seconds) for found in self._look()]

    # views

    def _write(self, files: dict[str, str]) -> None:
        """Each file as a whole: written beside it, then renamed."""
        folder = self._sandbox.writable
        for path, text in files.items():
            if self._written.get(path) == text:
                continue
            name = path[1:]
            if path not in self._written:
                self._make_folders(name)
            shut = any(path.startswith(beginning) for beginning in self._denied)
            if shut and path in self._written:
                continue  # nobody can read it
            file = os.open(
                f"{name}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o000 if shut else 0o444, dir_fd=folder
            )
            try:
                os.write(file, text.encode())
            finally:
                os.close(file)
            os.rename(f"{name}.new", name, src_dir_fd=folder, dst_dir_fd=folder)
            self._written[path] = text

    def _make_folders(self, name: str) -> None:
        parts = name.split("/")[:-1]
        for end in range(1, len(parts) + 1):
            with contextlib.suppress(FileExistsError):
                os.mkdir("/".join(parts[:end]), 0o755, dir_fd=self._sandbox.writable)

    def _put_meminfo(self, text: str) -> None:
        """In place, since /proc shows this very file; always as long."""
        if self._written.get("meminfo") != text:
            file = os.open(f"{VIEWS}/meminfo"[1:], os.O_WRONLY, dir_fd=self._sandbox.writable)
            try:
                os.pwrite(file, text.encode(), 0)
            finally:
                os.close(file)
            self._written["meminfo"] = text

    # commands

    def _hear(self) -> None:
        try:
            self._unread += os.read(self._requests, 1 << 16)
        except BlockingIOError:
            return
        *whole, self._unread = self._unread.split(b"\x1e")
        for request in whole:
            words = request.decode("utf-8", "replace").split("\x1f")[:-1]
            if len(words) >= 2 and words[0].isdigit():
                answer = self.services.answer(words[1], words[2:])
                task = asyncio.create_task(self._tell(words[0], answer))
                self._answers.add(task)
                task.add_done_callback(self._answers.discard)

    async def _tell(self, asker: str, answer: Answer) -> None:
        """Through the asker's pipe, once it listens; nobody may be there any more."""
        content = f"{answer.code} {2 if answer.failed else 1}\n{answer.text}".encode()
        for _ in range(ANSWER_TRIES):
            try:
                pipe = os.open(self._sandbox.resolve(f"{SPOOL}/{asker}"), os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno not in (errno.ENXIO, errno.ENOENT):
                    raise
                await asyncio.sleep(ANSWER_PAUSE_SECONDS)
                continue
            try:
                if stat.S_ISFIFO(os.fstat(pipe).st_mode):
                    os.write(pipe, content)
            except (BrokenPipeError, BlockingIOError):
                pass  # who asked does not read
            finally:
                os.close(pipe)
            return

    # faults

    def _fault_changed(self, name: str) -> None:
        if name == "full_storage" and self._task is not None:
            task = asyncio.create_task(self._fill())
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

    async def _fill(self) -> None:
        """Storage that is full, or has its size again. What is on it stays."""
        system = os.statvfs(self._sandbox.resolve("/data"))
        used = (system.f_blocks - system.f_bfree) * system.f_frsize
        await self._sandbox.resize_data(used if self._faults.full_storage else self._data_bytes)


def parse_stat(text: str) -> Seen:
    """A line of /proc/PID/stat (proc(5))."""
    before, _, after = text.rpartition(")")
    number, _, name = before.partition(" (")
    fields = after.split()
    return Seen(
        number=int(number),
        name=name,
        terminal=fields[4] != "0",
        cpu=int(fields[36]),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND,
        began=int(fields[19]),
        rss_kib=int(fields[21]) * PAGE_BYTES // 1024,
    )
