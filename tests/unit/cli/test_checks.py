import json
import tomllib
from pathlib import Path

import pytest

from farm.cli import checks
from farm.cli.checks import Check
from farm.config import Settings

ROOT = Path(__file__).parents[3]


def names(requirements: list[str]) -> list[str]:
    """Of distributions; an extra may take in another one."""
    found = (requirement.partition("=")[0].partition(">")[0].partition("[")[0] for requirement in requirements)
    return sorted(name for name in found if name != "torchfarm")


def test_the_checked_packages_are_those_of_the_extras():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert sorted(checks.HEAD) == names(extras["head"])
    assert sorted(checks.MLFLOW) == names(extras["mlflow"])
    for extra, distributions in checks.RUNTIMES.items():
        assert sorted(distributions) == names(extras[extra])


def test_what_is_not_installed_names_the_extra():
    check = checks.packages("head", "head", ("pytest", "torchfarm-no-such-thing"), needed=True)
    assert check == Check(
        "head", "missing", "without torchfarm-no-such-thing", "pip install 'torchfarm[head]'", needed=True
    )
    assert check.broken
    assert checks.packages("tests", "dev", ("pytest",), needed=True).status == "ok"


def test_postgresql_is_needed_only_where_it_is_configured():
    assert not checks.database_driver(Settings()).needed
    assert checks.database_driver(Settings(database_url="postgresql://db/farm")).needed


def test_git_is_needed_only_where_it_exports_models(monkeypatch):
    assert checks.git(needed=True).status == "ok"
    monkeypatch.setenv("PATH", "/nowhere")
    assert checks.git(needed=True).broken and not checks.git(needed=False).broken


def test_a_state_folder_is_judged_by_what_exists_of_it(tmp_path):
    writable, disk = checks.state(tmp_path / "not" / "yet")
    assert writable.status == "ok"
    assert "GB free" in disk.found
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    unwritable, _ = checks.state(in_the_way / "state")
    assert unwritable.broken
    assert "FARM_STATE_DIR" in unwritable.remedy


def test_a_meter_is_readable_or_absent_with_the_reason(tmp_path):
    shown = tmp_path / "temp"
    shown.write_text("45000\n")
    hidden = tmp_path / "hidden"
    assert checks.readable("temperature", [hidden, shown], "heat").status == "ok"
    absent = checks.readable("temperature", [hidden], "heat goes unseen")
    assert absent.status == "warn"
    assert "heat goes unseen" in absent.remedy
    assert not absent.broken


@pytest.mark.parametrize(("url", "status"), [("http://127.0.0.1:1", "warn"), ("http://farm.invalid:1", "missing")])
def test_a_head_that_does_not_answer_breaks_only_those_who_need_it_elsewhere(url, status):
    settings = Settings(url=url, token="farm_x")
    (check,) = checks.head(settings, here=checks.is_loopback(url))
    assert check.status == status
    assert "No farm answers" in check.found


def test_a_phone_runtime_is_told_by_its_layers(tmp_path):
    none = checks.phone_runtime(tmp_path)
    assert (none.status, none.broken) == ("warn", False)
    assert "farm phone-runtime build" in none.remedy
    manifest = tmp_path / "bundles" / "a.json"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({"abi": "arm64-v8a", "layers": [{"name": "base", "sha256": "0" * 64}]}))
    assert "missing" in checks.phone_runtime(tmp_path).found
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / f"{'0' * 64}.tar.gz").touch()
    assert (checks.phone_runtime(tmp_path).status, checks.phone_runtime(tmp_path).found) == ("ok", "arm64-v8a: base")
    manifest.write_text("[]")
    assert "cannot be read" in checks.phone_runtime(tmp_path).found
