"""Alert and recording rules."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from farm.metrics import catalogue

pytest.importorskip("grafana_api", reason="needs the grafana extra")
from farm.metrics.grafana import FOLDER_UID, SOURCE_UID

ROOT = Path(__file__).parents[3]
RULES = sorted((ROOT / "dashboards" / "rules").glob("*.yml"))
TESTS = sorted((ROOT / "dashboards" / "rules" / "tests").glob("*.yml"))


def rules(kind: str) -> list[dict[str, Any]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def test_rules_ask_for_what_there_is() -> None:
    known = {metric.name for metric in catalogue.METRICS}
    recorded = {rule["record"] for rule in rules("record")}
    for rule in rules("record") + rules("alert"):
        assert set(re.findall(r"\bfarm_\w+", rule["expr"])) <= known
        assert set(re.findall(r"\bfarm:[\w:]+", rule["expr"])) <= recorded


def test_every_alert_is_tested_and_documented() -> None:
    alerts = {rule["alert"] for rule in rules("alert")}
    tests = [
        test
        for path in TESTS
        for group in yaml.safe_load(path.read_text())["tests"]
        for test in group["alert_rule_test"]
    ]
    for fires in (True, False):
        seen = {test["alertname"] for test in tests if bool(test["exp_alerts"]) is fires}
        assert seen == alerts if fires else seen <= alerts
    page = (ROOT / "docs" / "dashboards.md").read_text()
    assert set(re.findall(r"`(Farm\w+)`", page)) == alerts


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(("verb", "files"), [("check", RULES), ("test", TESTS)])
def test_promtool_agrees(verb: str, files: list[Path]) -> None:
    command = ["promtool", verb, "rules", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_the_configuration_to_deploy_takes_the_rules(tmp_path: Path) -> None:
    shutil.copy(ROOT / "deploy" / "prometheus" / "prometheus.yml", tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "farm-token").write_text("a-token")
    for path in RULES:
        shutil.copy(path, tmp_path / "rules")
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("rules found") == len(RULES)


def test_files_and_the_api_provision_the_same() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "torchfarm.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "torchfarm.yaml").read_text())["providers"]
    assert (source["uid"], provider["folderUid"]) == (SOURCE_UID, FOLDER_UID)
