"""The manifests of deploy/ against the code that they start."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from farm.cli.app import app
from farm.cluster import labels
from farm.config import Settings
from farm.recipes.runtimes import BUILDERS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def ray_cluster() -> dict[str, Any]:
    with (DEPLOY / "kubernetes" / "raycluster.yaml").open() as file:
        (found,) = (one["spec"] for one in yaml.safe_load_all(file) if one["kind"] == "RayCluster")
    return found


def containers(ray_cluster: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [ray_cluster["headGroupSpec"], *ray_cluster["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def test_builders_on_kubernetes_carry_what_builds_ask_for(ray_cluster: dict[str, Any]) -> None:
    (builders,) = ray_cluster["workerGroupSpecs"]
    assert builders["labels"] == labels.of_builder(BUILDERS, gpu=False)


def test_the_cluster_runs_the_ray_that_the_package_asks_for(ray_cluster: dict[str, Any]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f"ray=={ray_cluster['rayVersion']}" in extras["head"]


def test_every_setting_exists(ray_cluster: dict[str, Any]) -> None:
    named = {one["name"] for container in containers(ray_cluster) for one in container.get("env", ())}
    for unit in (DEPLOY / "systemd").iterdir():
        named.update(re.findall(r"FARM_[A-Z_]+", unit.read_text()))
    assert named
    assert {name.removeprefix("FARM_").lower() for name in named} <= Settings.model_fields.keys()


def test_every_command_line_is_one_of_ours(ray_cluster: dict[str, Any]) -> None:
    texts = [" ".join(container.get("args", ())) for container in containers(ray_cluster)]
    texts += [unit.read_text() for unit in (DEPLOY / "systemd").iterdir()]
    lines = [line for text in texts for line in re.findall(r"farm ((?:up|agent) --.*)", text)]
    assert len(lines) == 3
    for line in lines:
        name, *arguments = shlex.split(line.replace("&", ""))
        command = typer.main.get_command(app).commands[name]
        command.make_context(name, arguments)
