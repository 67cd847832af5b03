"""What adbd answers to an OPEN: the name of a service, and what it does (AOSP's SERVICES.TXT, the "local" half)."""

from __future__ import annotations

from collections.abc import Callable

from agents.virtual.phone.adbd import shell, sockets
from agents.virtual.phone.adbd.connection import Connection, Service
from agents.virtual.phone.adbd.reverse import Reverse
from agents.virtual.phone.adbd.stream import Stream
from agents.virtual.phone.adbd.sync import Sync
from agents.virtual.phone.machine import Machine

Reboot = Callable[[str], None]  # with "", "bootloader", "recovery" or "sideload"


class Services:
    """``port``: where adbd listens. ``reboot``: called after the stream of the request is closed."""

    def __init__(self, machine: Machine, reverse: Reverse, port: Callable[[], int], reboot: Reboot) -> None:
        self._machine, self._reverse, self._port, self._reboot = machine, reverse, port, reboot

    def find(self, name: str, connection: Connection) -> Service | None:
        kind, _, argument = name.partition(":")
        match kind.partition(",")[0]:
            case "shell" | "exec":
                request = shell.parse(name)
                return lambda stream: shell.serve(self._machine, request, stream)
            case "sync":
                return lambda stream: Sync(self._machine, stream).serve()
            case "tcp" | "localabstract" | "localfilesystem":
                return lambda stream: sockets.serve(self._machine, name, stream)
            case "reverse":
                return lambda stream: self._reverse.serve(connection, argument, stream)
            case "reboot":
                return lambda stream: self._restart(argument)
            case "root":
                return _says("adbd cannot run as root in production builds\n")
            case "unroot":
                return _says("adbd not running as root\n")
            case "tcpip":
                return _says(f"a virtual phone stays at TCP port {self._port()}\n")
            case "usb":
                return _says(f"a virtual phone has no USB: it stays at TCP port {self._port()}\n")
        return None

    async def _restart(self, mode: str) -> None:
        self._reboot(mode)


def _says(text: str) -> Service:
    async def say(stream: Stream) -> None:
        await stream.write(text.encode())

    return say
