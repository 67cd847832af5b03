"""``sync:``: files to and from the phone, as AOSP's daemon/file_sync_service.cpp does it, word for word."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath

from agents.virtual.phone.adbd import records
from agents.virtual.phone.adbd.packet import Payload
from agents.virtual.phone.adbd.stream import Stream
from agents.virtual.phone.machine import Machine
from farm.errors import LinkLost

_BLOCKS_PER_PACKET = 15  # of 64 KiB and their heads: what fits into a packet of 1 MiB
_LIST_BYTES = 2**16
_FOLDER_MODE = 0o775


class _Refused(Exception):
    """Said to the other end as FAIL. ``drain``: it may be sending yet, and must be let to before it listens."""

    def __init__(self, reason: str, error: OSError | None = None, *, drain: bool = False) -> None:
        text = f"{reason}: {os.strerror(error.errno)}" if error and error.errno else reason
        super().__init__(text)
        self.drain = drain


class _Inbox:
    """A stream as bytes. Views of what arrived, not copies, wherever it arrived in one piece."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._rest = memoryview(b"")

    async def take(self, size: int) -> memoryview:
        """Raises LinkLost when the stream ends before."""
        if size <= len(self._rest):
            taken, self._rest = self._rest[:size], self._rest[size:]
            return taken
        whole = bytearray(self._rest)
        while len(whole) < size:
            data = await self._stream.read()
            if not data:
                raise LinkLost("A transfer was given up in its middle.", remedy="Send it again.")
            view = memoryview(data)
            missing = size - len(whole)
            if not whole and missing <= len(view):
                self._rest = view[missing:]
                return view[:missing]
            whole += view[:missing]
            self._rest = view[missing:]
        return memoryview(whole)

    async def at_end(self) -> bool:
        if not self._rest:
            self._rest = memoryview(await self._stream.read())
        return not self._rest


async def serve(machine: Machine, stream: Stream) -> None:
    await _Sync(machine, stream).serve()


