"""What the farm sets on a phone for a measurement, and puts back: also after a crash of the agent, or a cable that was
pulled, because the old values are on the agent's disk before anything is set."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from farm.errors import InfrastructureError


@dataclass(frozen=True)
class Knob:
    """``read`` prints the old value, which ``set`` takes in place of ``{}``. ``wanted``: what the farm sets."""

    name: str
    read: str
    set: str
    wanted: str
    value: str  # pattern of the values that make sense: others are not put back


def _setting(namespace: str, name: str, wanted: str) -> Knob:
    return Knob(
        name,
        f"settings get {namespace} {name}",
        # A setting that was never made reads as null, and is unmade again.
        f"if [ {{}} = null ]; then settings delete {namespace} {name}; else settings put {namespace} {name} {{}}; fi",
        wanted,
        r"[A-Za-z0-9_.-]+",
    )


_STAY_AWAKE = _setting("global", "stay_on_while_plugged_in", "7")  # on any charger
_BRIGHTNESS = _setting("system", "screen_brightness", "1")
_BRIGHTNESS_MODE = _setting("system", "screen_brightness_mode", "0")  # else the light in the room decides on it
_DOZE = Knob("deviceidle", "dumpsys deviceidle enabled all", "cmd deviceidle {}", "disable", "enable|disable")
_PERFORMANCE = Knob(
    "fixed_performance", "echo false", "cmd power set-fixed-performance-mode-enabled {}", "true", "true|false"
)
_AIRPLANE = Knob(
    "airplane", "cmd connectivity airplane-mode", "cmd connectivity airplane-mode {}", "enable", "enable|disable"
)

# By the words of ``Settings.agent_phone_state``. Android does not tell whether fixed performance is on: off is what it
# is unless somebody set it, and what it is after every reboot.
KNOBS: dict[str, tuple[Knob, ...]] = {
    "stay-awake": (_STAY_AWAKE,),
    "dim": (_BRIGHTNESS_MODE, _BRIGHTNESS),
    "no-doze": (_DOZE,),
    "fixed-performance": (_PERFORMANCE,),
    "airplane": (_AIRPLANE,),
}
_ALL = {knob.name: knob for knobs in KNOBS.values() for knob in knobs}
_WORDS = {"1": "enable", "0": "disable", "enabled": "enable", "disabled": "disable"}


def reads(wanted: Iterable[str]) -> dict[str, str]:
    """Commands that print the old values, by knob. ``wanted``: words of ``KNOBS``."""
    return {knob.name: knob.read for word in wanted for knob in KNOBS[word]}


def changes(old: Mapping[str, str]) -> dict[str, str]:
    """{knob: old value} of what is to be set: what could be read, makes sense, and is otherwise now."""
    found = {}
    for name, text in old.items():
        knob, value = _ALL[name], text.strip()
        if knob.value == "enable|disable":
            value = _WORDS.get(value, value)
        if re.fullmatch(knob.value, value) and value != knob.wanted:
            found[name] = value
    return found


def setting(names: Iterable[str]) -> list[str]:
    """Commands that set these knobs as the farm wants them."""
    return [_ALL[name].set.replace("{}", shlex.quote(_ALL[name].wanted)) for name in names]


def restoring(old: Mapping[str, str]) -> list[str]:
    """Commands that put these values back. A knob of another version of the farm is none of ours."""
    return [_ALL[name].set.replace("{}", shlex.quote(value)) for name, value in old.items() if name in _ALL]


class StateJournal:
    """Of one phone, in a file of the agent's: {knob: the value before the farm}; empty where nothing is set."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pending(self) -> dict[str, str]:
        """Raises InfrastructureError where the file cannot be read."""
        try:
            found: dict[str, str] = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._unusable(error) from error
        return found

    def note(self, old: Mapping[str, str]) -> None:
        """Before these are set. What is noted already stays: it is older. Raises InfrastructureError."""
        merged = {**old, **self.pending()}
        if not merged:
            return
        part = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("w") as file:
                json.dump(merged, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except OSError as error:
            raise self._unusable(error) from error

    def clear(self) -> None:
        """After all was put back."""
        self._path.unlink(missing_ok=True)

    def _unusable(self, error: Exception) -> InfrastructureError:
        return InfrastructureError(
            f"What the farm set on a phone cannot be kept in {self._path}: {error}.",
            remedy="Check the disk; if the file is damaged, see the phone's settings and remove it.",
        )
