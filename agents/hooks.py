"""Commands of the person who runs the agent: around every attempt, and to cut and restore a device's power.

A hook learns by ``FARM_HOOK``, ``FARM_DEVICE_ID`` and, around attempts, ``FARM_ATTEMPT_ID`` what it is for. Of the
agent's own environment it gets little, and never a token.
"""

from __future__ import annotations

import os

from agents import command
from farm.config import Settings
from farm.errors import InfrastructureError
from farm.types import Hook

_KEPT_ENVIRONMENT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")


class Hooks:
    def __init__(self, settings: Settings) -> None:
        configured: dict[Hook, tuple[str, ...] | None] = {
            "pre-lease": settings.agent_hook_pre_lease,
            "post-lease": settings.agent_hook_post_lease,
            "power-cycle": settings.agent_hook_power_cycle,
        }
        self._commands = {hook: words for hook, words in configured.items() if words}
        self._timeout_seconds = settings.agent_hook_timeout_seconds

    @property
    def configured(self) -> tuple[Hook, ...]:
        return tuple(self._commands)

    @property
    def around_attempts(self) -> bool:
        return "pre-lease" in self._commands or "post-lease" in self._commands

    async def run(self, hook: Hook, device_id: str, attempt_id: int | None = None) -> None:
        """Nothing where it is not set. Raises InfrastructureError when it fails or takes too long."""
        words = self._commands.get(hook)
        if words is None:
            return
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        environment |= {"FARM_HOOK": hook, "FARM_DEVICE_ID": device_id}
        if attempt_id is not None:
            environment["FARM_ATTEMPT_ID"] = str(attempt_id)
        setting = f"agent_hook_{hook.replace('-', '_')}"
        try:
            outcome = await command.run(words, environment, self._timeout_seconds)
        except TimeoutError as error:
            raise InfrastructureError(
                f"The {hook} hook of {device_id} was killed after {self._timeout_seconds:g} s.",
                remedy=f"Make the command of {setting} faster, or raise agent_hook_timeout_seconds.",
            ) from error
        except OSError as error:
            raise InfrastructureError(
                f"The {hook} hook of {device_id} could not be started: {error}.", remedy=f"Correct {setting}."
            ) from error
        if outcome.exit_code != 0:
            said = f": {outcome.output}" if outcome.output else ", without a word."
            raise InfrastructureError(
                f"The {hook} hook of {device_id} ended with exit code {outcome.exit_code}{said}",
                remedy=f"See what the command of {setting} says, and whether the device is well.",
            )
