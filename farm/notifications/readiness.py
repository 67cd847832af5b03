"""Whether a channel could send, as far as that is seen without sending anything."""

from __future__ import annotations

from farm.errors import ConfigError
from farm.notifications.channel import open_channel
from farm.notifications.secrets import secret
from farm.types.channels import ChannelSetting


def lacks(name: str, setting: ChannelSetting) -> str:
    """What is missing, "" where nothing is."""
    try:
        open_channel(name, setting)
        for each in setting.sources:
            secret(name, setting, each)
    except ConfigError as error:
        return error.message
    return ""
