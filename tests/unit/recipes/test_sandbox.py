"""The confinement, tried from inside: a fresh process enters it and reports what it still can do."""

import json
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.recipes.processes import alive

PROBE = """
import json, os, resource, socket, sys
from pathlib import Path
from farm.recipes import sandbox
folder, secret = Path(sys.argv[1]), sys.argv[2]
granted = sandbox.enter(folder, parent=os.getppid(), memory_bytes=1 << 30)
def can(action):
    try:
        action()
    except OSError:
        return False
    return True
def connect():
    with socket.create_connection(("127.0.0.1", int(sys.argv[3])), timeout=2):
        pass
import numpy
print(json.dumps({
    "network": granted.network, "files": granted.files,
    "connects": can(connect),
    "reads_secret": can(lambda: Path(secret).read_text()),
    "writes_beside": can(lambda: Path(secret).with_name("new").write_text("x")),
    "writes_home": can(lambda: (folder / "x").write_text("x")),
    "reads_parent": can(lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes()),
    "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
}))
"""


@pytest.fixture
def report(tmp_path):
    home, outside = tmp_path / "home", tmp_path / "outside"
    home.mkdir()
    outside.mkdir()
    (outside / "token").write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = [str(home), str(outside / "token"), str(server.getsockname()[1])]
        done = subprocess.run(
            [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, timeout=60, check=True
        )
    return json.loads(done.stdout)


def test_it_works_in_its_folder_and_dumps_no_core(report):
    assert report["writes_home"]
    assert report["core"] == 0


def test_the_network_is_gone_where_the_kernel_grants_it(report):
    assert report["connects"] != report["network"]


def test_files_outside_are_gone_where_the_kernel_grants_it(report):
    outside = [report[key] for key in ("reads_secret", "writes_beside")]
    assert outside == [not report["files"]] * 2
    if report["files"]:
        assert not report["reads_parent"]


def test_memory_beyond_the_limit_is_refused(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from farm.recipes import sandbox\n"
        "sandbox.enter(Path(sys.argv[1]), parent=os.getppid(), memory_bytes=1 << 28)\n"
        "bytearray(3 << 30)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert "MemoryError" in done.stderr
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_it_dies_with_its_parent(tmp_path):
    child = (
        "import os, sys, time; from pathlib import Path; from farm.recipes import sandbox\n"
        "sandbox.enter(Path(sys.argv[1]), parent=os.getppid(), memory_bytes=1 << 30)\n"
        "Path(sys.argv[1], 'pid').write_text(str(os.getpid())); time.sleep(600)"
    )
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
    process = subprocess.Popen([sys.executable, "-c", parent, child, str(tmp_path)], env=dict(os.environ))
    marker = Path(tmp_path, "pid")
    deadline = time.monotonic() + 30
    while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait(10)
    pid = int(marker.read_text())
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)
