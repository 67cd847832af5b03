"""Sends notices, at least once each: a notice is sent when its receiver has said so.

What fails in passing is tried again later and later, for about five days, and its channel rests a while, so that the
others are not held up. What is refused for good becomes a dead letter with the reason (`farm notifications retry`).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from farm.config import Settings
from farm.errors import ChannelRefused, ChannelUnavailable, ConfigError, FarmError
from farm.notifications.channel import Channel, open_channel
from farm.notifications.secrets import hide
from farm.store.database import Store
from farm.types import Notice
from farm.types.channels import ChannelSetting

log = logging.getLogger(__name__)

_FIRST = timedelta(seconds=15)
_LONGEST = timedelta(hours=8)
ATTEMPTS = 27
_LONGEST_REST = timedelta(minutes=5)
_LONGEST_ASKED = timedelta(days=1)  # a Retry-After of more is not believed


class Chance(Protocol):
    def uniform(self, a: float, b: float) -> float: ...


def backoff(attempts: int, jitter: float) -> timedelta:
    """Until the next try after so many: 15 seconds, doubled up to 8 hours, times ``jitter``."""
    return min(_FIRST * 2.0 ** min(attempts - 1, 20), _LONGEST) * jitter


class Sender:
    """``turn`` sends one notice. It is to be called by one process of the farm."""

    def __init__(self, store: Store, channels: Mapping[str, ChannelSetting], chance: Chance = random) -> None:
        self._store, self._channels, self._chance = store, channels, chance
        self._open: dict[str, Channel] = {}
        self._failures: dict[str, int] = {}  # of a channel since it last took something
        self._resting: dict[str, datetime] = {}

    @classmethod
    def of(cls, store: Store, settings: Settings) -> Sender:
        return cls(store, settings.channels)

    def turn(self, now: datetime) -> bool:
        self._resting = {channel: until for channel, until in self._resting.items() if until > now}
        with self._store.reading() as reading:
            notice = reading.due_notice(now, but_of=self._resting)
        if notice is None:
            return False
        try:
            self._send(notice)
        except FarmError as error:
            self._note(notice, error, now)
        else:
            self._failures.pop(notice.channel, None)
            with self._store.transaction() as tx:
                tx.settle_notice(notice, now)
            log.info("notice %d (%s) was sent to channel %s", notice.id, notice.cause, notice.channel)
        return True

    def _send(self, notice: Notice) -> None:
        name = notice.channel
        if name not in self._channels:
            raise ChannelRefused(
                f"There is no channel {name!r}.", remedy=f"Add [channels.{name}] to the head's settings, then retry."
            )
        deliver(name, self._channels[name], notice, self._open)

    def _note(self, notice: Notice, error: FarmError, now: datetime) -> None:
        reason, attempts = error.message, notice.attempts + 1
        final = isinstance(error, ChannelRefused)
        if not final and attempts >= ATTEMPTS:
            reason, final = f"Given up after {attempts} attempts; the last: {reason}", True
        if final:
            log.error("notice %d (%s) was given up: %s", notice.id, notice.cause, reason)
            with self._store.transaction() as tx:
                tx.bury_notice(notice, reason, now)
            return
        asked = min(timedelta(seconds=float(error.details.get("retry_after_seconds", 0.0))), _LONGEST_ASKED)
        jitter = self._chance.uniform(0.75, 1.25)  # so that not all come back at once
        wait = max(asked, backoff(attempts, jitter))
        failures = self._failures[notice.channel] = self._failures.get(notice.channel, 0) + 1
        self._resting[notice.channel] = now + max(asked, min(backoff(failures, jitter), _LONGEST_REST))
        log.warning("notice %d (%s) waits: %s", notice.id, notice.cause, reason)
        with self._store.transaction() as tx:
            tx.postpone_notice(notice, now + wait, reason)


def deliver(name: str, setting: ChannelSetting, notice: Notice, opened: dict[str, Channel] | None = None) -> None:
    """Send it now. Raises ChannelRefused, ChannelUnavailable, ConfigError, none of which tells a secret."""
    opened = {} if opened is None else opened
    try:
        if name not in opened:
            opened[name] = open_channel(name, setting)
        opened[name].send(notice)
    except (ChannelRefused, ChannelUnavailable, ConfigError) as error:
        # A new one: the cause of that one may say what this one does not.
        raise type(error)(hide(error.message, name, setting), remedy=error.remedy, details=error.details) from None
    except Exception as error:  # noqa: BLE001 - plug-ins are other people's code: theirs ends with this notice
        said = hide(f"{type(error).__name__}: {error}", name, setting)
        raise ChannelUnavailable(
            f"Channel {name!r} failed: {said}", remedy="This looks like a bug in the channel; the farm keeps trying."
        ) from None
