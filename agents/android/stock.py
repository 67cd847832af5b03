"""What an agent can give a phone: portable runtimes for the harness, and other people's tools, by ABI."""

from __future__ import annotations

import asyncio
import logging

from agents.android.attempt import Provision, Runtime
from agents.drivers.native_tools import NativeTools
from agents.native_tools.registry import Registry
from agents.phone_runtime import bundle as bundles
from agents.phone_runtime.bundle import Bundle, Layer
from farm.config import Settings
from farm.errors import ConfigError, DeviceError, InfrastructureError
from farm.types import DeviceFacts, Lease, ToolOffer

log = logging.getLogger(__name__)


class Stock:
    """As ``look`` found it on this machine's disk, where others build and register. Raises ConfigError where farm.toml
    declares a tool that cannot be one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = Registry(settings.state_dir, settings.agent_tools)
        self.tools = NativeTools(self._registry)
        self._harness: Layer | None = None
        self._found: dict[str, tuple[Bundle | None, tuple[ToolOffer, ...]]] = {}

    async def look(self, abi: str) -> None:
        self._found[abi] = await asyncio.to_thread(lambda: (self._bundle(abi), self._offers(abi)))

    async def refresh(self) -> None:
        for abi in self._found:
            await self.look(abi)

    def bundle(self, abi: str) -> Bundle | None:
        return self._found.get(abi, (None, ()))[0]

    def lack(self, abi: str) -> str:
        """Why nothing at all can be measured there; empty where a runtime or a tool can."""
        return "" if any(self._found.get(abi, ())) else f"no phone runtime for {abi}: {_advice(abi)}"

    def equipped(self, facts: DeviceFacts) -> DeviceFacts:
        """With what can be measured there. A phone that only tools are for has no runtimes."""
        bundle, offers = self._found.get(facts.abi, (None, ()))
        others = {accelerator for offer in offers for accelerator in offer.accelerators} - {"cpu"}
        return facts.model_copy(
            update={
                "runtimes": bundle.runtimes if bundle else (),
                "tools": offers,
                "accelerators": ("cpu", *sorted(others)),
            }
        )

    async def provision(self, lease: Lease, abi: str) -> Provision:
        """Raises DeviceError where the harness is to measure and has no runtime here."""
        runtime = None if lease.scenario.native else await self._runtime(abi)
        settings = self._settings
        return Provision(abi, runtime, self.tools, settings.agent_phone_cache_bytes, settings.agent_phone_state)

    async def _runtime(self, abi: str) -> Runtime:
        bundle, folder = self.bundle(abi), self._settings.phone_runtime_dir
        if bundle is None:
            raise DeviceError(
                f"There is no phone runtime for {abi} on this agent.", remedy=f"{_advice(abi)} makes one."
            )
        if self._harness is None:
            self._harness = await asyncio.to_thread(bundles.harness_layer, folder)
        return Runtime(bundle, self._harness, folder)

    def _bundle(self, abi: str) -> Bundle | None:
        try:
            return bundles.find(self._settings.phone_runtime_dir, abi)
        except InfrastructureError as error:
            log.warning("%s", error)
            return None

    def _offers(self, abi: str) -> tuple[ToolOffer, ...]:
        try:
            return self._registry.offers(abi)
        except ConfigError as error:
            log.warning("%s", error)
            return ()


def _advice(abi: str) -> str:
    return f"`farm phone-runtime build --abi {abi}`"
