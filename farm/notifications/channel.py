"""What a channel is, and where the kinds of channels come from.

Another package adds a kind by an entry point: a callable that takes the channel's name and its settings
(``farm.types.channels.OtherChannel``; its own options are in ``model_extra``) and makes a ``Channel``::

    [project.entry-points."torchfarm.channels"]
    matrix = "my_package:MatrixChannel"
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol

from farm.errors import ConfigError
from farm.notifications.email import Email
from farm.notifications.github import GitHub
from farm.notifications.slack import Slack
from farm.notifications.webhook import Webhook
from farm.types import Notice
from farm.types.channels import ChannelSetting

ENTRY_POINTS = "torchfarm.channels"


class Channel(Protocol):
    def send(self, notice: Notice) -> None:
        """Have it delivered, within bounded time. The same notice may come again.

        Raises ChannelRefused where another try would end alike, ChannelUnavailable where it may not, and ConfigError
        for settings that cannot be used.
        """


_BUILT_IN: Mapping[str, Any] = {"webhook": Webhook, "slack": Slack, "email": Email, "github": GitHub}


def kinds() -> tuple[str, ...]:
    return (*_BUILT_IN, *sorted(point.name for point in entry_points(group=ENTRY_POINTS)))


def open_channel(name: str, setting: ChannelSetting) -> Channel:
    """Raises ConfigError where nothing here makes such a channel."""
    make = _BUILT_IN.get(setting.kind)
    if make is None:
        points = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
        if setting.kind not in points:
            raise ConfigError(
                f"Channel {name!r} is of kind {setting.kind!r}, which nothing here knows.",
                remedy=f"Take one of {', '.join(kinds())}, or install the package that adds it.",
            )
        make = points[setting.kind].load()
    channel: Channel = make(name, setting)
    return channel
