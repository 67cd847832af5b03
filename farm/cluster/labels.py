"""What the labels of a Ray node say about it, and how a build finds a node that can do it (docs/cluster.md)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

from farm.recipes import specification
from farm.types import Recipe

AGENT = "farm.io/agent"
BUILD = "farm.io/build"
GPU = "farm.io/gpu"
_RUNTIME = "farm.io/builds-"  # one label per runtime: a node has many, and a label one value
_YES = "true"
_GPU_TIMEOUT_SECONDS = 20.0


def of_agent(name: str) -> dict[str, str]:
    return {AGENT: name}


def of_builder(runtimes: Iterable[str], *, gpu: bool) -> dict[str, str]:
    """Of a node that has the tools of these runtimes: those that need a GPU are left out where there is none, so that
    their builds go to nodes with one."""
    able = sorted(runtime for runtime in runtimes if gpu or not specification.needs_gpu(runtime))
    return {BUILD: _YES} | {_RUNTIME + runtime: _YES for runtime in able} | ({GPU: _YES} if gpu else {})


def selector_for(runtime: str) -> dict[str, str]:
    """What a node has to carry for a build for this runtime."""
    return {BUILD: _YES, _RUNTIME + runtime: _YES}


def placement(recipe: Recipe) -> dict[str, Any]:
    """The options of a Ray task that builds it: what trains goes to a node with a GPU, if there is one."""
    needed = selector_for(recipe.runtime)
    if not specification.trains(recipe):
        return {"label_selector": needed}
    return {"label_selector": needed | {GPU: _YES}, "fallback_strategy": [{"label_selector": needed}]}


def agent_names(nodes: Iterable[dict[str, Any]]) -> set[str]:
    """``nodes``: as ``ray.nodes()`` gives them."""
    return {node["Labels"][AGENT] for node in nodes if node["Alive"] and AGENT in node["Labels"]}


def buildable_runtimes(nodes: Iterable[dict[str, Any]]) -> set[str]:
    """What the nodes that are alive and have a slot can build for. Ray lets a task that no node can take wait
    for ever without a word, so this is ours to look at."""
    return {
        key.removeprefix(_RUNTIME)
        for node in nodes
        if _builds(node)
        for key, value in node["Labels"].items()
        if key.startswith(_RUNTIME) and value == _YES
    }


def build_slots(nodes: Iterable[dict[str, Any]]) -> int:
    """How many builds the nodes that are alive take at a time."""
    return sum(int(node["Resources"]["CPU"]) for node in nodes if _builds(node))


def has_gpu() -> bool:
    """Whether NVIDIA's driver answers here with a GPU: torch knows as well, but takes seconds to load."""
    if shutil.which("nvidia-smi") is None:
        return False
    try:
        done = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, timeout=_GPU_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False  # a driver that hangs is of no use
    return done.returncode == 0 and b"GPU" in done.stdout


def _builds(node: dict[str, Any]) -> bool:
    return bool(node["Alive"] and node["Labels"].get(BUILD) == _YES and node["Resources"].get("CPU", 0) >= 1)
