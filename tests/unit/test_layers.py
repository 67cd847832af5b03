"""The one-way dependencies of the house, read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = {"farm.types", "farm.errors", "farm.config"}


def imports_of(path: Path) -> set[str]:
    """Everything a module imports at run time, also inside functions."""
    found: set[str] = set()
    for node in _run_time_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def _run_time_nodes(tree: ast.AST) -> list[ast.AST]:
    nodes: list[ast.AST] = []
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        nodes += [child, *_run_time_nodes(child)]
    return nodes


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def uses(path: Path, *packages: str) -> set[str]:
    return {name for name in imports_of(path) for p in packages if name == p or name.startswith(f"{p}.")}


@pytest.mark.parametrize("path", modules("agents"), ids=name_of)
def test_agents_know_only_the_vocabulary_of_the_farm(path: Path) -> None:
    farm = {name for name in uses(path, "farm") if name != "farm"}
    if "harness" in path.parts:
        assert not farm, "the harness runs on devices: nothing of the farm is there"
    else:
        assert not {name for name in farm if not any(name == c or name.startswith(f"{c}.") for c in CORE)}


@pytest.mark.parametrize("path", modules("farm"), ids=name_of)
def test_ray_is_imported_in_the_cluster_room_only(path: Path) -> None:
    if "cluster" not in path.parts:
        assert not uses(path, "ray")


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("farm/store", ["farm.cli", "farm.server", "farm.coordinator", "farm.cluster", "agents"]),
        ("farm/cluster", ["farm.cli", "farm.server", "farm.coordinator", "farm.store.database"]),
        ("farm/coordinator", ["farm.cli", "farm.server", "farm.client"]),
        ("farm/recipes", ["farm.cli", "farm.server", "farm.coordinator", "farm.cluster", "agents"]),
        ("farm/analysis", ["farm.cli", "farm.server", "farm.coordinator", "farm.cluster", "farm.store", "agents"]),
        ("farm/server", ["farm.cli", "ray", "torch", "agents"]),
    ],
)
def test_dependencies_point_one_way(room: str, forbidden: list[str]) -> None:
    assert {name_of(path): used for path in modules(room) if (used := uses(path, *forbidden))} == {}


@pytest.mark.parametrize(
    "module", ["events", "explanation", "fleet", "instructions", "placement", "queue", "scheduler", "state", "views"]
)
def test_the_core_of_the_coordinator_is_pure(module: str) -> None:
    path = ROOT / "farm" / "coordinator" / f"{module}.py"
    outside = {
        "time",
        "datetime",
        "asyncio",
        "os",
        "pathlib",
        "sqlalchemy",
        "ray",
        "farm.store",
        "farm.cluster",
    }
    assert not uses(path, *outside)


def test_importing_the_client_loads_nothing_heavy() -> None:
    heavy = {"numpy", "pandas", "plotly", "ray", "scipy", "torch"}
    code = f"import sys, farm; farm.Client; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []
