"""Health checks and the recovery ladder, with a virtual fleet, this machine and a driver of somebody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.agent import Agent
from agents.drivers import selftest
from agents.virtual.driver import VirtualDriver
from agents.virtual.profile import Profile, load_profile
from farm.config import Settings
from farm.errors import DeviceError, InfrastructureError
from farm.types import RecoveryStep
from tests.integration.agents.test_virtual_fleet import ends, on_device
from tests.integration.agents.test_virtual_fleet import settings as fleet

DEVICE = "fleet-virtual-0000"


class Stubborn(VirtualDriver):
    """Its check waits until it is let go, and then does what the test says."""

    def __init__(self, agent: str, count: int, profile: Profile) -> None:
        super().__init__(agent, count, profile)
        self.checks, self.recoveries, self.let_go = 0, 0, asyncio.Event()
        self.outcome: Callable[[], str] = lambda: "answers"

    async def check(self, device_id: str) -> str:
        self.checks += 1
        await self.let_go.wait()
        return self.outcome()

    async def recover(self, device_id: str, step: RecoveryStep) -> None:
        self.recoveries += 1


def stubborn(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[Agent, Stubborn]:
    driver = Stubborn("fleet", 1, load_profile())
    monkeypatch.setattr("agents.agent.catalogue.drivers", lambda _: {"virtual": driver})
    return Agent(settings), driver


def broken_profile(folder: Path) -> Settings:
    given = fleet(folder, 1)
    profile = folder / "profile.yaml"
    mended = "offline_seconds: 600, break_ratio: 1, mended_by: {reboot: 1}"
    profile.write_text(
        profile.read_text().replace("offline_seconds: 600", mended).replace("time_scale: 0.2", "time_scale: 0.01")
    )
    return given


def test_the_ladder_mends_a_broken_device(tmp_path: Path) -> None:
    async def scene() -> None:
        agent = Agent(broken_profile(tmp_path))
        assert (await agent.check(DEVICE, "check")).passed
        agent.start(on_device(0))
        (measured,) = await ends(agent, 1)
        assert measured.kind == "measured"
        agent.start(on_device(0).model_copy(update={"attempt_id": 2}))
        (failed,) = await ends(agent, 1, measured.seq)
        assert failed.failure is not None
        assert failed.failure.fault == "infrastructure"
        for step, passes in (("check", False), ("reconnect", False), ("power-cycle", False), ("reboot", True)):
            check = await agent.check(DEVICE, step)  # type: ignore[arg-type]
            assert (check.step, check.passed) == (step, passes), check.detail
            assert check.detail
        agent.start(on_device(0).model_copy(update={"attempt_id": 3}))
        assert (await ends(agent, 1, failed.seq))[0].kind == "measured"
        await agent.close()

    asyncio.run(scene())


def test_a_power_cycle_is_the_hooks_and_its_failure_is_told(tmp_path: Path) -> None:
    async def scene() -> None:
        plain = fleet(tmp_path, 1)
        agent = Agent(plain)
        check = await agent.check(DEVICE, "power-cycle")
        assert not check.passed
        assert "offers no power-cycle" in check.detail
        await agent.close()
        touch = ("/bin/sh", "-c", f'echo "$FARM_HOOK $FARM_DEVICE_ID" > {tmp_path}/said')
        agent = Agent(broken_profile(tmp_path).model_copy(update={"agent_hook_power_cycle": touch}))
        assert (await agent.check(DEVICE, "power-cycle")).passed
        assert (tmp_path / "said").read_text() == f"power-cycle {DEVICE}\n"
        await agent.close()
        agent = Agent(plain.model_copy(update={"agent_hook_power_cycle": ("/bin/false",)}))
        check = await agent.check(DEVICE, "power-cycle")
        assert not check.passed
        assert "exit code 1" in check.detail
        await agent.close()

    asyncio.run(scene())


def test_no_check_during_an_attempt_and_no_attempt_during_a_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        agent, driver = stubborn(fleet(tmp_path, 1), monkeypatch)
        checking = [asyncio.create_task(agent.check(DEVICE, step)) for step in ("reboot", "reboot", "check")]
        await asyncio.sleep(0.05)
        with pytest.raises(InfrastructureError, match="being checked"):
            agent.start(on_device(0))
        checking[0].cancel()  # who asked first is gone; the check goes on for the others
        driver.let_go.set()
        answers = await asyncio.gather(*checking[1:])
        assert answers[0] == answers[1]
        assert (answers[0].step, driver.checks, driver.recoveries) == ("reboot", 1, 1)
        agent.start(on_device(0))
        refused = await agent.check(DEVICE, "reboot")
        assert not refused.passed
        assert "still runs attempt 1" in refused.detail
        assert driver.recoveries == 1, "nothing reboots under an attempt"
        agent.reconcile({})
        assert (await agent.check(DEVICE, "check")).passed
        await agent.close()

    asyncio.run(scene())


def test_whatever_a_driver_does_there_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(error: Exception) -> Callable[[], str]:
        def outcome() -> str:
            raise error

        return outcome

    async def scene() -> None:
        settings = fleet(tmp_path, 1).model_copy(update={"agent_check_timeout_seconds": 0.05})
        agent, driver = stubborn(settings, monkeypatch)
        late = await agent.check(DEVICE, "check")
        assert "took longer than 0.05 s" in late.detail
        driver.let_go.set()
        for error, said in (
            (DeviceError("It is on fire.", remedy="Put it out."), "It is on fire. Put it out."),
            (ZeroDivisionError("oops"), "ZeroDivisionError('oops')"),
            (TimeoutError("usb"), "TimeoutError('usb')"),
        ):
            driver.outcome = fails(error)
            check = await agent.check(DEVICE, "check")
            assert not check.passed
            assert said in check.detail
        unknown = await agent.check("fleet-virtual-0009", "check")
        assert "not attached" in unknown.detail
        await agent.close()

    asyncio.run(scene())


def test_this_machine_is_fit_and_says_what_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        agent = Agent(Settings(state_dir=tmp_path / "state", agent_name="bench"))
        fit = await agent.check("bench-cpu", "check")
        assert fit.passed, fit.detail
        assert "ran arithmetic in" in fit.detail
        monkeypatch.setattr(selftest, "MIN_FREE_DISK_BYTES", 2**62)
        assert "are free under" in (await agent.check("bench-cpu", "check")).detail
        monkeypatch.setattr(selftest, "MIN_FREE_DISK_BYTES", 0)
        monkeypatch.setattr(selftest, "ANSWER", "42")
        wrong = await agent.check("bench-cpu", "check")
        assert not wrong.passed
        assert "computes wrongly: 18870034" in wrong.detail
        await agent.close()

    asyncio.run(scene())
