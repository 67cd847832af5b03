"""What the harness does to, and reads from, its own process: in fresh ones, as on a device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agents.harness import memory
from agents.harness.job import Job


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_before_threads_and_cpus_are_set_only_the_standard_library_is_loaded() -> None:
    loaded = run("import sys, agents.harness.__main__\nprint(*sys.modules)").split()
    assert not {"numpy", "torch", "farm", "pydantic"} & set(loaded)


def test_the_harness_needs_numpy_and_nothing_of_farm() -> None:
    loaded = run("import sys, agents.harness.measurement\nprint(*sys.modules)").split()
    assert "numpy" in loaded
    assert not {"farm", "pydantic", "torch", "onnxruntime", "executorch", "ai_edge_litert", "ray"} & set(loaded)


def test_threads_started_after_pinning_stay_on_the_cpu() -> None:
    cpu = max(os.sched_getaffinity(0))
    program = (
        "import threading\nfrom agents.harness import affinity\n"
        f"affinity.pin([{cpu}])\n"
        "gate = threading.Event()\nthread = threading.Thread(target=gate.wait)\nthread.start()\n"
        f"print(affinity.allowed([{cpu}]))\ngate.set()"
    )
    assert run(program) == f"[{cpu}]"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_a_thread_that_left_its_cpus_is_found() -> None:
    program = (
        "import os, threading\nfrom agents.harness import affinity\nfrom agents.harness.failure import Failure\n"
        "cpus = sorted(os.sched_getaffinity(0))\naffinity.pin(cpus[:1])\n"
        "moved, gate = threading.Event(), threading.Event()\n"
        "def escape():\n    os.sched_setaffinity(0, cpus)\n    moved.set()\n    gate.wait()\n"
        "threading.Thread(target=escape).start()\nmoved.wait()\n"
        "try:\n    affinity.allowed(cpus[:1])\nexcept Failure as failure:\n    print(failure.code)\ngate.set()"
    )
    assert run(program) == "cpus-not-pinned"


def test_a_cpu_that_does_not_exist_is_refused_with_its_number() -> None:
    program = (
        "from agents.harness import affinity\nfrom agents.harness.failure import Failure\n"
        "try:\n    affinity.pin([1000])\nexcept Failure as failure:\n    print(failure.fault, failure.message)"
    )
    assert "device The measurement should run on CPUs 1000" in run(program)


def test_the_peak_remembers_memory_that_was_given_back() -> None:
    program = (
        "from agents.harness.memory import resident\n"
        "before = resident('VmRSS')\nblock = bytearray(80_000_000)\ndel block\n"
        "print(resident('VmHWM') - before, resident('VmRSS') - before)"
    )
    peak, now = map(int, run(program).split())
    assert peak >= 79_000_000
    assert now < 40_000_000


def test_memory_that_cannot_be_read_is_absent_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nThreads:\t1\n")
    assert memory.resident("VmHWM", tmp_path / "status") is None
    assert memory.resident("VmHWM", tmp_path / "gone") is None
    assert "VmHWM" in str(memory.record(None, None)["absent"])


def test_a_job_without_a_field_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"runtime": "litert", "protocol": {}}))
    with pytest.raises(ValueError, match="min_warmup_seconds"):
        Job.read(tmp_path / "job.json")


@pytest.mark.parametrize("content", [None, "not json", "{}"])
def test_a_job_that_cannot_be_read_ends_with_exit_code_2_and_the_reason(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "job.json"
    if content is not None:
        path.write_text(content)
    done = subprocess.run(
        [sys.executable, "-m", "agents.harness", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "The harness cannot start" in done.stderr
