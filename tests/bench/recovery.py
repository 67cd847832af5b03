"""How long a farm needs to go on by itself after one of its parts was killed, and whether results are lost or doubled.

    python -m tests.bench.recovery [REPEATS [PART ...]]

Per part, the median of the longest time without a new result (of the agent that was struck, if it was one) after
``kill -9``; for the API the time until its next answer. A virtual job takes one second, every device always has a next
one. The database is a PostgreSQL that is stopped at once and started again, where one is installed.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time

import httpx

from tests.bench import report
from tests.chaos import account, postgres
from tests.chaos.faults import Fault, killer, supervisor_killer
from tests.chaos.fleet import HEAD, Fleet, until
from tests.chaos.script import Script
from tests.chaos.sweep import Sweep

REPEATS = 3
EDGE = "edge-2"
PARTS = {
    "api": Fault("api", killer(HEAD, "-m farm.server")),
    "coordinator": Fault("coordinator", killer(HEAD, "-m farm.coordinator")),
    "gcs": Fault("gcs", killer(HEAD, "gcs_server")),
    "raylet": Fault("raylet", killer(HEAD, "raylet/raylet")),
    "agent_actor": Fault("agent_actor", killer(EDGE, "ray::AgentActor"), EDGE),
    "agent_raylet": Fault("agent_raylet", killer(EDGE, "raylet/raylet"), EDGE),
    "agent_node": Fault("agent_node", supervisor_killer(EDGE), EDGE),
    "whole_head": Fault("whole_head", supervisor_killer(HEAD)),
}


def next_answer(fleet: Fleet) -> float:
    began = time.monotonic()

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{fleet.url}/api/v1/health", timeout=1).is_success
        return False

    until(answers, "the API answers", 120, fleet.keep_running)
    return time.monotonic() - began


def measure(script: Script, fault: Fault) -> float:
    fleet = script.fleet
    until(lambda: bool(fault.strike(fleet, script.rng)), f"{fault.name} is there", 60, fleet.keep_running)
    seconds = next_answer(fleet) if fault.name == "api" else script.longest_gap(fault)
    # Each starts from a farm that works as a whole.
    online = "SELECT count(*) FROM devices WHERE state = 'offline'"
    until(lambda: fleet.scalar(online) == 0, "all devices are back", 180, fleet.keep_running)
    script.rest(2)
    return seconds


def stop_database(script: Script) -> float:
    """From when it is back."""
    assert script.fleet.postgres is not None
    script.fleet.postgres.stop()
    script.fleet.postgres.start()
    return script.longest_gap(Fault("database", lambda fleet, rng: ""))


def main(repeats: int, parts: list[str]) -> None:
    wanted = parts or [*PARTS, "database"]
    seconds: dict[str, list[float]] = {part: [] for part in wanted}
    on_postgres = postgres.available()
    with Fleet(agents=2, devices_per_agent=8, job_seconds=1, lease_ttl_seconds=30, on_postgres=on_postgres) as fleet:
        script = Script(fleet, 0, recovery_limit_seconds=300)
        with Sweep(fleet):
            script.rest(5)
            for _ in range(repeats):
                for part in wanted:
                    if part in PARTS:
                        seconds[part].append(measure(script, PARTS[part]))
                    elif on_postgres:
                        seconds[part].append(stop_database(script))
                        script.rest(2)
        active = "SELECT count(*) FROM runs WHERE state = 'active'"
        until(lambda: fleet.scalar(active) == 0, "all runs end", 300, fleet.keep_running)
        finished, lost, double = account.of_results(fleet)
        fleet.stop()
    figures: dict[str, float | int | str | None] = {"repeats": repeats, "jobs_finished": finished}
    for part, values in seconds.items():
        figures[f"{part}_seconds"] = statistics.median(values) if values else None
        figures[f"{part}_seconds_longest"] = max(values, default=None)
    figures |= {"lost_results": lost, "double_results": double}
    rows = [(name, "not measured: no PostgreSQL here" if value is None else value) for name, value in figures.items()]
    print(report.table([("figure", "value"), *rows]))
    print(f"\nWritten to {report.write('recovery', figures)}.")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else REPEATS, sys.argv[2:])
