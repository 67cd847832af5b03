"""The thin Ray wrapper of an agent. What crosses the border is JSON text, so that another transport (a Mac
agent over HTTP) can speak the same protocol, and no pickle of our types depends on equal versions."""

from __future__ import annotations

import json
import logging
from functools import cached_property

from pydantic import TypeAdapter

from agents.agent import Agent
from farm.config import load
from farm.errors import FarmError
from farm.types import CheckStep, DeviceReadings, Failure, Lease

_READINGS = TypeAdapter(dict[str, DeviceReadings])


class AgentActor:
    """Made a Ray actor by ``farm.cluster``. Its settings come from the environment of its node (``FARM_*``)."""

    @cached_property
    def _agent(self) -> Agent:
        # On the first call, whichever it is: after a restart by Ray the agent adopts what still runs.
        logging.basicConfig(level=logging.INFO)
        return Agent(load())

    async def info(self, known_revision: str) -> str:
        return self._agent.info(known_revision).model_dump_json()

    async def start(self, lease: str) -> str | None:
        """None, or the failure why the attempt cannot be started."""
        try:
            self._agent.start(Lease.model_validate_json(lease))
        except FarmError as error:
            return Failure.of(error).model_dump_json()
        return None

    async def reconcile(self, held: str) -> list[int]:
        return self._agent.reconcile({int(attempt_id): ttl for attempt_id, ttl in json.loads(held).items()})

    async def events(self, after_seq: int, timeout_seconds: float) -> list[str]:
        return [event.model_dump_json() for event in await self._agent.events(after_seq, timeout_seconds)]

    async def readings(self) -> str:
        return _READINGS.dump_json(self._agent.readings()).decode()

    async def acknowledge(self, seq: int) -> None:
        self._agent.acknowledge(seq)

    async def check(self, device_id: str, step: CheckStep) -> str:
        return (await self._agent.check(device_id, step)).model_dump_json()
