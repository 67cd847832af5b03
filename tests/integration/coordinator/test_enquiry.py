"""A question to the coordinator over a real socket: answered, not answered, answered by nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from farm.coordinator.enquiry import MAX_JOBS, Enquiry
from farm.coordinator.socketpath import reachable
from farm.types import JobWait


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Deeper than the name of a socket may be long."""
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    return deep


def wait(job_id: int) -> JobWait:
    return JobWait(job_id=job_id, text="1 device matches: leased by run 12", starts_in_seconds=61.5, live=True)


def odd_ones(job_ids: Sequence[int]) -> list[JobWait]:
    return [wait(job_id) for job_id in job_ids if job_id % 2]


def while_served(folder: Path, work: Callable[[], Awaitable[object]]) -> object:
    async def run() -> object:
        async with Enquiry(folder).serve(odd_ones):
            return await work()

    return asyncio.run(run())


def test_those_that_wait_are_answered_for(folder: Path) -> None:
    async def work() -> object:
        many = await asyncio.gather(*(asyncio.to_thread(Enquiry(folder).ask, range(10), 20) for _ in range(8)))
        assert all(one == many[0] for one in many)
        return many[0]

    assert while_served(folder, work) == {job_id: wait(job_id) for job_id in (1, 3, 5, 7, 9)}


def test_as_many_as_may_be_asked_at_once(folder: Path) -> None:
    ids = range(2**62 + 1, 2**62 + 1 + MAX_JOBS)
    answer = while_served(folder, lambda: asyncio.to_thread(Enquiry(folder).ask, ids, 20))
    assert isinstance(answer, dict)
    assert len(answer) == MAX_JOBS / 2


def test_only_the_head_itself_may_ask(folder: Path) -> None:
    async def work() -> object:
        return stat.S_IMODE((folder / "enquiry.sock").stat().st_mode)

    assert while_served(folder, work) == 0o600


def test_nobody_there(folder: Path) -> None:
    assert Enquiry(folder).ask([1]) is None
    assert Enquiry(folder / "none").ask([1]) is None
    while_served(folder, lambda: asyncio.sleep(0))
    assert Enquiry(folder).ask([1]) is None, "its file is still there"
    answer = while_served(folder, lambda: asyncio.to_thread(Enquiry(folder).ask, [1], 20))
    assert answer == {1: wait(1)}, "the next coordinator takes its place"


@contextlib.contextmanager
def listening(folder: Path, behave: Callable[[socket.socket], None]) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, reachable(folder / "enquiry.sock") as path:
        listener.bind(path)
        listener.listen()

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                behave(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield
        thread.join(20)


def test_a_coordinator_that_hangs_is_not_waited_for(folder: Path) -> None:
    over = threading.Event()
    with listening(folder, lambda _: over.wait(20) and None):
        began = time.monotonic()
        assert Enquiry(folder).ask([1], timeout_seconds=0.2) is None
        assert time.monotonic() - began < 10
        over.set()


def test_an_answer_that_trickles_is_not_waited_for_either(folder: Path) -> None:
    over = threading.Event()

    def trickle(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not over.wait(0.05):
                connection.sendall(b" ")

    with listening(folder, trickle):
        assert Enquiry(folder).ask([1], timeout_seconds=0.5) is None
        over.set()


def test_an_answer_that_is_cut(folder: Path) -> None:
    def cut(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b'[{"job_id": 1, "te')

    with listening(folder, cut):
        assert Enquiry(folder).ask([1], timeout_seconds=20) is None


@pytest.mark.parametrize("question", [b"nonsense\n", b'{"a": 1}\n', b"[" + b"1," * 100_000 + b"1]\n", b""], ids=len)
def test_nonsense_is_hung_up_on_and_the_next_is_answered(folder: Path, question: bytes) -> None:
    def ask() -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(20)
            with reachable(folder / "enquiry.sock") as path:
                connection.connect(path)
            with contextlib.suppress(ConnectionError):
                connection.sendall(question)
                connection.shutdown(socket.SHUT_WR)
                return connection.recv(1000)
            return b""

    async def work() -> object:
        assert await asyncio.to_thread(ask) == b""
        return await asyncio.to_thread(Enquiry(folder).ask, [1], 20)

    assert while_served(folder, work) == {1: wait(1)}
