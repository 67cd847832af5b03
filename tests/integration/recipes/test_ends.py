"""How builds end that do not end well: limits, crashes, kills, a full disk."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from farm.errors import FarmError, InfrastructureError, RecipeError
from tests.integration.recipes.workshop import Workshop

pytestmark = pytest.mark.real_models


def worker() -> psutil.Process:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process().children():
            try:
                if "farm.recipes.worker" in child.cmdline() and child.num_threads() > 1:  # it is loading libraries
                    return child
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.02)
    raise TimeoutError("no build has started")


def test_the_time_limit_ends_the_build(workshop, spec):
    started = time.monotonic()
    others = psutil.Process().children(recursive=True)
    with pytest.raises(RecipeError, match="longer than the limit of 1 s") as caught:
        workshop.build(spec, "executorch-xnnpack", timeout_seconds=1.0)
    assert time.monotonic() - started < 20
    assert caught.value.details["limit"] == "time"
    assert not set(psutil.Process().children(recursive=True)) - set(others)


def test_the_memory_limit_ends_the_build(workshop, spec):
    with pytest.raises(RecipeError, match="memory") as caught:
        workshop.build(spec, "litert", memory_bytes=100 * 2**20)
    assert "build_memory_bytes" in caught.value.remedy


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (signal.SIGKILL, InfrastructureError, "killed from outside"),
        (signal.SIGSEGV, RecipeError, "crashed while building litert (SIGSEGV)"),
        (signal.SIGABRT, RecipeError, "SIGABRT"),
    ],
)
def test_a_process_that_dies_is_told_apart_from_one_that_was_killed(workshop, spec, number, kind, says):
    caught: list[FarmError] = []

    def build() -> None:
        try:
            workshop.build(spec, "litert")
        except FarmError as error:
            caught.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    worker().send_signal(number)
    thread.join(60)
    (error,) = caught
    assert type(error) is kind
    assert says in error.message
    if number != signal.SIGKILL:
        assert error.details["log_tail"].startswith("Fatal Python error")  # with Python's stack at the crash


def test_a_damaged_store_is_no_fault_of_the_model(spec, workshop, tmp_path):
    damaged = Workshop(tmp_path)
    for blob in (spec.program, spec.example_inputs, spec.parity_inputs, spec.calibration_inputs):
        damaged.store.put_file(workshop.store.local_path(blob.sha256), blob.name)
    path = damaged.store.local_path(spec.program.sha256)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InfrastructureError, match="damaged"):
        damaged.build(spec, "pytorch")


SCRIPT = """
import resource, sys
from pathlib import Path
from farm.errors import FarmError
from farm.recipes.build import run_build
from farm.types import BuildRequest
request = BuildRequest.model_validate_json(Path(sys.argv[1]).read_text())
if sys.argv[2] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    print(run_build(request).files[0].name)
except FarmError as error:
    print(type(error).__name__, error.message)
"""


def build_in_process(request, tmp_path, *, file_bytes: int = 0, **environment: str) -> str:
    """``run_build`` in a process of its own, with a limit on the size of files it can write."""
    (tmp_path / "request.json").write_text(request.model_dump_json())
    root = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "request.json"), str(file_bytes)],
        env={**os.environ, "PYTHONPATH": root, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
        check=True,
    )
    return done.stdout


def test_an_upload_that_cannot_be_staged_is_the_disks_fault(workshop, spec, tmp_path):
    told = build_in_process(workshop.request(spec, "onnxruntime"), tmp_path, file_bytes=2_000)
    assert told.startswith("InfrastructureError")


def test_a_full_disk_is_the_disks_fault(workshop, spec, tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=260k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs privileges")
    try:
        told = build_in_process(workshop.request(spec, "pytorch"), tmp_path, TMPDIR=str(mount))
    finally:
        subprocess.run(["umount", str(mount)], check=True)
    assert told.startswith("InfrastructureError"), told
    assert "disk is full" in told


def test_secrets_of_the_caller_do_not_reach_the_child(workshop, spec, monkeypatch):
    monkeypatch.setenv("FARM_TOKEN", "secret-of-the-farm")
    seen: list[str] = []

    def build() -> None:
        workshop.build(spec, "pytorch")

    thread = threading.Thread(target=build)
    thread.start()
    seen.append(str(worker().environ()))
    thread.join(60)
    assert "secret-of-the-farm" not in seen[0]
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" in seen[0]


def test_it_runs_from_any_process_and_folder(workshop, spec, tmp_path):
    assert build_in_process(workshop.request(spec, "pytorch"), tmp_path) == "model.pt2\n"
