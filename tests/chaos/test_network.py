"""The network that other tests stand on: what is cut is cut, what is healed passes again, nothing stays behind."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.chaos.network import Network

ECHO = "import socket as s; x = s.create_server(('', 7000)); print(flush=True)\nwhile 1: x.accept()[0].sendall(b'here')"


def heard(address: str) -> bool:
    try:
        with socket.create_connection((address, 7000), timeout=1) as connection:
            return connection.recv(4) == b"here"
    except OSError:
        return False


def test_a_link_is_cut_and_healed_and_the_others_are_not_touched() -> None:
    with Network.or_skip() as network:
        machines = {name: network.add(name) for name in ("a", "b")}
        servers = [machine.popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE) for machine in machines.values()]
        for server in servers:
            server.stdout.readline()
        address = {name: machine.address for name, machine in machines.items()}
        assert heard(address["a"]) and heard(address["b"])
        network.cut("b")
        assert heard(address["a"]) and not heard(address["b"])
        network.heal("b")
        assert heard(address["b"])
    for server in servers:
        server.stdout.close()
        assert server.wait(timeout=10) == -9
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert network._id not in left


def test_without_the_ip_command_a_test_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception, match="iproute2"):
        Network.or_skip()
