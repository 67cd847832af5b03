"""Whether a program has attention, fused or spelled out: NNCF quantizes such ones as transformers, or fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

AS_TRANSFORMER = "Quantized as a transformer (activations smoothed)."  # a note
_FUSED = ("scaled_dot_product_attention", "ScaledDotProductAttention")
_SOFTMAXES = ("softmax", "_softmax", "_safe_softmax", "Softmax")
_PRODUCTS = ("matmul", "bmm", "baddbmm", "MatMul")
_MOVES = (
    *("dropout", "native_dropout", "clone", "contiguous", "to", "_to_copy", "type_as"),
    *("expand", "reshape", "view", "_unsafe_view", "unsqueeze", "squeeze", "transpose", "permute"),
    *("Broadcast", "Convert", "ConvertLike", "Reshape", "Squeeze", "Transpose", "Unsqueeze"),
)


def attends(nodes: Iterable[Any], kind: Callable[[Any], str], users: Callable[[Any], Iterable[Any]]) -> bool:
    """``kind``: the name of a node's operator, of aten or of OpenVINO. Attention spelled out is a softmax whose
    weights go into a matrix product."""

    def weighs(node: Any) -> bool:
        return any(kind(user) in _PRODUCTS or (kind(user) in _MOVES and weighs(user)) for user in users(node))

    return any(kind(node) in _FUSED or (kind(node) in _SOFTMAXES and weighs(node)) for node in nodes)


def program_attends(graph: Any) -> bool:
    """A ``torch.fx.Graph`` of aten operators."""

    def kind(node: Any) -> str:
        return str(getattr(getattr(node.target, "overloadpacket", None), "__name__", ""))

    return attends(graph.nodes, kind, lambda node: node.users)


def openvino_attends(model: Any) -> bool:
    """An ``openvino.Model``."""

    def users(node: Any) -> Iterable[Any]:
        return (taken.get_node() for output in node.outputs() for taken in output.get_target_inputs())

    return attends(model.get_ops(), lambda node: str(node.get_type_name()), users)
