"""A PostgreSQL server of a test's own, which can be killed and started again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Self

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


def available() -> bool:
    return bool(_BINARIES) and (os.geteuid() != 0 or shutil.which("runuser") is not None)


class Postgres:
    """``prefix``: as a network namespace has it."""

    def __init__(self, folder: Path, address: str, prefix: tuple[str, ...] = ()) -> None:
        self._folder, self._address, self._prefix = folder / "postgres", address, prefix
        with socket.socket() as probe:
            probe.bind(("", 0))
            self._port = probe.getsockname()[1]
        self.url = f"postgresql+psycopg://farm@{address}:{self._port}/postgres"

    def __enter__(self) -> Self:
        self._folder.parent.chmod(0o711)
        self._folder.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres")  # it refuses to run as root
        self._run("initdb", "-D", "data", "-U", "farm", "--auth=trust")
        with (self._folder / "data" / "pg_hba.conf").open("a") as file:
            file.write("host all all 0.0.0.0/0 trust\n")
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses={self._address} -c unix_socket_directories={self._folder}"
        self._run("pg_ctl", "-D", "data", "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """At once, as if it had crashed: it recovers from its log when it starts."""
        self._run("pg_ctl", "-D", "data", "-m", "immediate", "stop")

    def _run(self, tool: str, *args: str) -> None:
        owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*self._prefix, *owner, str(_BINARIES[-1] / tool), *args]
        # Not captured: the server inherits the pipe and would hold it open.
        with (self._folder.parent / "postgres.log").open("ab") as log:
            subprocess.run(command, cwd=self._folder, check=True, stdout=log, stderr=log, timeout=60)
