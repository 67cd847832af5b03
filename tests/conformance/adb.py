"""What the stock adb programs must be able to do with the virtual phone: ``python -m tests.conformance.adb``.

Prints a table of seconds. ``--address`` checks a phone that already runs (then ``--root`` is not known, and nothing
is looked at behind adb's back); without, a plain machine of this host under our adbd.
"""

from __future__ import annotations

import argparse
import hashlib
import socket
import socketserver
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.phone import Adb, phone, programs

FOLDER = "/data/local/tmp/conformance"
BIG_BYTES = 200_000_000
SMALL_FILES = 10_000


@dataclass(frozen=True)
class Place:
    """Of one program's checks. ``scratch``: on the host. The sizes are smaller where time is short."""

    adb: Adb
    scratch: Path
    big_bytes: int = BIG_BYTES
    small_files: int = SMALL_FILES


def devices(place: Place) -> None:
    listed = place.adb.ok("devices", "-l")
    assert f"{place.adb.serial} " in listed and " device " in listed and "product:" in listed, listed
    features = place.adb.ok("features").split()
    assert {"shell_v2", "cmd", "stat_v2", "ls_v2"} <= set(features), features
    assert place.adb.ok("get-state").strip() == "device"


def shell_exit_codes(place: Place) -> None:
    for code in (0, 1, 7, 126, 127, 255):
        assert place.adb("shell", f"exit {code}").returncode == code
    done = place.adb("shell", "echo out; echo err >&2; kill -9 $$")
    assert (done.returncode, done.stdout, done.stderr) == (137, b"out\n", b"err\n"), done
    done = place.adb("shell", "definitely-not-here")
    assert done.returncode == 127 and b"not found" in done.stderr and done.stdout == b"", done


def shell_stdin(place: Place) -> None:
    text = bytes(range(256)) * 4000
    done = place.adb("shell", "-T", "cat", stdin=text)
    assert done.stdout == text, (len(done.stdout), len(text))
    assert place.adb("shell", "-T", "wc -c", stdin=text).stdout.split() == [b"1024000"]
    assert place.adb("shell", "-x", "echo v1; echo err >&2").stdout == b"v1\nerr\n"
    place.adb.ok("exec-in", f"cat > {FOLDER.lstrip('/')}/in", stdin=text)
    assert place.adb("exec-out", f"sleep 0.2; cat {FOLDER.lstrip('/')}/in").stdout == text
    assert place.adb("exec-out", "head -c 3000000 /dev/zero").stdout == bytes(3_000_000)


def concurrent_shells(place: Place) -> None:
    def one(number: int) -> None:
        done = place.adb("shell", f"echo {number}; sleep 0.3; echo end >&2; exit {number % 200}")
        assert (done.returncode, done.stdout, done.stderr) == (number % 200, f"{number}\n".encode(), b"end\n"), done

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(32)))


def push_big(place: Place) -> None:
    digest = hashlib.sha256(_big(place).read_bytes()).hexdigest()
    place.adb.ok("push", str(_big(place)), f"{FOLDER}/big")
    assert place.adb.ok("shell", f"sha256sum {FOLDER.lstrip('/')}/big").split()[0] == digest


def pull_big(place: Place) -> None:
    back = place.scratch / "back"
    place.adb.ok("pull", f"{FOLDER}/big", str(back))
    assert _digest(back) == _digest(_big(place))
    back.unlink()


def push_small_files(place: Place) -> None:
    place.adb.ok("push", str(_small(place)), f"{FOLDER}/", timeout_seconds=240)
    listed = place.adb.ok("shell", f"ls {FOLDER.lstrip('/')}/small | wc -l")
    assert int(listed) == place.small_files


def pull_small_files(place: Place) -> None:
    back = place.scratch / "small-back"
    place.adb.ok("pull", f"{FOLDER}/small", str(back), timeout_seconds=240)
    assert len(list(back.iterdir())) == place.small_files
    for file in back.iterdir():
        assert file.read_bytes() == (_small(place) / file.name).read_bytes(), file.name


def modes_and_times(place: Place) -> None:
    sent = place.scratch / "tool"
    sent.write_text("#!/bin/sh\necho ran\n")
    sent.chmod(0o755)
    place.adb.ok("push", str(sent), f"{FOLDER}/tool")
    relative = f"{FOLDER.lstrip('/')}/tool"
    mode, mtime = place.adb.ok("shell", f"stat -c '%a %Y' {relative}").split()
    assert int(mode, 8) & 0o111 and int(mtime) == int(sent.stat().st_mtime), (mode, mtime)
    back = place.scratch / "tool-back"
    place.adb.ok("pull", "-a", f"{FOLDER}/tool", str(back))
    assert int(back.stat().st_mtime) == int(sent.stat().st_mtime)


