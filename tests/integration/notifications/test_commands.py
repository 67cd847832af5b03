"""``farm notifications`` and the settings, as an operator meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from farm import config
from farm.cli import checks
from farm.errors import ConfigError
from farm.store.database import Store
from tests.integration.notifications.notices import NOW
from tests.integration.notifications.receiver import Answer, Receiver

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