class _Sync:
    """One ``sync:`` stream, request after request, until QUIT, the end of the stream, or a transfer that failed."""

    def __init__(self, machine: Machine, stream: Stream) -> None:
        self._machine, self._stream, self._inbox = machine, stream, _Inbox(stream)

    async def serve(self) -> None:
        while not await self._inbox.at_end():
            request = records.request(await self._inbox.take(records.REQUEST_BYTES))
            if request.id == b"QUIT":
                return
            try:
                if request.number > records.MOST_PATH_BYTES:
                    raise _Refused("path too long")
                path = bytes(await self._inbox.take(request.number))
                await self._answer(request.id, path)
            except _Refused as refused:
                await self._stream.write(records.failure(str(refused)))
                if refused.drain:
                    await self._drain()
                return

    async def _answer(self, name: bytes, path: bytes) -> None:
        match name:
            case b"STAT":
                await self._stream.write(records.stat_1(self._stat(path, follow=False)[0]))
            case b"LST2" | b"STA2":
                await self._stream.write(records.stat_2(name, *self._stat(path, follow=name == b"STA2")))
            case b"LIST" | b"LIS2":
                await self._list(path, long=name == b"LIS2")
            case b"SEND":
                try:
                    path, mode = records.send_1(path)
                except ValueError as error:
                    raise _Refused(str(error)) from None
                await self._receive(os.fsdecode(path), mode)
            case b"SND2":
                again, mode, flags = records.send_2(await self._inbox.take(records.SEND_2_BYTES))
                _check_second(again, name, flags)
                await self._receive(os.fsdecode(path), mode)
            case b"RECV":
                await self._send(os.fsdecode(path))
            case b"RCV2":
                again, flags = records.receive_2(await self._inbox.take(records.RECEIVE_2_BYTES))
                _check_second(again, name, flags)
                await self._send(os.fsdecode(path))
            case other:
                raise _Refused(f"unknown command {int.from_bytes(other, 'little'):08x}")

    # looking

    def _stat(self, path: bytes, *, follow: bool) -> tuple[os.stat_result | None, int]:
        try:
            return self._machine.resolve(os.fsdecode(path), follow=follow).stat(follow_symlinks=follow), 0
        except OSError as error:
            return None, error.errno or errno.EIO

    async def _list(self, path: bytes, *, long: bool) -> None:
        """A folder that cannot be listed is an empty one: the protocol has no other word for it."""
        answer = bytearray()
        folder = PurePosixPath(os.fsdecode(path))
        try:
            self._machine.check_read(str(folder))
            names = [".", "..", *_names(self._machine.resolve(str(folder)))]
        except OSError:
            names = []
        for name in names:
            inside = folder.parent if name == ".." else folder / name
            found, error = self._stat(os.fsencode(inside), follow=False)
            if long:
                answer += records.entry_2(os.fsencode(name), found, error)
            elif found:
                answer += records.entry_1(os.fsencode(name), found)
            if len(answer) >= _LIST_BYTES:
                await self._stream.write(bytes(answer))
                answer.clear()
        await self._stream.write(bytes(answer) + (records.end_2() if long else records.end_1()))

    # phone to host

    async def _send(self, path: str) -> None:
        try:
            self._machine.check_read(path)
            file = os.open(self._machine.resolve(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _Refused("open failed", error) from None
        try:
            while True:
                packet, more = _blocks(file)
                if not more:
                    packet += records.status(b"DONE")
                await self._stream.write(packet)
                if not more:
                    return
        except OSError as error:
            raise _Refused("read failed", error) from None
        finally:
            os.close(file)

    # host to phone

    async def _receive(self, path: str, mode: int) -> None:
        try:
            self._machine.check_write(path)
            target = self._machine.resolve(path, follow=False)
            _make_room(target, mode)
        except OSError as error:
            raise _Refused("couldn't create file", error, drain=True) from None
        if stat.S_ISLNK(mode):
            mtime = await self._receive_link(path, target)
        else:
            mtime = await self._receive_file(path, target, mode)
        with suppress(OSError):  # as adbd: a time that cannot be set is not a failed transfer
            os.utime(target, (mtime, mtime), follow_symlinks=False)
        await self._stream.write(records.status(b"OKAY"))

    async def _receive_link(self, path: str, target: Path) -> int:
        head = records.request(await self._inbox.take(records.REQUEST_BYTES))
        if head.id != b"DATA" or not 0 < head.number <= records.MOST_DATA_BYTES:
            raise _Refused("invalid data message: expected ID_DATA")
        destination = os.fsdecode(bytes(await self._inbox.take(head.number)).rstrip(b"\x00"))
        try:
            try:
                _link(target, destination)
            except FileNotFoundError:
                self._make_folders(path, target)
                _link(target, destination)
        except OSError as error:
            raise _Refused("symlink failed", error, drain=True) from None
        done = records.request(await self._inbox.take(records.REQUEST_BYTES))
        if done.id != b"DONE":
            raise _Refused("invalid data message: expected ID_DONE")
        return done.number

    async def _receive_file(self, path: str, target: Path, mode: int) -> int:
        mode &= 0o777
        mode |= (mode >> 3) & 0o070 | (mode >> 3) & 0o007  # what the owner may, as a phone has no other users
        file = self._create(path, target, mode)
        try:
            os.fchmod(file, mode)
            return await self._receive_data(file)
        except BaseException:
            with suppress(OSError):  # half a file is none
                _remove(target)
            raise
        finally:
            os.close(file)

    async def _receive_data(self, file: int) -> int:
        while True:
            head = records.request(await self._inbox.take(records.REQUEST_BYTES))
            if head.id == b"DONE":
                return head.number
            if head.id != b"DATA":
                raise _Refused(f"invalid data message {int.from_bytes(head.id, 'little'):08x}")
            if head.number > records.MOST_DATA_BYTES:
                raise _Refused("oversize data message")
            self._write(file, await self._inbox.take(head.number))

    def _create(self, path: str, target: Path, mode: int) -> int:
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            try:
                return os.open(target, flags | os.O_CREAT | os.O_EXCL, mode)
            except FileNotFoundError:
                self._make_folders(path, target)
                return os.open(target, flags | os.O_CREAT | os.O_EXCL, mode)
            except FileExistsError:
                return os.open(target, flags)
        except OSError as error:
            raise _Refused("couldn't create file", error, drain=True) from None

    def _make_folders(self, path: str, target: Path) -> None:
        try:
            self._machine.check_write(str(PurePosixPath(path).parent))
            target.parent.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise _Refused("secure_mkdirs failed", error, drain=True) from None

    def _write(self, file: int, data: Payload) -> None:
        try:
            if len(data) > self._machine.free_bytes():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
        except OSError as error:
            raise _Refused("write failed", error, drain=True) from None

    async def _drain(self) -> None:
        """Old adb programs send the whole file before they look for an answer."""
        while True:
            head = records.request(await self._inbox.take(records.REQUEST_BYTES))
            if head.id != b"DATA":
                return
            await self._inbox.take(head.number)


def _check_second(again: bytes, name: bytes, flags: int) -> None:
    if again != name:
        raise _Refused(f"expected {name.decode()} again")
    if flags:
        raise _Refused(f"unsupported flags: {flags}")


def _make_room(target: Path, mode: int) -> None:
    """What stands in the way is removed first, unless it is a folder, a device, or a link for a link."""
    try:
        found = target.lstat().st_mode
    except OSError:
        return
    if stat.S_ISREG(found) or (stat.S_ISLNK(found) and not stat.S_ISLNK(mode)):
        target.unlink()


# The file system's own calls: short, as everything here is done in the page cache.


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _link(target: Path, destination: str) -> None:
    target.symlink_to(destination)


def _remove(target: Path) -> None:
    target.unlink()


def _blocks(file: int) -> tuple[bytearray, bool]:
    """The next blocks of a file, each behind its head, and whether there may be more."""
    packet = bytearray()
    for _ in range(_BLOCKS_PER_PACKET):
        data = os.read(file, records.MOST_DATA_BYTES)
        if not data:
            return packet, False
        packet += records.status(b"DATA", len(data))
        packet += data
    return packet, True
