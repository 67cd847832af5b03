"""``farm notifications`` and the settings, as an operator meets them."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from farm import config
from farm.cli import checks
from farm.errors import ConfigError
from farm.store.database import Store
from tests.integration.notifications.notices import NOW
from tests.integration.notifications.receiver import Answer, Receiver, Request

SECRET_PATH = "/services/T0SECRET"


@pytest.fixture
def settings(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "url").write_text(f"{receiver.url}{SECRET_PATH}")
    file = tmp_path / "farm.toml"
    file.write_text(f'[channels.team]\nkind = "slack"\nurl_file = "{tmp_path}/url"\n')
    monkeypatch.setenv("FARM_CONFIG", str(file))
    monkeypatch.delenv("FARM_CHANNELS", raising=False)
    return file


def run(folder: Path, *arguments: str) -> tuple[int, Any, str]:
    command = [sys.executable, "-m", "farm.cli.app", "notifications", *arguments, "--state-dir", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ))
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


def test_the_commands_on_a_farm(store: Store, settings: Path, receiver: Receiver, tmp_path: Path) -> None:
    with store.transaction() as tx:
        for channel in ("team", "gone"):
            tx.add_notice(channel, "night", "night 3 failed", "The night failed", "why", {}, NOW)
        notice = tx.due_notice(NOW, ("gone",))
        assert notice
        tx.bury_notice(notice, "404 Not Found", NOW)
    code, found, _ = run(tmp_path, "status")
    assert code == 0
    gone, team = found
    assert (gone["channel"], gone["kind"], gone["notices"]["pending"]) == ("gone", None, 1)
    assert "not in the settings" in gone["lacks"]
    assert team["lacks"] == ""
    assert team["notices"] == {"pending": 0, "sent": 0, "dead": 1}
    assert team["secrets"] == {"url": f"{tmp_path}/url"}
    _, listed, _ = run(tmp_path, "list", "--state", "dead")
    assert [(each["channel"], each["reason"]) for each in listed] == [("team", "404 Not Found")]
    assert run(tmp_path, "list", "--state", "lost")[0] == 2
    assert run(tmp_path, "retry", str(notice.id))[1] == {"queued": 1}
    assert run(tmp_path, "list", "--state", "dead")[1] == []

    assert run(tmp_path, "test", "team")[1] == {"channel": "team", "sent": True}
    assert receiver.requests[0].path == SECRET_PATH
    receiver.answers = [Answer(404, b"no_service")]
    code, _, error = run(tmp_path, "test", "team")
    assert code == 2
    assert "no_service" in error
    assert "T0SECRET" not in error
    code, _, error = run(tmp_path, "test", "teem")
    assert code == 2
    assert "There are team." in error


def test_doctor_says_whether_channels_are_ready_and_sends_nothing(
    settings: Path, receiver: Receiver, tmp_path: Path
) -> None:
    (ready,) = checks.channels(config.load())
    assert ready.status == "ok"
    (tmp_path / "url").unlink()
    (lacking,) = checks.channels(config.load())
    assert (lacking.status, lacking.broken) == ("missing", False)
    assert "cannot be read" in lacking.found
    assert receiver.requests == []


def test_channels_reach_the_heads_processes_without_their_secrets(
    settings: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loaded = config.load(channels={"hook": {"kind": "webhook", "url": "http://h/", "secret_env": "HOOK_SECRET"}})
    monkeypatch.setenv("HOOK_SECRET", "whsec_very-secret")
    environment = loaded.as_environment()
    assert "very-secret" not in str(environment) + repr(loaded)
    settings.write_text("")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert config.load().channels == loaded.channels


def test_a_process_that_is_killed_after_it_sent_sends_the_same_once_more(
    store: Store, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text(f"whsec_{base64.b64encode(b'k' * 32).decode()}")
    file = tmp_path / "farm.toml"
    file.write_text(
        f'state_dir = "{tmp_path}"\n[channels.team]\nkind = "webhook"\nurl = "{receiver.url}/"\n'
        f'secret_file = "{tmp_path}/secret"\n'
    )
    monkeypatch.setenv("FARM_CONFIG", str(file))
    monkeypatch.delenv("FARM_STATE_DIR", raising=False)
    with store.transaction() as tx:
        tx.add_notice("team", "night", "night 3 failed", "The night failed", "why", {}, NOW)
    process = subprocess.Popen([sys.executable, "-m", "farm.sweeps"], stderr=subprocess.PIPE, text=True)

    def killing(request: Request) -> Answer:
        if len(receiver.requests) == 1:
            process.kill()
            process.wait(timeout=10)
        return Answer()

    monkeypatch.setattr(receiver, "answer", killing)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    with store.reading() as reading:
        assert reading.notice_counts()["team"]["pending"] == 1
    again = subprocess.Popen([sys.executable, "-m", "farm.sweeps"], stderr=subprocess.PIPE, text=True)
    until_seconds = time.monotonic() + 60
    while not counts(store)["sent"] and time.monotonic() < until_seconds:
        time.sleep(0.1)
    again.terminate()
    _, log = again.communicate(timeout=30)
    assert counts(store) == {"pending": 0, "sent": 1, "dead": 0}, log
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert "was sent to channel team" in log
    assert receiver.url not in log


def counts(store: Store) -> dict[Any, int]:
    with store.reading() as reading:
        return dict(reading.notice_counts()["team"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "slack"\nurl = "https://hooks.example/T0SECRET"', "url_file"),
        ('kind = "slack"', "url_file"),
        ('kind = "slack"\nurl_file = "/a"\nurl_env = "B"', "both"),
        ('kind = "github"\nrepository = "o/n"\ntoken = "T0SECRET"', "token_file"),
        ('kind = "github"\nrepository = "https://github.com/o/n?T0SECRET"\ntoken_file = "/t"', "repository"),
        ('kind = "webhook"\nsecret_file = "/s"', "url_file"),
        ('kind = "webhook"\nurl = "file:///T0SECRET"\nsecret_file = "/s"', "url"),
        ('kind = "email"\nhost = "h"\nsender = "a@b"\nto = ["c@d"]\nusername = "u"', "password_file"),
        (
            'kind = "email"\nhost = "h"\nsender = "a@b"\nto = ["c@d"]\nusername = "u"\npassword_file = "/p"\n'
            'security = "none"',
            "starttls",
        ),
        ('kind = "email"\nhost = "h"\nsender = "a@b, T0SECRET"\nto = ["c@d"]', "sender"),
        ('kind = "matrix"\ntoken = "T0SECRET"', "token_file"),
        ('url = "http://x"', "kind"),
    ],
)
def test_settings_that_cannot_be_used_are_named_and_not_repeated(settings: Path, text: str, said: str) -> None:
    settings.write_text(f"[channels.team]\n{text}\n")
    with pytest.raises(ConfigError, match=r"channels\.team") as error:
        config.load()
    assert said in error.value.message
    assert "T0SECRET" not in f"{error.value} {error.value.__cause__}"
