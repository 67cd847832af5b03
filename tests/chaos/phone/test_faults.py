"""Everything that can go wrong with a phone, at every step of a job's way: it ends in a result or in a failure that
says what happened, the next job runs clean, and nothing stays behind on phone or host.

A handful goes with every test run; ``make test-phone-faults`` runs all of them.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from pathlib import Path

import pytest

from agents.android import attempt, handset
from agents.drivers import android
from farm.types import AgentEvent
from tests.chaos.phone.stage import STEPS, lease, reached, stage
from tests.integration.agents.android.scene import Scene, adb_program, until

pytestmark = pytest.mark.skipif(adb_program() is None, reason="needs an adb program")

FAULTS = {
    "unplug": ("unplug", True),
    "offline": ("offline", True),
    "unauthorized": ("unauthorized", True),
    "header": ("protocol_fault", "header"),
    "payload": ("protocol_fault", "payload"),
    "slow": ("slow_link_bytes_per_second", 400_000),
    "full": ("full_storage", True),
    "hot": ("ambient_celsius", 60.0),
    "charging": ("charging", True),
    "sign": ("lying_gauge", "sign"),
    "frozen": ("lying_gauge", "frozen"),
    "scale": ("lying_gauge", "scale"),
}
_AWAY = {"unplug", "offline", "unauthorized"}
_HARMLESS = {"slow", "hot", "charging", "sign", "frozen", "scale"}
# The adb server of 2019 keeps a link whose framing is broken, and what goes over it hangs.
_BROKEN = {"device": {"device-timeout", "output-cut"}, "infrastructure": {"link-lost", "infrastructure"}}

CASES = [
    (fault, step, lifted)
    for fault in FAULTS
    for step in STEPS
    for lifted in ((True, False) if fault not in _HARMLESS else (False,))
]
_HANDFUL = {
    ("unplug", "layers", True),
    ("unauthorized", "starting", True),
    ("offline", "measuring", False),
    ("payload", "fetching", True),
    ("full", "model", False),
}


def check(event: AgentEvent, fault: str, step: str, *, lifted: bool) -> None:
    """That it ended as it had to."""
    failure = event.failure
    if failure is None:
        assert event.kind == "measured"
        may_end_well = lifted or fault in _HARMLESS or step == "cleaning" or fault in ("full", "header", "payload")
        assert may_end_well, "measured with a phone that was not there"
        return
    assert fault not in _HARMLESS, failure
    assert failure.remedy
    if fault in _AWAY:
        assert (failure.fault, failure.code) == ("infrastructure", "link-lost"), failure
        assert not lifted or step == "before", failure
    elif fault == "full":
        assert failure.fault == "device" and "free" in failure.remedy.lower(), failure
    else:
        assert failure.code in _BROKEN.get(failure.fault, ()), failure


async def untouched(it: Scene) -> None:
    for _ in range(50):
        if await it.left_behind() == ([], []):
            break
        await asyncio.sleep(0.1)
    assert await it.left_behind() == ([], [])


async def play(monkeypatch: pytest.MonkeyPatch, folder: Path, fault: str, step: str, *, lifted: bool) -> None:
    name, value = FAULTS[fault]
    async with stage(folder) as it:
        if step == "before":
            it.phone.faults.switch(name, value)
        it.agent.start(lease(it, 1, 60.0 if lifted else 6.0))
        await reached(it, step)
        it.phone.faults.switch(name, value)
        if lifted:
            await asyncio.sleep(1.5)
            it.phone.faults.clear()
        check(await it.end(90), fault, step, lifted=lifted)
        it.phone.faults.clear()
        await until(lambda: it.devices and not it.devices[0].blocked, 60)
        monkeypatch.setattr(android, "_AWAY_SECONDS", 30.0)
        it.agent.start(lease(it, 2, 60.0))
        after = await it.end(60)
        assert after.kind == "measured", after.failure
        await untouched(it)
        attempts = it.settings.state_dir / "agents" / it.settings.agent_name / "attempts"
        assert list(attempts.iterdir()) == []
        assert list(it.settings.state_dir.rglob("*.part")) == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


def ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, step: str, *, lifted: bool) -> None:
    for module, name in (
        (attempt, "_PREPARE_SECONDS"),
        (attempt, "_START_SECONDS"),
        (handset, "_SURVEY_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 5.0)
    monkeypatch.setattr(android, "_AWAY_SECONDS", 30.0 if lifted else 4.0)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    threads = set(threading.enumerate())
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    before = set(children.read_text().split())  # of tests that this process ran before
    asyncio.run(play(monkeypatch, tmp_path, fault, step, lifted=lifted))
    assert set(threading.enumerate()) == threads
    assert list(scratch.iterdir()) == []
    assert set(children.read_text().split()) <= before, "processes are left on the host"


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "step", "lifted"), sorted(_HANDFUL))
def test_some_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, step: str, lifted: bool) -> None:
    ends_well(tmp_path, monkeypatch, fault, step, lifted=lifted)


@pytest.mark.phone_faults
@pytest.mark.parametrize(("fault", "step", "lifted"), [case for case in CASES if case not in _HANDFUL])
def test_all_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, step: str, lifted: bool) -> None:
    ends_well(tmp_path, monkeypatch, fault, step, lifted=lifted)
