"""The duty that sends, against real receivers: what it tries again, what it gives up, and that no secret gets out."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from farm.errors import ConfigError
from farm.notifications.http import retry_after_seconds
from farm.notifications.sender import ATTEMPTS, Sender, backoff
from farm.store.database import Store
from farm.types import Notice
from farm.types.channels import ChannelSetting
from tests.integration.notifications.notices import NOW
from tests.integration.notifications.receiver import Answer, Receiver, Request

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
SLACK_PATH = "/services/T0SECRET/B0SECRET/veryVerySecret"
DOCS = Path(__file__).parents[3] / "docs" / "notifications.md"


def setting(**given: Any) -> ChannelSetting:
    made: ChannelSetting = TypeAdapter(ChannelSetting).validate_python(given)
    return made


def webhook(folder: Path, url: str, **more: Any) -> ChannelSetting:
    (folder / "webhook-secret").write_text(f"{SECRET}\n")
    return setting(kind="webhook", url=url, secret_file=folder / "webhook-secret", **more)


def slack(folder: Path, url: str) -> ChannelSetting:
    (folder / "slack-url").write_text(f"{url}{SLACK_PATH}\n")
    return setting(kind="slack", url_file=folder / "slack-url")


def add(store: Store, channel: str = "team", cause: str = "regression 1 confirmed") -> None:
    with store.transaction() as tx:
        tx.add_notice(channel, "regression", cause, f"About {cause}", "**text**", {"about": cause, "sweep": "n"}, NOW)


def notices(store: Store, state: str | None = None) -> list[Notice]:
    with store.reading() as reading:
        return reading.notices(state)  # type: ignore[arg-type]


def send_all(sender: Sender, at: datetime = NOW) -> int:
    turns = 0
    while sender.turn(at):
        turns += 1
    return turns


def test_a_webhook_is_signed_and_the_documented_receiver_verifies_it(
    store: Store, receiver: Receiver, tmp_path: Path
) -> None:
    add(store)
    sender = Sender(store, {"team": webhook(tmp_path, f"{receiver.url}/hook?a=1")})
    assert send_all(sender) == 1
    (request,) = receiver.requests
    assert (request.method, request.path) == ("POST", "/hook?a=1")
    content = json.loads(request.body)
    assert content["type"] == "regression"
    assert content["timestamp"] == NOW.isoformat()
    assert content["data"] == {
        "subject": "About regression 1 confirmed",
        "text": "**text**",
        "about": "regression 1 confirmed",
        "sweep": "n",
    }
    (snippet,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    receiving: dict[str, Any] = {}
    exec(snippet, receiving)  # noqa: S102 - the documentation's own
    verified = receiving["verified"]
    seen: set[str] = set()
    assert verified(request.headers, request.body, SECRET, seen) == content
    assert verified(request.headers, request.body, SECRET, seen) is None  # the same message once more: it has it
    old = int(time.time()) - 600
    signed = f"{request.headers['webhook-id']}.{old}.".encode() + request.body
    replayed = request.headers | {
        "webhook-timestamp": str(old),
        "webhook-signature": f"v1,{base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()}",
    }
    for headers, body in ((replayed, request.body), (request.headers, request.body + b" ")):
        with pytest.raises(ValueError, match=r"old|signature"):
            verified(headers, body, SECRET, set())


def test_while_a_secret_is_replaced_both_sign(store: Store, receiver: Receiver, tmp_path: Path) -> None:
    channel = webhook(tmp_path, receiver.url)
    other = base64.b64encode(b"another-key-of-thirty-two-bytes.").decode()
    (tmp_path / "webhook-secret").write_text(f"{SECRET}\nwhsec_{other}\n")
    add(store)
    send_all(Sender(store, {"team": channel}))
    assert len(receiver.requests[0].headers["webhook-signature"].split()) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 410])
def test_what_is_refused_for_good_is_buried_at_once(
    store: Store, receiver: Receiver, tmp_path: Path, status: int
) -> None:
    receiver.answers = [Answer(status, b"no such hook", {"Location": "http://elsewhere.invalid/"})]
    add(store)
    sender = Sender(store, {"team": slack(tmp_path, receiver.url)})
    assert send_all(sender) == 1
    (dead,) = notices(store, "dead")
    assert f"{status} " in dead.reason
    assert "no such hook" in dead.reason
    assert send_all(sender, NOW + timedelta(days=9)) == 0
    with store.transaction() as tx:
        assert tx.revive_notices(NOW) == 1
    assert send_all(sender) == 1
    assert len(notices(store, "sent")) == 1


@pytest.mark.parametrize(
    ("status", "header", "wait"),
    [
        (429, "120", timedelta(minutes=2)),
        (503, "3600", timedelta(hours=1)),
        (503, "99999999", timedelta(days=1)),
        (500, "", timedelta(seconds=11)),
    ],
)
def test_retry_after_is_honoured(
    store: Store, receiver: Receiver, tmp_path: Path, status: int, header: str, wait: timedelta
) -> None:
    receiver.answers = [Answer(status, b"later", {"Retry-After": header} if header else {})]
    add(store)
    sender = Sender(store, {"team": slack(tmp_path, receiver.url)})
    send_all(sender)
    (waiting,) = notices(store, "pending")
    assert waiting.next_at >= NOW + wait
    assert "later" in waiting.reason
    assert send_all(sender, NOW + wait - timedelta(seconds=1)) == 0
    assert send_all(sender, waiting.next_at) == 1
    assert len(notices(store, "sent")) == 1


def test_one_bad_channel_holds_up_no_other_and_is_asked_seldom(
    store: Store, receiver: Receiver, tmp_path: Path
) -> None:
    for number in range(20):
        add(store, "bad", f"regression {number} confirmed")
    add(store, "good", "regression 99 confirmed")
    channels = {
        "bad": webhook(tmp_path, "http://127.0.0.1:9/", timeout_seconds=0.5),  # nobody listens
        "good": slack(tmp_path, receiver.url),
    }
    sender = Sender(store, channels)
    assert send_all(sender) == 2
    assert [each.channel for each in notices(store, "sent")] == ["good"]
    assert send_all(sender, NOW + timedelta(hours=1)) == 1  # one of the twenty finds that it is still away
    (first, *_) = [each for each in notices(store, "pending") if each.attempts == 1]
    assert "does not answer" in first.reason


def test_a_receiver_that_comes_back_gets_all_that_waited(store: Store, receiver: Receiver, tmp_path: Path) -> None:
    for number in range(20):
        add(store, "team", f"regression {number} confirmed")
    receiver.answers = [Answer(503)] * 3
    sender = Sender(store, {"team": slack(tmp_path, receiver.url)})
    at = NOW
    while notices(store, "pending"):
        send_all(sender, at)
        at += timedelta(minutes=1)
        assert at < NOW + timedelta(hours=1)
    assert len(notices(store, "sent")) == 20
    assert len(receiver.requests) == 23


def test_after_days_it_is_given_up(store: Store, receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [Answer(500, b"broken")] * 100
    add(store)
    sender = Sender(store, {"team": slack(tmp_path, receiver.url)})
    at = NOW
    while waiting := notices(store, "pending"):
        at = max(at, waiting[0].next_at)
        assert send_all(sender, at) == 1
    (dead,) = notices(store, "dead")
    assert dead.attempts == ATTEMPTS == len(receiver.requests)
    assert "Given up after" in dead.reason
    assert "500" in dead.reason
    assert timedelta(days=3.5) < at - NOW < timedelta(days=7)


@given(st.integers(1, 10_000), st.floats(0.75, 1.25))
def test_the_wait_grows_up_to_hours(attempts: int, jitter: float) -> None:
    wait = backoff(attempts, jitter)
    assert timedelta(seconds=11) <= wait <= timedelta(hours=10)
    assert backoff(attempts + 1, jitter) >= wait


def test_a_channel_that_is_not_there_is_a_dead_letter_with_the_name(store: Store) -> None:
    add(store, "teem")
    assert send_all(Sender(store, {})) == 1
    (dead,) = notices(store, "dead")
    assert "There is no channel 'teem'" in dead.reason


def test_a_secret_that_is_missing_is_waited_for(store: Store, receiver: Receiver, tmp_path: Path) -> None:
    channel = slack(tmp_path, receiver.url)
    (tmp_path / "slack-url").unlink()
    add(store)
    sender = Sender(store, {"team": channel})
    send_all(sender)
    (waiting,) = notices(store, "pending")
    assert "slack-url" in waiting.reason
    slack(tmp_path, receiver.url)
    send_all(sender, waiting.next_at)
    assert notices(store, "sent")


def test_a_receiver_that_never_ends_its_answer_is_left(store: Store, receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [Answer(200, b"x", {"Content-Length": "100"})]  # and then nothing
    add(store)
    began_seconds = time.monotonic()
    send_all(Sender(store, {"team": webhook(tmp_path, receiver.url, timeout_seconds=0.3)}))
    assert time.monotonic() - began_seconds < 5
    assert notices(store, "pending")


def test_no_secret_is_logged_or_stored(
    store: Store,
    receiver: Receiver,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)

    def telling(request: Request) -> Answer:
        """What was sent, in an answer that the farm shows."""
        said = SECRET if request.path == "/" else f"no {request.path} here: {receiver.url}{request.path}"
        return Answer(500 if len(receiver.requests) <= 2 else 404, said.encode())

    monkeypatch.setattr(receiver, "answer", telling)
    (tmp_path / "odd").write_text(f"http://[::1/{SLACK_PATH}\n")
    channels = {
        "slack": slack(tmp_path, receiver.url),
        "hook": webhook(tmp_path, f"{receiver.url}/"),
        "gone": setting(kind="slack", url_file=tmp_path / "gone"),
        "odd": setting(kind="slack", url_file=tmp_path / "odd"),
    }
    (tmp_path / "gone").write_text(f"http://127.0.0.1:9{SLACK_PATH}")
    for channel in channels:
        add(store, channel)
    sender = Sender(store, channels)
    for minutes in (0, 30):
        send_all(sender, NOW + timedelta(minutes=minutes))
    assert len(receiver.requests) == 4
    assert "•••" in notices(store, "dead")[0].reason
    store.close()
    with sqlite3.connect(tmp_path / "farm.db") as database:
        stored = "\n".join(database.iterdump())
    said = caplog.text + stored + repr(channels) + str([channel.model_dump_json() for channel in channels.values()])
    assert "regression 1 confirmed" in said
    for secret in ("veryVerySecret", "T0SECRET", SECRET, SECRET.removeprefix("whsec_")):
        assert secret not in said


def test_a_plug_ins_mistakes_end_with_its_notice_and_tell_no_secret(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self, name: str, setting: Any) -> None:
            self.options = setting.model_extra

        def send(self, notice: Notice) -> None:
            raise RuntimeError(f"room {self.options['room']}: token {Path(self.options['token_file']).read_text()}")

    point = SimpleNamespace(name="matrix", load=lambda: Broken)
    monkeypatch.setattr("farm.notifications.channel.entry_points", lambda group: [point])
    (tmp_path / "token").write_text("secret-of-matrix")
    channel = setting(kind="matrix", room="farm", token_file=str(tmp_path / "token"))
    add(store)
    send_all(Sender(store, {"team": channel}))
    (waiting,) = notices(store, "pending")
    assert "RuntimeError: room farm: token •••" in waiting.reason


@pytest.mark.parametrize("kind", ["matrix", "slac"])
def test_an_unknown_kind_names_those_there_are(kind: str) -> None:
    from farm.notifications.channel import open_channel

    with pytest.raises(ConfigError, match=kind) as error:
        open_channel("team", setting(kind=kind))
    assert "webhook, slack, email, github" in error.value.remedy


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("Sat, 28 Nov 2026 03:02:00 GMT", 120.0),
        ("Sat, 28 Nov 2026 02:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("²", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW.astimezone(UTC)) == seconds
