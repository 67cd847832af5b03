"""What adbd answers to an OPEN: the name of a service, and what it does (AOSP's SERVICES.TXT, the "local" half)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from agents.virtual.phone.adbd import shell, sockets, sync
from agents.virtual.phone.adbd.connection import Connection, Service
from agents.virtual.phone.adbd.reverse import Reverse
from agents.virtual.phone.adbd.stream import Stream
from agents.virtual.phone.machine import Machine

Reboot = Callable[[str], None]  # with "", "bootloader", "recovery" or "sideload"


class Services:
    """``port``: where adbd listens. ``reboot``: called after the stream of the request is closed."""

    def __init__(self, machine: Machine, reverse: Reverse, port: Callable[[], int], reboot: Reboot) -> None:
        self._machine, self._reverse, self._port, self._reboot = machine, reverse, port, reboot

    def find(self, name: str, connection: Connection) -> Service | None:
        kind, _, argument = name.partition(":")
        service: Service | None = None
        match kind.partition(",")[0]:
            case "shell" | "exec":
                service = partial(shell.serve, self._machine, shell.parse(name))
            case "sync":
                service = partial(sync.serve, self._machine)
            case "tcp" | "localabstract" | "localfilesystem":
                service = partial(sockets.serve, self._machine, name)
            case "reverse":
                service = partial(self._reverse.serve, connection, argument)
            case "reboot":
                service = partial(self._restart, argument)
            case "root":
                service = partial(_say, "adbd cannot run as root in production builds\n")
            case "unroot":
                service = partial(_say, "adbd not running as root\n")
            case "tcpip":
                service = partial(_say, f"a virtual phone stays at TCP port {self._port()}\n")
            case "usb":
                service = partial(_say, f"a virtual phone has no USB: it stays at TCP port {self._port()}\n")
        return service

    async def _restart(self, mode: str, stream: Stream) -> None:
        self._reboot(mode)


async def _say(text: str, stream: Stream) -> None:
    await stream.write(text.encode())
