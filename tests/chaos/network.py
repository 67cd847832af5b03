"""Machines with a cable each, as network namespaces on one switch: links can be cut and healed.

    with Network.or_skip() as network:
        head, edge = network.add("head"), network.add("edge")
        edge.popen(["ping", head.address])
        network.cut("edge")

The test itself is on the switch too (it reaches every address). File system and processes are shared: only the
network is apart. Needs root and iproute2.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import Any, Self

import pytest


@dataclass(frozen=True)
class Namespace:
    """One machine. ``prefix``: what to put before a command line to run it there."""

    address: str
    prefix: tuple[str, ...]

    def popen(self, args: list[str], **options: Any) -> subprocess.Popen[Any]:
        """Its pid is the command's own: ``ip`` replaces itself."""
        return subprocess.Popen([*self.prefix, *args], **options)


class Network:
    """A switch of this test's own. ``close`` ends what still runs in the namespaces."""

    def __init__(self) -> None:
        # Of 198.18.0.0/15, set aside for tests of networks (RFC 2544); by pid, so that runs do not meet.
        self._id = f"{os.getpid() % 0x1000000:x}"
        self._subnet = f"198.{18 + os.getpid() // 256 % 2}.{os.getpid() % 256}"
        self._bridge = f"fb{self._id}"
        self._ports: dict[str, str] = {}  # namespace: its end of the cable on the switch
        _ip("link", "add", self._bridge, "type", "bridge")
        try:
            _ip("addr", "add", f"{self._subnet}.1/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
        except subprocess.CalledProcessError:
            self.close()
            raise

    @classmethod
    def or_skip(cls) -> Network:
        """Skips the test where this machine does not allow it."""
        if os.geteuid() != 0 or shutil.which("ip") is None:
            pytest.skip("network namespaces need root and the `ip` command (iproute2)")
        probe = f"farm-probe-{os.getpid()}"
        made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
        _ip("netns", "del", probe)
        return cls()

    def add(self, name: str) -> Namespace:
        namespace, port, address = self._namespace(name), f"f{self._id}p{len(self._ports)}", len(self._ports) + 2
        _ip("netns", "add", namespace)
        self._ports[name] = port
        _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("link", "set", port, "master", self._bridge, "up")
        _ip("-n", namespace, "addr", "add", f"{self._subnet}.{address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", link, "up")
        return Namespace(f"{self._subnet}.{address}", ("ip", "netns", "exec", namespace))

    def cut(self, name: str) -> None:
        """Nothing passes from or to it; connections are not told."""
        _ip("link", "set", self._ports[name], "down")

    def heal(self, name: str) -> None:
        _ip("link", "set", self._ports[name], "up")

    def close(self) -> None:
        for name in self._ports:
            for pid in _ip("netns", "pids", self._namespace(name)).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _ip("netns", "del", self._namespace(name))  # takes both ends of the cable along, once it is empty
        for port in self._ports.values():
            subprocess.run(["ip", "link", "del", port], capture_output=True, check=False)
        self._ports.clear()
        _ip("link", "del", self._bridge)

    def _namespace(self, name: str) -> str:
        return f"farm-{self._id}-{name}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _ip(*args: str) -> str:
    return subprocess.run(["ip", *args], check=True, capture_output=True, text=True).stdout
