"""Which emulators this agent runs: ``agent_avds`` of farm.toml, and those of ``farm devices add-emulator``, which lie
in ``avds.json`` of the state folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

from farm.config import Avd
from farm.errors import ConfigError


def declared(state_dir: Path, settings: tuple[Avd, ...] = ()) -> tuple[Avd, ...]:
    """By name; farm.toml's win. Raises ConfigError where the list cannot be read."""
    return tuple({avd.name: avd for avd in (*_added(state_dir), *settings)}.values())


def add(state_dir: Path, avd: Avd) -> None:
    """One of the same name is replaced."""
    kept = [each for each in _added(state_dir) if each.name != avd.name]
    state_dir.mkdir(parents=True, exist_ok=True)
    part = state_dir / f"avds.json.{os.getpid()}.part"
    part.write_text(json.dumps([each.model_dump(mode="json") for each in (*kept, avd)], indent=1))
    part.replace(state_dir / "avds.json")


def _added(state_dir: Path) -> tuple[Avd, ...]:
    path = state_dir / "avds.json"
    try:
        return tuple(Avd.model_validate(each) for each in json.loads(path.read_text()))
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise ConfigError(f"{path} cannot be read: {error}", remedy="Remove it and add them again.") from error
