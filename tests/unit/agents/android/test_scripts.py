"""The scripts around an attempt: their answers are read back, their processes are found and ended. In a real shell."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from agents.android import scripts
from agents.android.files import Kept


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ROOT", "ATTEMPTS", "BLOBS", "LAYERS"):
        folder = tmp_path if name == "ROOT" else tmp_path / name.lower()
        monkeypatch.setattr(scripts, name, str(folder))
    monkeypatch.setattr(scripts, "_SWEEP", scripts._SWEEP.replace("/data/local/tmp/torchfarm", str(tmp_path)))
    return tmp_path


def sh(script: str) -> str:
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=30).stdout


def start(attempt: str, command: list[str], sampler: str = "") -> None:
    harness = scripts.harness(attempt, command, {"PATH": os.defpath})
    sh(scripts.start(attempt, "{}", harness, used=["b"], state=["true"], sampler=sampler, idle_seconds=0))


def test_how_the_phone_is_comes_back(room: Path) -> None:
    sh(scripts.prepare([], {}))
    (room / "blobs" / "abc").write_text("12345")
    os.utime(room / "blobs" / "abc", (1000, 1000))
    for name, whole in (("l1", True), ("l2", False)):
        (room / "layers" / name).mkdir()
        if whole:
            (room / "layers" / name / ".complete").touch()
    (room / "attempts" / "7-aa").mkdir()
    (room / "attempts" / "8-bb").mkdir()
    found = scripts.prepared(sh(scripts.prepare(["8-bb"], {"one": "echo x=y", "none": "false"})), ["one", "none"])
    assert found.gone == ("7-aa",)
    assert found.blobs == (Kept("abc", 5, 1000),)
    assert found.layers == {"l1"}
    assert found.free_bytes is not None and found.free_bytes > 0
    assert found.state == {"one": "x=y", "none": ""}


def test_an_attempt_outlives_its_shell_and_is_awaited_without_a_clock(room: Path) -> None:
    sh(scripts.prepare([], {}))
    start(
        "1-ab",
        ["sh", "-c", "echo said; touch part-1.txt part-2.txt; sleep 1; exit 3"],
        sampler="echo sampled > samples.tsv",
    )
    began = time.monotonic()
    end, hashes = scripts.waited(sh(scripts.wait("1-ab", ["part-*.txt"])), ["part-*.txt"])
    assert time.monotonic() - began > 0.5
    assert end == "3"
    assert hashes.keys() == {"log.txt", "samples.tsv", "part-1.txt", "part-2.txt"}
    assert (room / "attempts/1-ab/log.txt").read_text() == "said\n"
    assert scripts.waited(sh(scripts.wait("2-none", []))) == ("gone", {})


def test_what_is_not_known_is_ended_with_its_children_and_the_rest_goes_on(room: Path) -> None:
    sh(scripts.prepare([], {}))
    for attempt in ("1-ab", "2-cd"):
        start(attempt, ["sh", "-c", "sleep 300 & sleep 300"])
    for attempt in ("1-ab", "2-cd"):
        while len(processes(attempt)) < 4:
            time.sleep(0.01)
    sh(scripts.finish(["2-cd"], ["true"], "true"))
    assert processes("1-ab") == []
    assert len(processes("2-cd")) >= 3
    assert not (room / "attempts/1-ab").exists()
    sh(scripts.finish([], [], "true"))
    assert processes("2-cd") == []


def test_a_start_whose_answer_was_lost_is_not_made_twice(room: Path) -> None:
    sh(scripts.prepare([], {}))
    for _ in range(2):
        start("1-ab", ["sh", "-c", "echo once; sleep 1"])
    assert scripts.waited(sh(scripts.wait("1-ab", [])))[0] == "0"
    assert (room / "attempts/1-ab/log.txt").read_text() == "once\n"


def processes(attempt: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{scripts.VARIABLE}={attempt}".encode() in (folder / "environ").read_bytes():
                found.append(folder.name)
        except OSError:
            continue
    return found


def test_a_harness_that_was_killed_from_outside_has_no_exit_code(room: Path) -> None:
    sh(scripts.prepare([], {}))
    start("1-ab", ["sleep", "300"])
    while not (room / "attempts/1-ab/pid").exists():
        time.sleep(0.01)
    for pid in processes("1-ab"):
        subprocess.run(["kill", "-9", pid], check=False, capture_output=True)
    assert scripts.waited(sh(scripts.wait("1-ab", ["part-*.txt"])), ["part-*.txt"])[0] == "unknown"
