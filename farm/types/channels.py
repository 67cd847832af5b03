"""How the farm tells people outside of it: a channel's settings. Secrets are named, never given.

A secret is in a file (``…_file``) or an environment variable of the head (``…_env``), and read anew for each message.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

_HTTP_URL = r"^https?://[^\s]+$"
Address = Annotated[str, Field(pattern=r"^[^@\s<>,]+@[^@\s<>,]+$", max_length=320)]


class _Channel(BaseModel):
    """``needs``, ``takes``: the secrets it must have, and may have."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    needs: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[tuple[str, ...]] = ()

    timeout_seconds: float = Field(default=10.0, gt=0, le=60)  # of each step of a connection

    @property
    def sources(self) -> dict[str, Path | str]:
        """Of each secret: its file, or the name of its environment variable."""
        return _sources(self)

    @model_validator(mode="before")
    @classmethod
    def _gives_no_secret(cls, given: Any) -> Any:
        return _without_secrets(given, {*cls.needs, *cls.takes} - set(cls.model_fields))

    @model_validator(mode="after")
    def _one_source_each(self) -> Self:
        for name in (*self.needs, *self.takes):
            given = [key for key in (f"{name}_file", f"{name}_env") if getattr(self, key) is not None]
            if len(given) > 1:
                raise ValueError(f"{given[0]} and {given[1]} are both given")
            if not given and name in self.needs:
                raise ValueError(f"{name}_file (or {name}_env) is missing")
        return self


class WebhookChannel(_Channel):
    """``secret``: what messages are signed with; several, one a line, while it is being replaced. The URL may be a
    secret, too."""

    needs = ("secret",)
    takes = ("url",)

    kind: Literal["webhook"]
    url: str | None = Field(default=None, pattern=_HTTP_URL)
    url_file: Path | None = None
    url_env: str | None = None
    secret_file: Path | None = None
    secret_env: str | None = None

    @model_validator(mode="after")
    def _has_url(self) -> Self:
        if sum(value is not None for value in (self.url, self.url_file, self.url_env)) != 1:
            raise ValueError("one of url, url_file and url_env is needed")
        return self


class SlackChannel(_Channel):
    """``url``: of an incoming webhook; whoever knows it can post."""

    needs = ("url",)

    kind: Literal["slack"]
    url_file: Path | None = None
    url_env: str | None = None


class EmailChannel(_Channel):
    takes = ("password",)

    kind: Literal["email"]
    host: str = Field(min_length=1)
    port: int | None = Field(default=None, ge=1, le=65535)  # default: 587 with starttls, 465 with tls, else 25
    security: Literal["starttls", "tls", "none"] = "starttls"
    sender: Address
    to: tuple[Address, ...] = Field(min_length=1, max_length=100)
    username: str | None = None
    password_file: Path | None = None
    password_env: str | None = None

    @model_validator(mode="after")
    def _keeps_password(self) -> Self:
        has_password = self.password_file is not None or self.password_env is not None
        if has_password != (self.username is not None):
            raise ValueError("username and password_file (or password_env) belong together")
        if has_password and self.security == "none":
            raise ValueError("a password is only sent with security = starttls or tls")
        return self


class GitHubChannel(_Channel):
    """``report``: a commit ``status`` (any token that may write it), or a ``check`` run (only a GitHub App's).
    ``comment``: on pull requests that the commit belongs to."""

    needs = ("token",)

    kind: Literal["github"]
    repository: str = Field(pattern=r"^[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}$")
    api_url: str = Field(default="https://api.github.com", pattern=_HTTP_URL)  # GitHub Enterprise: https://HOST/api/v3
    report: Literal["status", "check", "none"] = "status"
    comment: bool = True
    token_file: Path | None = None
    token_env: str | None = None


class OtherChannel(BaseModel):
    """Of a package with an entry point ``kind`` in the group ``torchfarm.channels``; its options are its own."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    kind: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _gives_no_secret(cls, given: Any) -> Any:
        return _without_secrets(given, {"token", "secret", "password", "key"})

    @property
    def sources(self) -> dict[str, Path | str]:
        return _sources(self)


def _without_secrets(given: Any, names: set[str]) -> Any:
    if isinstance(given, dict) and (found := names & set(given)):
        name = min(found)
        raise ValueError(f"{name} is not written into settings: name its file as {name}_file")
    return given


def _sources(setting: BaseModel) -> dict[str, Path | str]:
    found: dict[str, Path | str] = {}
    for key, value in (dict(setting) | (setting.model_extra or {})).items():
        name, _, how = key.rpartition("_")
        if name and isinstance(value, str | Path):
            if how == "file":
                found[name] = Path(value)
            elif how == "env":
                found[name] = str(value)
    return found


_KINDS = ("webhook", "slack", "email", "github")


def _tag(given: Any) -> str:
    kind = given.get("kind", "other") if isinstance(given, dict) else getattr(given, "kind", "other")
    return kind if kind in _KINDS else "other"


ChannelSetting = Annotated[
    Annotated[WebhookChannel, Tag("webhook")]
    | Annotated[SlackChannel, Tag("slack")]
    | Annotated[EmailChannel, Tag("email")]
    | Annotated[GitHubChannel, Tag("github")]
    | Annotated[OtherChannel, Tag("other")],
    Discriminator(_tag),
]
