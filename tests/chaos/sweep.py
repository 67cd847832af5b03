"""The work: jobs for every device, again and again, so that there is always something to lose."""

from __future__ import annotations

import contextlib
import threading
from typing import Self

import farm
from tests.chaos.fleet import PROTOCOL, Fleet

_PENDING = """
SELECT count(*) FROM jobs JOIN devices ON devices.id = jobs.device_id
WHERE devices.agent LIKE :agent AND devices.id LIKE :device AND jobs.state NOT IN ('finished', 'failed', 'cancelled')
"""
_HOST = farm.Protocol(min_samples=100, min_seconds=2, max_seconds=2, timeout_seconds=60)
_NEW_MODEL_EVERY = 12  # submissions: then something has to be built; meanwhile host devices wait


class Sweep:
    """``with Sweep(fleet)``: a thread keeps one more job waiting for each device than it can run. What the API does
    not take is submitted again, so an answer that was lost leaves a run more, not less."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._submit_on)
        self._submitted = 0
        self._model = ""
        self.refusals: list[str] = []
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join(timeout=120)

    def _submit_on(self) -> None:
        try:
            while not self._stopped.is_set():
                for agent in self._fleet.agent_names:
                    virtual = f"agent={agent}, virtual=true"
                    self._top_up(agent, "%virtual%", 2 * self._fleet.devices_per_agent, virtual, PROTOCOL)
                self._top_up("%", "%-cpu", 2, "virtual=false", _HOST)
                self._stopped.wait(0.3)
        except BaseException as error:
            self.error = error
            raise

    def _top_up(self, agent: str, device: str, enough: int, selector: str, protocol: farm.Protocol) -> None:
        pending = self._fleet.scalar(_PENDING, agent=agent, device=device)
        if pending is None or pending >= enough or self._stopped.is_set():
            return
        try:
            if self._submitted % _NEW_MODEL_EVERY == 0:
                self._model = self._new_model()
            self._submit(selector, protocol)
            self._submitted += 1
        except farm.InfrastructureError as error:  # the API is away, or says what is
            self.refusals.append(str(error))

    def _new_model(self) -> str:
        import torch

        model = torch.nn.Linear(8, 8)
        return self._fleet.client.add_model(model, example_inputs=(torch.ones(1, 8),), name="linear").id

    def _submit(self, devices: str, protocol: farm.Protocol) -> None:
        with contextlib.suppress(farm.SelectorError):  # they are all away: later
            self._fleet.client.submit(self._model, recipes=["onnxruntime"], devices=devices, protocol=protocol)
