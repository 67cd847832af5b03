from __future__ import annotations

from pathlib import Path

import pytest

from farm import config
from farm.errors import ConfigError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("FARM_URL", "FARM_TOKEN", "FARM_PORT", "FARM_CONFIG", "FARM_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_flags_beat_the_environment_which_beats_the_file(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.load().port == 7070
    (elsewhere / "farm.toml").write_text('port = 1111\nurl = "http://file"\nagent_name = "filed"\n')
    monkeypatch.setenv("FARM_URL", "http://environment")
    settings = config.load(agent_name="flagged", port=None)
    assert (settings.port, settings.url, settings.agent_name) == (1111, "http://environment", "flagged")


@pytest.mark.parametrize(
    ("text", "key"), [("port = 99999", "port"), ("prot = 1", "prot"), ("timeout_seconds = -1", "timeout_seconds")]
)
def test_a_setting_that_cannot_be_used_is_named(elsewhere: Path, text: str, key: str) -> None:
    (elsewhere / "farm.toml").write_text(text)
    with pytest.raises(ConfigError, match=key):
        config.load()


def test_a_named_file_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_CONFIG", "/nowhere/farm.toml")
    with pytest.raises(ConfigError, match="nowhere"):
        config.load()


def test_a_child_process_gets_the_same_settings_but_never_the_token(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config.load(
        token="farm_secret",
        port=0,
        state_dir=elsewhere / "s",
        agent_host_device=False,
        agent_hook_pre_lease=("/bin/sh", "-c", 'echo "$FARM_DEVICE_ID, é"'),
    )
    environment = settings.as_environment()
    assert "farm_secret" not in str(environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert config.load() == settings.model_copy(update={"token": None})


def test_hooks_are_lists_in_the_file_and_in_the_environment(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "farm.toml").write_text('agent_hook_power_cycle = ["uhubctl", "-a", "cycle"]\n')
    assert config.load().agent_hook_power_cycle == ("uhubctl", "-a", "cycle")
    monkeypatch.setenv("FARM_AGENT_HOOK_POWER_CYCLE", '["plug", "off"]')
    assert config.load().agent_hook_power_cycle == ("plug", "off")
    for wrong in ("plug off", "[]", '"plug"', "[plug"):
        monkeypatch.setenv("FARM_AGENT_HOOK_POWER_CYCLE", wrong)
        with pytest.raises(ConfigError, match="agent_hook_power_cycle"):
            config.load()
