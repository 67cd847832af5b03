"""Secrets of channels: read when they are needed, and kept out of everything that is written down."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from farm.errors import ConfigError

_HIDDEN = "•••"
_LEAST_CHARACTERS = 8  # of what is hidden: shorter pieces are in every text


class Sources(Protocol):
    """Settings of a channel: of each secret its file, or the name of its environment variable."""

    @property
    def sources(self) -> dict[str, Path | str]: ...


def secret(channel: str, setting: Sources, name: str) -> str:
    """Without white space around it. Raises ConfigError, which says where it was looked for."""
    where = setting.sources.get(name)
    if where is None:
        raise ConfigError(f"Channel {channel!r} has no {name}_file.", remedy=f"Add it to [channels.{channel}].")
    found = _read(channel, name, where).strip()
    if not found:
        raise ConfigError(
            f"The {name} of channel {channel!r} is empty ({_said(where)}).", remedy=f"Put the {name} there."
        )
    return found


def hide(text: str, channel: str, setting: Sources) -> str:
    """``text`` without the channel's secrets, as far as they can be read."""
    pieces: set[str] = set()
    for name, where in setting.sources.items():
        try:
            pieces.update(_pieces(_read(channel, name, where)))
        except ConfigError:
            continue
    for piece in sorted(pieces, key=len, reverse=True):
        text = text.replace(piece, _HIDDEN)
    return text


def _read(channel: str, name: str, where: Path | str) -> str:
    if isinstance(where, str):
        if where not in os.environ:
            raise ConfigError(
                f"The {name} of channel {channel!r} is to be in {where}, which is not set.",
                remedy="Set it in the environment of the head, and start it again.",
            )
        return os.environ[where]
    try:
        return where.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(
            f"The {name} of channel {channel!r} cannot be read from {where}: {reason}.",
            remedy="Correct the path, or make the file readable for the user of the head.",
        ) from None


def _pieces(value: str) -> Iterable[str]:
    """What gives a secret away: each line of it, and of a URL (it need not be a right one) its user and its path."""
    for line in value.split():
        host, _, path = line.partition("://")[2].partition("/")
        parts = [line, line.removeprefix("whsec_"), host.rpartition("@")[0], path, *re.split("[/?&=]", path)]
        yield from (part for part in parts if len(part) >= _LEAST_CHARACTERS)
    if len(whole := value.strip()) >= _LEAST_CHARACTERS:
        yield whole


def _said(where: Path | str) -> str:
    return f"environment variable {where}" if isinstance(where, str) else str(where)
