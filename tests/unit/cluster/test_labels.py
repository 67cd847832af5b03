"""Which nodes a build can go to, from what Ray says of the nodes."""

from __future__ import annotations

from typing import Any

from farm.cluster import labels


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
