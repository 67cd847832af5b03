"""What can be made to go wrong with a virtual phone, while it runs.

adbd acts on ``unplug``, ``offline``, ``unauthorized``, ``protocol_fault`` and ``slow_link_bytes_per_second``; the world
of the phone on the others. From outside they are switched through the phone's control socket (``control.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from farm.errors import UserError

Watcher = Callable[[str], None]  # called with the name of the switch, after it changed


class Faults(BaseModel):
    """The switches, all off at first. Assigning to one is checked, then told to everyone who watches.

    ``unplug``: connections are cut and refused. ``offline``: accepted and never answered. ``unauthorized``: no key is
    accepted, those known are forgotten. ``protocol_fault``: ``header`` breaks the framing of what the phone sends on a
    stream, so that the link ends; ``payload`` flips one bit of it, which only an end marker or a hash can tell.
    ``slow_link_bytes_per_second``: in each direction. ``full_storage``: writes fail with ENOSPC. ``ambient_celsius``:
    instead of the profile's. ``charging``: forced on or off. ``lying_gauge``: the battery's current has the wrong
    ``sign``, all its figures are ``frozen``, or the current is out of ``scale``.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    unplug: bool = False
    offline: bool = False
    unauthorized: bool = False
    protocol_fault: Literal["header", "payload"] | None = None
    slow_link_bytes_per_second: Annotated[int, Field(gt=0)] | None = None
    full_storage: bool = False
    ambient_celsius: Annotated[float, Field(ge=-40, le=90)] | None = None
    charging: bool | None = None
    lying_gauge: Literal["sign", "frozen", "scale"] | None = None

    _watchers: list[Watcher] = PrivateAttr(default_factory=list)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Returns what ends the watching."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def __setattr__(self, name: str, value: Any) -> None:
        known = name in type(self).model_fields
        before = getattr(self, name) if known else None
        super().__setattr__(name, value)
        if known and getattr(self, name) != before:
            for watcher in tuple(self._watchers):
                watcher(name)

    def switch(self, name: str, value: object = True) -> None:
        """As from outside, where name and value are anybody's: UserError says what there is."""
        fields = type(self).model_fields
        if name not in fields:
            raise UserError(f"A virtual phone has no fault {name!r}.", remedy=f"Choose one of {', '.join(fields)}.")
        try:
            setattr(self, name, value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise UserError(f"Fault {name} cannot be {value!r}: {reason}.", remedy="Give another value.") from error

    def clear(self) -> None:
        for name, field in type(self).model_fields.items():
            setattr(self, name, field.default)
