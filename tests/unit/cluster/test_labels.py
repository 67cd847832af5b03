"""Which nodes a build can go to, from what Ray says of the nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from farm.cluster import labels
from farm.types import Recipe
from farm.types.transforms import distill, prune


def node(node_labels: dict[str, str], cpus: float = 2, *, alive: bool = True) -> dict[str, Any]:
    """As ``ray.nodes()`` has it; a node without CPUs has no such key."""
    return {"Alive": alive, "Labels": node_labels, "Resources": {"CPU": cpus} if cpus else {}}


def test_what_can_be_built_is_what_living_nodes_with_slots_have_tools_for() -> None:
    nodes = [
        node(labels.of_agent("a")),
        node(labels.of_agent("b") | labels.of_builder({"litert", "torchscript"}, gpu=False)),
        node(labels.of_builder({"executorch"}, gpu=True), cpus=4),
        node(labels.of_builder({"onnxruntime"}, gpu=False), alive=False),
        node(labels.of_builder({"pytorch"}, gpu=False), cpus=0),
    ]
    assert labels.buildable_runtimes(nodes) == {"litert", "torchscript", "executorch"}
    assert labels.build_slots(nodes) == 6
    assert labels.agent_names(nodes) == {"a", "b"}


def test_a_node_carries_what_a_build_for_its_runtimes_asks_for() -> None:
    carried = labels.of_builder({"executorch"}, gpu=False)
    assert labels.selector_for("executorch").items() <= carried.items()
    assert not labels.selector_for("litert").items() <= carried.items()
    assert labels.GPU not in carried


def test_what_needs_a_gpu_is_built_where_there_is_one() -> None:
    plain, gpu = (labels.of_builder({"tensorrt", "mnn"}, gpu=gpu) for gpu in (False, True))
    asked = labels.selector_for("tensorrt")
    assert asked.items() <= gpu.items()
    assert not asked.items() <= plain.items()
    assert labels.buildable_runtimes([node(plain)]) == {"mnn"}
    assert labels.buildable_runtimes([node(plain), node(gpu)]) == {"mnn", "tensorrt"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'", True),
        ("echo 'No devices were found'; exit 6", False),
        ("echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'; exit 9", False),
        (None, False),
    ],
)
def test_a_gpu_is_there_when_its_driver_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str | None, expected: bool
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if answer is not None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{answer}\n")
        tool.chmod(0o755)
    assert labels.has_gpu() is expected


def test_what_trains_prefers_a_gpu_and_does_not_need_one() -> None:
    plain, training = (Recipe("mnn", transforms=steps) for steps in ((prune(0.5),), (prune(0.5), distill())))
    assert labels.placement(plain) == {"label_selector": labels.selector_for("mnn")}
    wanted = labels.placement(training)
    with_gpu, without = (labels.of_builder({"mnn"}, gpu=gpu).items() for gpu in (True, False))
    assert wanted["label_selector"].items() <= with_gpu
    assert not wanted["label_selector"].items() <= without
    (fallback,) = wanted["fallback_strategy"]
    assert fallback["label_selector"].items() <= without
