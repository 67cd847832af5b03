import os
import sys
import time

import psutil
import pytest

from farm.recipes import limits
from tests.unit.recipes.processes import alive

MIB = 2**20


def run(tmp_path, code, *, timeout_seconds=30.0, memory_bytes=500 * MIB):
    return limits.run(
        [sys.executable, "-c", code],
        environment={"PATH": os.environ["PATH"]},
        folder=tmp_path,
        log=tmp_path / "log",
        timeout_seconds=timeout_seconds,
        memory_bytes=memory_bytes,
    )


def test_a_command_that_ends_is_reported_with_its_output(tmp_path):
    ended = run(tmp_path, "import time; print('hello'); time.sleep(0.5); raise SystemExit(3)")
    assert (ended.returncode, ended.stopped_by) == (3, None)
    assert (tmp_path / "log").read_text() == "hello\n"
    assert ended.peak_rss_bytes > MIB
    assert 0.5 <= ended.seconds < 10


def test_it_lets_others_go_first(tmp_path):
    code = f"""
import os, time
began = time.monotonic()
while os.getpriority(os.PRIO_PROCESS, 0) < {limits.NICENESS} and time.monotonic() < began + 20:
    time.sleep(0.01)
print(os.getpriority(os.PRIO_PROCESS, 0))
"""
    run(tmp_path, code)
    assert int((tmp_path / "log").read_text()) == max(limits.NICENESS, os.getpriority(os.PRIO_PROCESS, 0))


FAMILY = """
import os, subprocess, sys, time
sleep = [sys.executable, '-c', 'import time; time.sleep(600)']
same = subprocess.Popen(sleep)
away = subprocess.Popen(sleep, start_new_session=True)
open('pids', 'w').write(f'{same.pid} {away.pid}')
time.sleep(600)
"""


def test_the_time_limit_ends_the_whole_tree(tmp_path):
    ended = run(tmp_path, FAMILY, timeout_seconds=2.0)
    assert ended.stopped_by == "time"
    assert 2.0 <= ended.seconds < 10
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert not any(alive(pid) for pid in pids)


def test_the_memory_limit_counts_the_whole_tree(tmp_path):
    hog = "b = bytearray(400 << 20); import time; time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hog!r}])"
    ended = run(tmp_path, code, memory_bytes=200 * MIB)
    assert ended.stopped_by == "memory"
    assert ended.peak_rss_bytes > 200 * MIB


def test_a_child_that_is_left_behind_ends_with_its_parent(tmp_path):
    code = FAMILY.replace("time.sleep(600)\n", "time.sleep(1)\n")
    ended = run(tmp_path, code)
    assert ended.stopped_by is None
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


def test_an_interrupt_of_the_caller_ends_the_tree(tmp_path):
    caller = f"""
import sys
from pathlib import Path
from farm.recipes import limits
folder = Path({str(tmp_path)!r})
limits.run([sys.executable, '-c', {FAMILY!r}], environment={{}}, folder=folder, log=folder / 'log',
           timeout_seconds=60, memory_bytes=1 << 30)
"""
    process = psutil.Popen([sys.executable, "-c", caller])
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "pids").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(2)
        process.wait(20)
    finally:
        if process.is_running():
            process.kill()
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert not any(alive(pid) for pid in pids)


def test_a_missing_command_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        limits.run(
            [str(tmp_path / "none")],
            environment={},
            folder=tmp_path,
            log=tmp_path / "log",
            timeout_seconds=1,
            memory_bytes=MIB,
        )
