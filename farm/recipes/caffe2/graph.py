"""The ONNX graph that a translation builds node by node. The shape and type of every value are known at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from farm.recipes.samples import Array
from farm.types import TensorSpec

OPSET = 17
IR_VERSION = 8


class Graph:
    def __init__(self, inputs: Sequence[tuple[str, TensorSpec]]) -> None:
        from onnx import helper

        self._types: dict[str, Any] = {}
        self._constants: dict[str, Array] = {}
        self._nodes: list[Any] = []
        self._transposed: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._names: set[str] = set()
        self._inputs = []
        for name, spec in inputs:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
            self._types[name] = helper.make_tensor_type_proto(kind, spec.shape)
            self._inputs.append(helper.make_tensor_value_info(name, kind, spec.shape))
            self._names.add(name)

    def shape(self, name: str) -> tuple[int, ...]:
        if name in self._constants:
            return tuple(self._constants[name].shape)
        return tuple(int(dim.dim_value) for dim in self._types[name].tensor_type.shape.dim)

    def value(self, name: str) -> Array | None:
        """Of a constant."""
        return self._constants.get(name)

    def constant(self, array: Array, name: str = "constant") -> str:
        from onnx import helper

        name = self._free(name)
        self._constants[name] = array
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        self._types[name] = helper.make_tensor_type_proto(kind, array.shape)
        return name

    def node(self, kind: str, inputs: Sequence[str], *names: str, **attributes: Any) -> tuple[str, ...]:
        """Add an ONNX operator with an output for each of ``names``, which are made unique. Raises
        ``onnx.shape_inference.InferenceError``, or LookupError where the shape is not known before it runs."""
        from onnx import defs, helper, numpy_helper, shape_inference

        outputs = tuple(map(self._free, names))
        made = helper.make_node(kind, list(inputs), list(outputs), name=outputs[0], **attributes)
        small = {
            name: numpy_helper.from_array(array, name)
            for name in inputs
            if (array := self._constants.get(name)) is not None and array.size < 1024
        }
        types = shape_inference.infer_node_outputs(
            defs.get_schema(kind, OPSET),
            made,
            {name: self._types[name] for name in inputs if name},
            small,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        for output in outputs:
            found = types.get(output)
            dims = found.tensor_type.shape.dim if found is not None and found.tensor_type.HasField("shape") else None
            if dims is None or not all(dim.HasField("dim_value") for dim in dims):
                raise LookupError(f"the shape of what {kind} makes is not known")
            self._types[output] = found
        self._nodes.append(made)
        return outputs

    def one(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        return self.node(kind, inputs, name, **attributes)[0]

    def transposed(self, name: str, axes: tuple[int, ...]) -> str:
        """``name`` with its axes in another order; one turned there and back is itself again."""
        if (array := self._constants.get(name)) is not None:
            return self.constant(np.ascontiguousarray(array.transpose(axes)), name)
        if name in self._transposed:
            source, before = self._transposed[name]
            if tuple(before[axis] for axis in axes) == tuple(range(len(axes))):
                return source
        made = self.one("Transpose", [name], name, perm=list(axes))
        self._transposed[made] = (name, axes)
        return made

    def reshaped(self, name: str, shape: Sequence[int]) -> str:
        if self.shape(name) == tuple(shape):
            return name
        if (array := self._constants.get(name)) is not None:
            return self.constant(array.reshape(shape), name)
        return self.one("Reshape", [name, self.constant(np.array(shape, np.int64), "shape")], name)

    def finish(self, outputs: Sequence[tuple[str, str]], name: str) -> Any:
        """The ``ModelProto``; ``outputs``: (name to have, value)."""
        from onnx import helper, numpy_helper

        infos = []
        for wanted, value in outputs:
            output = self.one("Identity", [value], wanted)
            kind = self._types[output].tensor_type.elem_type
            infos.append(helper.make_tensor_value_info(output, kind, self.shape(output)))
        used = {key for node in self._nodes for key in node.input}
        weights = [numpy_helper.from_array(array, key) for key, array in self._constants.items() if key in used]
        graph = helper.make_graph(self._nodes, name or "caffe2", self._inputs, infos, weights)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="torchfarm"
        )

    def _free(self, name: str) -> str:
        made, number = name or "value", 0
        while made in self._names:
            number += 1
            made = f"{name}__{number}"
        self._names.add(made)
        return made
