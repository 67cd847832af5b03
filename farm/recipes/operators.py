"""A user's own operators: described where they are uploaded, loaded in the child process of a build and nowhere else on
the head's side."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from farm.errors import ModelError
from farm.recipes.archive import OPERATOR_NAMESPACES
from farm.recipes.boundary import Boundary
from farm.types import CustomOperators, ModelSpec

_MODULE = "torchfarm_custom_operators"
_NAME = re.compile(r"([A-Za-z]\w*)::([A-Za-z]\w*)")
_ONNX_ATTRIBUTES = {"float": "FLOAT", "int": "INT", "bool": "INT", "str": "STRING"}


OperatorRuntime = Literal["pytorch", "onnxruntime"]
OperatorKind = Literal["library", "python"]
_KINDS: dict[OperatorRuntime, dict[str, OperatorKind]] = {
    "pytorch": {".so": "library", ".py": "python"},
    "onnxruntime": {".so": "library"},
}


def declared(given: Mapping[str, str | Path]) -> Iterator[tuple[OperatorRuntime, OperatorKind, Path]]:
    """What a user gives by runtime, sorted. Raises ModelError for what cannot be custom operators."""
    if unknown := sorted(given.keys() - _KINDS.keys()):
        raise ModelError(
            f"Custom operators for {unknown[0]} are not taken.",
            remedy=f"Give them for {' or '.join(_KINDS)}; other runtimes run programs of their own operators only.",
        )
    for runtime, kinds in sorted(_KINDS.items()):
        if runtime not in given:
            continue
        path = Path(given[runtime])
        if path.suffix not in kinds or not path.is_file():
            why = "is of another type" if path.is_file() else "does not exist"
            raise ModelError(
                f"{path} {why}: it cannot be custom operators for {runtime}.",
                remedy=f"Give a file of type {' or '.join(kinds)}.",
            )
        yield runtime, kinds[path.suffix], path


def used(exported: Any) -> frozenset[str]:
    """Names (``library::operator``) of all operators in a ``torch.export.ExportedProgram``."""
    graphs = [module.graph for module in exported.graph_module.modules() if hasattr(module, "graph")]
    targets = (node.target for graph in graphs for node in graph.nodes if node.op == "call_function")
    return frozenset(target.name().split(".")[0] for target in targets if hasattr(target, "_schema"))


def staged(operators: CustomOperators, folder: Path) -> Path:
    """Where their file lies in the folder of a build."""
    return folder / f"operators-{operators.runtime}{'.py' if operators.kind == 'python' else '.so'}"


def load(spec: ModelSpec, folder: Path) -> frozenset[str]:
    """Load those for PyTorch, where there are any, into this process: the names (``library::operator``) of all
    operators that came with them. Raises ModelError: they do not load, or bring none, or claim PyTorch's own names."""
    operators = spec.operators_for("pytorch")
    if operators is None:
        return frozenset()
    import torch

    before = _registered()
    remedy = "Check that the file loads by itself where only PyTorch, of the farm's version, is installed."
    with Boundary(ModelError, f"The custom operators in {operators.file.name} do not load", remedy):
        if operators.kind == "library":
            torch.ops.load_library(str(staged(operators, folder)))
        else:
            _execute(staged(operators, folder))
    brought = _registered() - before
    wrong = sorted(name for name in brought if not _NAME.fullmatch(name) or name.split("::")[0] in OPERATOR_NAMESPACES)
    if wrong or not brought:
        what = f"registers {wrong[0]}, which is in a library of PyTorch's" if wrong else "registers no operator"
        raise ModelError(
            f"{operators.file.name} {what}.", remedy="Register operators in a library of your own: mine::operator."
        )
    return frozenset(brought)


def _registered() -> set[str]:
    import torch

    return {name.split(".")[0] for name in torch._C._dispatch_get_all_op_names()}


def _execute(path: Path) -> None:
    module = ModuleType(_MODULE)
    module.__file__ = str(path)
    sys.modules[_MODULE] = module  # what it registers lives as long as it does
    SourceFileLoader(_MODULE, str(path)).exec_module(module)


def session_options(spec: ModelSpec, folder: Path) -> Any:
    """``onnxruntime.SessionOptions`` with those for ONNX Runtime. Raises ModelError: they do not load."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    operators = spec.operators_for("onnxruntime")
    if operators is not None:
        remedy = "Check it with SessionOptions.register_custom_ops_library, in the farm's version of ONNX Runtime."
        with Boundary(ModelError, f"The custom operators in {operators.file.name} do not load", remedy):
            options.register_custom_ops_library(str(staged(operators, folder)))
    return options


def onnx_translations(names: frozenset[str]) -> dict[Any, Callable[..., Any]]:
    """For ``torch.onnx.export``: ``library::operator`` becomes the ONNX operator of that name in the domain
    ``library``, its tensors inputs in their order, its numbers and strings attributes by their names."""
    import torch

    found = {}
    for name in names:
        library, operator = name.split("::")
        packet = getattr(getattr(torch.ops, library), operator)
        for overload in packet.overloads():
            target = getattr(packet, overload)
            found[target] = _translation(library, operator, target._schema)
    return found


def _translation(library: str, operator: str, schema: Any) -> Callable[..., Any]:
    import onnx.defs
    from onnxscript.values import Op, Opset

    kind = onnx.defs.OpSchema
    attributes = {
        argument.name: getattr(kind.AttrType, _ONNX_ATTRIBUTES[str(argument.type)])
        for argument in schema.arguments
        if str(argument.type) in _ONNX_ATTRIBUTES
    }
    tensors = [argument.name for argument in schema.arguments if argument.name not in attributes]
    of_identity = onnx.defs.get_schema("Identity").type_constraints[0].allowed_type_strs
    every = [name for name in of_identity if name.startswith("tensor(")]
    declared = kind(
        operator,
        library,
        1,
        # Each of a type of its own: what the operator takes is for its library to say.
        inputs=[kind.FormalParameter(name, f"T{index}") for index, name in enumerate(tensors)],
        outputs=[kind.FormalParameter(f"output_{index}", f"R{index}") for index in range(len(schema.returns))],
        type_constraints=[
            *((f"T{index}", every, "") for index in range(len(tensors))),
            *((f"R{index}", every, "") for index in range(len(schema.returns))),
        ],
        attributes=[kind.Attribute(name, of, "", required=False) for name, of in attributes.items()],
    )
    onnx_operator = Op(Opset(library, 1), operator, declared)
    names = [argument.name for argument in schema.arguments]

    def translate(*given: Any, **named: Any) -> Any:
        values = dict(zip(names, given, strict=False)) | named
        inputs = [values[name] for name in tensors if name in values]
        return onnx_operator(*inputs, **{name: values[name] for name in attributes if name in values})

    return translate
