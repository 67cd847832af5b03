"""Everything that can go wrong with a phone, at every step of a job's way: it ends in a result or in a failure that
says what happened, the next job runs clean, and nothing stays behind on phone or host."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import time
from pathlib import Path

import pytest

from agents.drivers import android
from tests.chaos.phone.stage import STEPS, lease, reached, stage
from tests.integration.agents.android.scene import Scene, adb_program

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


@pytest.mark.parametrize("lifted", [True, False])
@pytest.mark.parametrize("step", list(STEPS))
@pytest.mark.parametrize("fault", list(FAULTS))
def test_x(tmp_path, monkeypatch, fault, step, lifted):
    monkeypatch.setattr(android, "_AWAY_SECONDS", 3.0)
    threads = set(threading.enumerate())
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    async def play():
        t0 = time.monotonic()
        async with stage(tmp_path) as it:
            t1 = time.monotonic()
            name, value = FAULTS[fault]
            if step == "before":
                it.phone.faults.switch(name, value)
            try:
                it.agent.start(lease(it, 1, 60.0 if lifted else 6.0))
                await reached(it, step)
                it.phone.faults.switch(name, value)
                if lifted:
                    await asyncio.sleep(1.5)
                    it.phone.faults.clear()
                event = await it.end(60)
                print("END", fault, step, lifted, event.kind, event.failure and (event.failure.fault, event.failure.code, event.failure.message, event.failure.remedy))
            except Exception as e:
                print("END", fault, step, lifted, "raised", repr(e))
                raise
            t2 = time.monotonic()
            it.phone.faults.clear()
            await it.device()
            t3 = time.monotonic()
            it.agent.start(lease(it, 2, 60.0))
            event = await it.end(60)
            print("NEXT", event.kind, event.failure)
            assert event.kind == "measured"
            t4 = time.monotonic()
            for _ in range(50):
                if await it.left_behind() == ([], []): break
                await asyncio.sleep(0.1)
            assert await it.left_behind() == ([], [])
            print("T", [round(x, 1) for x in (t1-t0, t2-t1, t3-t2, t4-t3)])
        left = asyncio.all_tasks() - {asyncio.current_task()}
        print("TASKS", left)
    asyncio.run(play())
    print("THREADS", set(threading.enumerate()) - threads, list(scratch.iterdir()), [p for p in tmp_path.rglob("*.part")], list((tmp_path/"state/agents/bench/attempts").iterdir()))
