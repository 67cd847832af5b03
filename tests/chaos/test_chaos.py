"""Everything that can be killed, cut, filled or stopped is, in the middle of a sweep; nothing is lost or counted twice.

docs/chaos.md says what is done and how a seed is repeated.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from tests.chaos import account, faults, postgres
from tests.chaos.fleet import Fleet, until
from tests.chaos.network import Network
from tests.chaos.script import Script
from tests.chaos.sweep import Sweep

pytest.importorskip("torch", reason="needs the torch extra")
pytestmark = [pytest.mark.real_models, pytest.mark.slow]

SHORT = ("agent actor", "coordinator", "harness", "api", "agent raylet", "whole head")
SETTLE_SECONDS = 120
ORPHANS_SECONDS = 30  # what Ray's workers take to notice that their node has ended
FINISHED = "SELECT count(*) FROM results"
UNFINISHED = "SELECT count(*) FROM runs WHERE state = 'active'"


def seed(default: int) -> int:
    return int(os.environ.get("FARM_CHAOS_SEED") or default)


def run(fleet: Fleet, script: Script, play: Callable[[], None]) -> list[str]:
    """Play while there is work, let it come to rest, and take the account."""
    try:
        with Sweep(fleet) as sweep:
            until(lambda: bool(fleet.scalar(FINISHED)), "the first result", 120, fleet.keep_running)
            script.note("the first result")
            play()
        if sweep.error:
            raise sweep.error
        script.note("no more work")
        until(lambda: fleet.scalar(UNFINISHED) == 0, "all runs end", SETTLE_SECONDS, fleet.keep_running)
        script.note("all runs have ended")
        until(lambda: not account.of_journals(fleet), "agents are told so", 30, fleet.keep_running)
        wrong = account.of_jobs(fleet) + account.of_devices(fleet) + account.of_files(fleet, script.strikes)
        print(account.summary(fleet))
        print(f"{len(sweep.refusals)} submissions refused, such as: {sweep.refusals[:1]}")
        fleet.stop()
        script.note("stopped")
        ended = time.monotonic() + ORPHANS_SECONDS
        while (left := account.of_processes(fleet)) and time.monotonic() < ended:
            time.sleep(0.2)
        script.note("nothing runs on" if not left else "something runs on")
        return wrong + left
    except BaseException:
        print(*fleet.logs(), sep="\n")
        raise
    finally:
        print(script.table())


@pytest.mark.timeout(400)
def test_a_short_sweep_survives() -> None:
    with Fleet(agents=3, devices_per_agent=17, job_seconds=4) as fleet:
        script = Script(fleet, seed(1))

        def play() -> None:
            chosen = {fault.name: fault for fault in faults.catalogue(fleet, script.rng)}
            script.play(chosen[name] for name in script.rng.sample(SHORT, len(SHORT)))

        assert run(fleet, script, play) == []


@pytest.mark.chaos_long
@pytest.mark.timeout(3000)
def test_a_long_sweep_survives() -> None:
    seconds = float(os.environ.get("FARM_CHAOS_SECONDS") or 600)
    with Network.or_skip() as network:
        fleet = Fleet(
            agents=3, devices_per_agent=18, job_seconds=8, seed=seed(0), network=network, own_disks=True,
            on_postgres=postgres.available(),
        )  # fmt: skip
        with fleet:
            script = Script(fleet, seed(int(time.time())), double_ratio=0.25)

            def play() -> None:
                deadline = time.monotonic() + seconds
                while time.monotonic() < deadline:
                    round_of_faults = faults.catalogue(fleet, script.rng)
                    script.rng.shuffle(round_of_faults)
                    script.play(round_of_faults)

            assert run(fleet, script, play) == []
            count = fleet.scalar("SELECT count(*) FROM jobs")
            assert count >= 1000, f"only {count} jobs"
