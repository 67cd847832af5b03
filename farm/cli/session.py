"""Which farm the commands speak to: ``farm --url … --token … COMMAND``, else the settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer

from farm.client import Client
from farm.config import Settings
from farm.errors import ConfigError


@dataclass(frozen=True)
class Target:
    url: str | None = None
    token: str | None = None


def target(context: typer.Context) -> Target:
    found = context.find_object(Target)
    return found or Target()


def connect(context: typer.Context) -> Client:
    """To be used in ``with``."""
    chosen = target(context)
    return Client(chosen.url, token=chosen.token)


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Around imports of what only an extra installs. Raises ConfigError that names it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"This command needs {error.name}, which is not installed.", remedy=f"pip install 'torchfarm[{extra}]'"
        ) from error


def with_checked_profile(settings: Settings) -> Settings:
    """The virtual fleet's profile found and read before anything starts; its path no longer depends on the working
    directory. Raises ConfigError. Needs the extra ``agent``."""
    if not settings.agent_virtual_devices or settings.agent_virtual_profile is None:
        return settings
    from agents.virtual.profile import load_profile

    path = settings.agent_virtual_profile.resolve()
    load_profile(path)
    return settings.model_copy(update={"agent_virtual_profile": path})
