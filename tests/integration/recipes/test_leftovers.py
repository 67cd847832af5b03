"""What a build leaves behind when its process is killed, and who removes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from farm.recipes import scratch

HELD = """
from farm.recipes import scratch
import time
with scratch.folder() as folder:
    (folder / "model.bin").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of this test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def test_the_folder_of_a_killed_build_is_removed_and_that_of_one_that_runs_is_not(elsewhere: Path) -> None:
    builds = [subprocess.Popen([sys.executable, "-c", HELD], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        killed, running = (Path(build.stdout.readline().strip()) for build in builds)
        foreign = elsewhere / "farm-build-from-somebody-else"
        foreign.mkdir()
        builds[0].send_signal(signal.SIGKILL)
        builds[0].wait(timeout=30)
        assert killed.exists()
        with scratch.folder() as own:
            scratch.discard_leftovers()
            assert not killed.exists()
            assert (running / "model.bin").exists() and own.exists() and foreign.exists()
    finally:
        for build in builds:
            build.kill()
            build.wait(timeout=30)
            build.stdout.close()


def test_a_process_id_that_is_used_again_does_not_keep_a_folder(elsewhere: Path) -> None:
    stale = elsewhere / f"farm-build-{os.getpid()}-1-old"
    stale.mkdir()
    scratch.discard_leftovers()
    assert not stale.exists()
