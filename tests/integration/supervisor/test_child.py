"""A process that is kept running, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil

from farm.supervisor.child import Child, _boot

# Takes its time to end, and has a child of its own that does not end with it: as a Ray node.
STUBBORN = "import signal, subprocess, time; signal.signal(15, signal.SIG_IGN); subprocess.Popen(['sleep', '600']); "
STUBBORN += "print('up', flush=True); time.sleep(600)"


def family(child: Child) -> list[psutil.Process]:
    while "up" not in child.last_words():
        time.sleep(0.02)
    assert child.pid is not None
    parent = psutil.Process(child.pid)
    return [parent, *parent.children()]


def all_end(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=10)[1]


def test_what_a_killed_supervisor_left_running_ends_when_the_next_one_starts(tmp_path: Path) -> None:
    supervisor = f"""
        import os, sys
        from pathlib import Path
        from farm.supervisor.child import Child
        child = Child("ray", [sys.executable, "-c", {STUBBORN!r}], {{}}, Path({str(tmp_path)!r}))
        child.start()
        while "up" not in child.last_words(): pass
        print(child.pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(supervisor)], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
    first = psutil.Process(int(done.stdout))
    left = [first, *first.children()]
    assert len(left) == 2
    second = Child("ray", [sys.executable, "-c", "pass"], {}, tmp_path)
    second.start()
    assert all_end(left)
    second.stop()


def test_what_a_killed_child_left_running_ends_with_its_restart(tmp_path: Path) -> None:
    child = Child("ray", [sys.executable, "-c", STUBBORN], {}, tmp_path)
    child.start()
    parent, orphan = family(child)
    parent.kill()
    deadline = time.monotonic() + 10
    while not child.keep_running():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert all_end([orphan])
    child.stop()


def test_a_stranger_with_the_same_number_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        (tmp_path / "ray.pid").write_text(f"{stranger.pid} 12345.0 {_boot()}")
        child = Child("ray", [sys.executable, "-c", "pass"], {}, tmp_path)
        child.start()
        child.stop()
        assert stranger.poll() is None
        os.kill(stranger.pid, signal.SIGKILL)