def refusals(place: Place) -> None:
    sent = place.scratch / "refused"
    sent.write_bytes(b"x" * 300_000)
    for target, reason in (("/system/x", "Read-only file system"), ("/data/refused", "Permission denied")):
        done = place.adb("push", str(sent), target)
        text = (done.stdout + done.stderr).decode()
        assert done.returncode == 1 and f"couldn't create file: {reason}" in text, text
    missing = place.adb("pull", f"{FOLDER}/not-there", str(place.scratch / "no"))
    assert missing.returncode == 1 and b"No such file or directory" in missing.stdout + missing.stderr, missing
    assert place.adb.ok("shell", "echo still here") == "still here\n"
    text = place.adb("root").stdout
    assert b"adbd cannot run as root in production builds" in text, text


def forward(place: Place) -> None:
    with _echo() as port:
        local = int(place.adb.ok("forward", "tcp:0", f"tcp:{port}"))
        assert _asked(local, b"to the phone") == b"to the phone"
        place.adb.ok("forward", "--remove", f"tcp:{local}")


def reverse(place: Place) -> None:
    with _echo() as port:
        remote = int(place.adb.ok("reverse", "tcp:0", f"tcp:{port}"))
        assert f"tcp:{remote} tcp:{port}" in place.adb.ok("reverse", "--list")
        assert _asked(remote, b"to the host") == b"to the host"
        place.adb.ok("reverse", "--remove", f"tcp:{remote}")
        assert place.adb.ok("reverse", "--list").strip() == ""
        assert place.adb("reverse", "--remove", f"tcp:{remote}").returncode == 1


def kill_and_reconnect(place: Place) -> None:
    place.adb.stop()
    place.adb.start()
    place.adb.connect()
    assert place.adb.ok("shell", "echo back") == "back\n"
    place.adb.ok("disconnect", place.adb.serial)
    place.adb.connect()
    assert place.adb.ok("shell", "echo again") == "again\n"


CHECKS: tuple[Callable[[Place], None], ...] = (
    devices,
    shell_exit_codes,
    shell_stdin,
    concurrent_shells,
    push_big,
    pull_big,
    push_small_files,
    pull_small_files,
    modes_and_times,
    refusals,
    forward,
    reverse,
    kill_and_reconnect,
)


def run(place: Place) -> Iterator[tuple[str, float]]:
    """Name and seconds of each check. AssertionError: what is not as it should be."""
    _big(place), _small(place)
    place.adb.start()
    try:
        place.adb.connect()
        place.adb.ok("shell", f"rm -rf {FOLDER.lstrip('/')}; mkdir -p {FOLDER.lstrip('/')}")
        for check in CHECKS:
            start = time.monotonic()
            check(place)
            yield check.__name__, time.monotonic() - start
        place.adb.ok("shell", f"rm -rf {FOLDER.lstrip('/')}")
    finally:
        place.adb.stop()


def _big(place: Place) -> Path:
    file = place.scratch / "big"
    if not file.exists():
        block = hashlib.shake_256(b"big").digest(1_000_000)
        with file.open("wb") as out:
            for number in range(place.big_bytes // len(block)):
                out.write(number.to_bytes(8, "big") + block[8:])
    return file


def _small(place: Place) -> Path:
    folder = place.scratch / "small"
    if not folder.exists():
        folder.mkdir()
        for number in range(place.small_files):
            (folder / f"{number:05}").write_bytes(b"%d\n" % number * (number % 40))
    return folder


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@contextmanager
def _echo() -> Iterator[int]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(65536):
                self.request.sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def _asked(port: int, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as asked:
        asked.sendall(text)
        answer = b""
        while len(answer) < len(text) and (data := asked.recv(65536)):
            answer += data
    return answer


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--address", help="HOST:PORT of a phone that runs already")
    given = arguments.parse_args()
    table: dict[str, dict[str, float]] = {}
    for name, program in programs().items():
        with tempfile.TemporaryDirectory(prefix="conformance-") as folder, phone(Path(folder) / "phone") as plain:
            serial = given.address or plain.address
            for check, seconds in run(Place(Adb(program, Path(folder) / "home", serial), Path(folder))):
                table.setdefault(check, {})[name] = seconds
                print(f"{name:>10}  {check:<20} {seconds:8.2f} s", flush=True)
    for missing in {"system", "adbutils"} - set(programs()):
        print(f"{missing:>10}  not on this machine: nothing was checked with it")
    return 0 if table else 1


if __name__ == "__main__":
    sys.exit(main())
