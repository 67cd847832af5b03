"""``farm notifications``: who is told, and what became of it. Works on the head's database and settings, so it must run
where those are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import needs_extra
from farm.cli.tokens import StateDirOption, open_store
from farm.config import load
from farm.errors import NotFoundError, UserError
from farm.types import Notice, NoticeState
from farm.types.channels import ChannelSetting

app = typer.Typer(help="Who is told what the nights found.", no_args_is_help=True)

_NO_CHANNEL = "No channel. docs/notifications.md says how farm.toml names one."


@app.command("list")
def list_notices(
    state: Annotated[str | None, typer.Option(help="Only pending, sent or dead ones.")] = None,
    channel: Annotated[str | None, typer.Option(help="Only those of this channel.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    state_dir: StateDirOption = None,
    as_json: JsonFlag = False,
) -> None:
    """What was said, what waits and why, and what was given up; the newest first."""
    with open_store(state_dir) as store, store.reading() as reading:
        found = reading.notices(_state(state), channel, limit)
    columns = ("id", "channel", "queued", "state", "tries", "subject", "because")
    output.emit(found, as_json, output.table(columns, map(_row, found), "No notice."))


@app.command()
def status(state_dir: StateDirOption = None, as_json: JsonFlag = False) -> None:
    """The channels, where their secrets are looked for, and how much waits, was sent, and was given up."""
    channels = load(state_dir=state_dir).channels
    with open_store(state_dir) as store, needs_extra("head"):
        from farm.notifications.readiness import lacks

        with store.reading() as reading:
            counts = reading.notice_counts()
    found: list[dict[str, Any]] = []
    for name in sorted({*channels, *counts}):
        setting = channels.get(name)
        lacking = lacks(name, setting) if setting else "It is not in the settings: what waits for it is given up."
        told = {"pending": 0, "sent": 0, "dead": 0} | counts.get(name, {})
        where = {key: str(source) for key, source in setting.sources.items()} if setting else {}
        kind = setting.kind if setting else None
        found.append({"channel": name, "kind": kind, "secrets": where, "notices": told, "lacks": lacking})
    rows = [
        (
            each["channel"],
            each["kind"] or "—",
            ", ".join(f"{key}: {source}" for key, source in each["secrets"].items()),
            *each["notices"].values(),
            each["lacks"] or "ready",
        )
        for each in found
    ]
    columns = ("channel", "kind", "secrets from", "pending", "sent", "dead", "")
    output.emit(found, as_json, output.table(columns, rows, _NO_CHANNEL))


@app.command()
def test(channel: str, state_dir: StateDirOption = None, as_json: JsonFlag = False) -> None:
    """Send a test at once. Of GitHub it only asks whether the repository and the token are right."""
    setting = _channel(channel, load(state_dir=state_dir).channels)
    with needs_extra("head"):
        from farm.notifications.messages import message_of_test
        from farm.notifications.sender import deliver
    now, message = datetime.now(UTC), message_of_test(channel)
    notice = Notice(
        id=0,
        channel=channel,
        kind="test",
        cause=f"test {now.isoformat()}",
        subject=message.subject,
        text=message.text,
        data=message.data,
        state="pending",
        attempts=0,
        queued_at=now,
        next_at=now,
    )
    deliver(channel, setting, notice)
    output.emit({"channel": channel, "sent": True}, as_json, f"Channel {channel} took it.")


@app.command()
def retry(
    ids: Annotated[
        list[int] | None, typer.Argument(help="Of notices; default: all that were given up or wait.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Only those of this channel.")] = None,
    state_dir: StateDirOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Have notices that were given up sent after all, and those that wait tried at once."""
    with open_store(state_dir) as store, store.transaction() as tx:
        count = tx.revive_notices(datetime.now(UTC), ids or None, channel)
    output.emit({"queued": count}, as_json, f"{count} notices are tried again.")


def _state(given: str | None) -> NoticeState | None:
    match given:
        case None | "pending" | "sent" | "dead":
            return given
    raise UserError(f"There is no state {given!r}.", remedy="Take pending, sent or dead.")


def _channel(name: str, channels: dict[str, ChannelSetting]) -> ChannelSetting:
    if name not in channels:
        known = f"There are {', '.join(sorted(channels))}." if channels else _NO_CHANNEL
        raise NotFoundError(f"There is no channel {name!r} in the settings.", remedy=known)
    return channels[name]


def _row(notice: Notice) -> tuple[object, ...]:
    queued = f"{notice.queued_at:%Y-%m-%d %H:%M} UTC"
    return notice.id, notice.channel, queued, notice.state, notice.attempts, notice.subject, notice.reason
