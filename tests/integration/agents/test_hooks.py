"""Hooks around attempts, with real commands."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from agents.agent import Agent
from farm.config import Settings
from farm.errors import InfrastructureError
from farm.types import AgentEvent, Lease
from tests.integration.agents.test_virtual_fleet import on_device
from tests.integration.agents.test_virtual_fleet import settings as fleet

# Every hook writes its name and attempt; where a file of its name lies in $HOME it does what that says.
SCRIPT = (
    'echo "$FARM_HOOK $FARM_ATTEMPT_ID" >> "$HOME/log"; if [ -e "$HOME/$FARM_HOOK" ]; then . "$HOME/$FARM_HOOK"; fi'
)
COMMAND = ("/bin/sh", "-c", SCRIPT)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hooks' home, by which their processes are found."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "log").touch()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def given(home: Path, tmp_path: Path) -> Settings:
    hooks = {f"agent_hook_{hook}": COMMAND for hook in ("pre_lease", "post_lease", "power_cycle")}
    return fleet(tmp_path, 2).model_copy(update={**hooks, "agent_hook_timeout_seconds": 20.0})


def log_of(home: Path) -> list[str]:
    return (home / "log").read_text().splitlines()


async def until(home: Path, line: str) -> None:
    """Until a hook has written this."""
    async with asyncio.timeout(20):
        while line not in log_of(home):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def processes_of(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("HOME") == str(home):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


async def end(agent: Agent, attempt_id: int = 1) -> AgentEvent:
    after = 0
    async with asyncio.timeout(30):
        while True:
            for event in await agent.events(after, 1):
                after = event.seq
                if event.attempt_id == attempt_id and event.kind != "started":
                    return event


def attempt(attempt_id: int) -> Lease:
    return on_device(0).model_copy(update={"attempt_id": attempt_id, "job_id": attempt_id})


def test_hooks_run_around_an_attempt_and_learn_what_it_is(
    given: Settings, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_TOKEN", "farm_secret")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    (home / "pre-lease").write_text('env > "$HOME/environment"')

    async def scene() -> None:
        agent = Agent(given)
        devices = agent.info().devices
        assert devices is not None
        assert devices[0].hooks == ("pre-lease", "post-lease", "power-cycle")
        assert devices[0].recovery == ("reconnect", "power-cycle", "reboot")
        agent.start(attempt(1))
        event = await end(agent)
        assert (event.kind, event.device_failure) == ("measured", None)
        assert log_of(home) == ["pre-lease 1", "post-lease 1"]
        await agent.close()

    asyncio.run(scene())
    environment = (home / "environment").read_text()
    assert "FARM_DEVICE_ID=fleet-virtual-0000" in environment
    assert "secret" not in environment


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo no such outlet; exit 3", "ended with exit code 3: no such outlet"),
        ("sleep 60 & sleep 60", "killed after 0.5 s"),
    ],
)
def test_a_failing_pre_lease_hook_ends_the_attempt_before_it_begins(
    given: Settings, home: Path, script: str, said: str
) -> None:
    (home / "pre-lease").write_text(script)

    async def scene() -> None:
        agent = Agent(given.model_copy(update={"agent_hook_timeout_seconds": 0.5}))
        agent.start(attempt(1))
        event = await end(agent)
        assert event.failure is not None
        assert (event.seq, event.failure.fault) == (1, "infrastructure"), "it was never started"
        assert said in event.failure.message
        assert log_of(home) == ["pre-lease 1", "post-lease 1"]
        await agent.close()

    asyncio.run(scene())
    assert processes_of(home) == []


def test_a_failing_post_lease_hook_is_the_devices_failure_not_the_attempts(given: Settings, home: Path) -> None:
    (home / "post-lease").write_text("echo cannot wipe it; exit 1")

    async def scene() -> None:
        agent = Agent(given)
        agent.start(attempt(1))
        event = await end(agent)
        assert (event.kind, event.failure) == ("measured", None)
        assert event.device_failure is not None
        assert "cannot wipe it" in event.device_failure.message
        await agent.close()

    asyncio.run(scene())


def test_a_command_that_is_not_there_is_named(given: Settings) -> None:
    async def scene() -> None:
        agent = Agent(given.model_copy(update={"agent_hook_pre_lease": ("/nowhere/hook",)}))
        agent.start(attempt(1))
        event = await end(agent)
        assert event.failure is not None
        assert "/nowhere/hook" in event.failure.message
        assert "agent_hook_pre_lease" in event.failure.remedy
        await agent.close()

    asyncio.run(scene())


def test_the_next_attempt_waits_for_the_post_lease_hook_of_the_one_before(given: Settings, home: Path) -> None:
    (home / "post-lease").write_text('sleep 0.5; echo "clean $FARM_ATTEMPT_ID" >> "$HOME/log"')

    async def scene() -> None:
        agent = Agent(given)
        agent.start(attempt(1))
        await until(home, "post-lease 1")
        agent.start(attempt(2))
        agent.start(attempt(2))
        assert agent.reconcile({1: 30, 2: 30}) == [1, 2]
        with pytest.raises(InfrastructureError, match="still runs attempt 2"):
            agent.start(attempt(3))
        assert not (await agent.check("fleet-virtual-0000", "check")).passed
        assert (await end(agent, 2)).kind == "measured"
        assert log_of(home) == [
            "pre-lease 1", "post-lease 1", "clean 1", "pre-lease 2", "post-lease 2", "clean 2",
        ]  # fmt: skip
        await agent.close()

    asyncio.run(scene())


def test_an_attempt_withdrawn_before_its_turn_leaves_the_one_before_alone(given: Settings, home: Path) -> None:
    (home / "post-lease").write_text('sleep 0.5; echo "clean $FARM_ATTEMPT_ID" >> "$HOME/log"')

    async def scene() -> None:
        agent = Agent(given)
        agent.start(attempt(1))
        await until(home, "post-lease 1")
        agent.start(attempt(2))
        assert agent.reconcile({1: 30}) == [1]
        agent.start(attempt(3))
        assert (await end(agent, 3)).kind == "measured"
        assert log_of(home)[2:4] == ["clean 1", "pre-lease 3"]
        await agent.close()

    asyncio.run(scene())


def test_a_lease_that_runs_out_during_the_pre_lease_hook_ends_it(given: Settings, home: Path) -> None:
    (home / "pre-lease").write_text("sleep 60 & sleep 60")

    async def scene() -> None:
        agent = Agent(given)
        agent.start(attempt(1).model_copy(update={"ttl_seconds": 0.2}))
        event = await end(agent)
        assert event.failure is not None
        assert "ran out" in event.failure.message
        assert log_of(home) == ["pre-lease 1", "post-lease 1"]
        await agent.close()

    asyncio.run(scene())
    assert processes_of(home) == []


@pytest.mark.parametrize(("hook", "kind"), [("pre-lease", "failed"), ("post-lease", "measured")])
def test_an_agent_that_restarts_during_a_hook_cleans_the_device(
    given: Settings, home: Path, hook: str, kind: str
) -> None:
    (home / hook).write_text("sleep 60")

    async def scene() -> None:
        first = Agent(given)
        first.start(attempt(1))
        await until(home, f"{hook} 1")
        await first.close()
        assert processes_of(home) == []
        (home / hook).unlink()
        second = Agent(given)
        event = await end(second)
        assert event.kind == kind
        assert log_of(home)[-1] == "post-lease 1"
        second.start(attempt(2))
        assert (await end(second, 2)).kind == "measured"
        await second.close()

    asyncio.run(scene())
