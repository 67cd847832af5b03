"""Drivers of other packages, found as an installed package offers them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from agents.agent import Agent
from agents.drivers.catalogue import drivers
from agents.journal import Journal
from farm.config import Settings
from farm.errors import InfrastructureError
from tests.unit.agents.virtual.fleet import lease

PACKAGE = """
import asyncio
from agents.virtual.driver import VirtualDriver
from agents.virtual.profile import load_profile

class Toaster(VirtualDriver):
    name = "toaster"
    async def collect(self, lease, handle, folder, *, adopted):
        (folder / "adopted").write_text(str(adopted))
        await asyncio.sleep(3600)

def attached(settings):
    return Toaster("toaster", 1, load_profile())

def nothing_here(settings):
    return None

def broken(settings):
    raise OSError("no such bus")
"""
ENTRY_POINTS = """[torchfarm.drivers]
toasters = toaster_farm:attached
same_name = toaster_farm:attached
absent = toaster_farm:nothing_here
broken = toaster_farm:broken
missing = toaster_farm.gone:attached
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """With a distribution installed that offers drivers, good and bad ones."""
    site = tmp_path / "site"
    info = site / "toaster_farm-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "toaster_farm.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toaster-farm\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(site)
    return Settings(state_dir=tmp_path / "state", agent_name="kitchen")


def test_an_entry_point_adds_its_devices_and_a_bad_one_harms_nobody(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert set(drivers(settings)) == {"host", "toaster"}
    told = [record.getMessage() for record in caplog.records]
    assert any("broken (toaster_farm:broken) cannot be used" in message for message in told)
    assert any("missing (toaster_farm.gone:attached) cannot be used" in message for message in told)
    assert any("two drivers named toaster" in message for message in told)


def test_an_attempt_is_adopted_by_the_driver_that_launched_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = lease(device_id="toaster-virtual-0000")
    folder = settings.state_dir / "agents" / "kitchen"

    async def scene() -> None:
        first = Agent(settings)
        devices = first.info().devices
        assert devices is not None
        assert [device.id for device in devices] == ["kitchen-cpu", "toaster-virtual-0000"]
        first.start(given)
        assert (await first.events(0, 5))[0].kind == "started"
        await first.close()
        second = Agent(settings)
        assert second.reconcile({1: 30.0}) == [1]
        await asyncio.sleep(0.1)
        assert (folder / "attempts" / "1" / "adopted").read_text() == "True"
        await second.close()

        monkeypatch.setattr("sys.path", [path for path in sys.path if path != str(tmp_path / "site")])
        third = Agent(settings)  # the package was uninstalled
        (failed,) = await third.events(1, 5)
        assert failed.failure is not None
        assert "no longer has its driver 'toaster'" in failed.failure.message
        with pytest.raises(InfrastructureError, match="not attached"):
            third.start(given.model_copy(update={"attempt_id": 2}))
        await third.close()

    asyncio.run(scene())
    journal = Journal(folder / "journal.db")
    assert journal.running() == []
    journal.close()
