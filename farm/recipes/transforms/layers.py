"""An exported program with real layers in it, and back: what prunes, folds and trains layers knows ``nn.Conv2d``, not
``aten.conv2d`` with a weight somewhere.

Used in the child process only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.transforms.aten import STATE, Layer, layer_of

_REMEDY = "Look at the end of the build's log; leave the transform out if the model cannot be taken apart."


def of(exported: Any) -> Any:
    """The ``ExportedProgram`` as an ``fx.GraphModule`` with layers, in eval mode; inputs, outputs and results are the
    same. Its tensors are its own: what is done to them does not reach the program.

    Convolutions (also transposed), linear layers, norms (batch, layer, group), embeddings and PReLU become modules, at
    the place where their weight was. One that is called several times is one module; where a tensor has other uses as
    well (tied embeddings), all of them stay calls of aten operators that share it.
    """
    with Boundary(RecipeError, "The program cannot be taken apart into layers", _REMEDY):
        import torch

        graph_module = exported.module(check_guards=False)
        _own_tensors(graph_module)
        held = _Tensors(graph_module)
        found = {node: layer for node in graph_module.graph.nodes if (layer := layer_of(node, held)) is not None}
        made: dict[tuple[Any, ...], str] = {}
        for node, layer in found.items():
            key = _key(layer, held)
            if any(
                user not in found or _key(found[user], held) != key
                for tensor in layer.tensors.values()
                for user in held.users(tensor)
            ):
                continue
            if key not in made:
                made[key] = _place(graph_module, layer, held)
            with graph_module.graph.inserting_before(node):
                inputs = tuple(given for given in node.all_input_nodes if given not in held)
                call = graph_module.graph.call_module(made[key], inputs)
            call.meta = dict(node.meta)
            node.replace_all_uses_with(call)
            graph_module.graph.erase_node(node)
        _tidy(graph_module)
        return torch.fx.GraphModule(graph_module, graph_module.graph).eval()  # an exported one has no train and eval


def export(module: Any, like: Any, example: tuple[Any, ...]) -> Any:
    """``module`` as an ``ExportedProgram`` again, with the inputs, the outputs and the dynamic dimensions of ``like``.

    Raises RecipeError with the operator's own words where the module does not run on the example."""
    import torch

    module.eval()
    shapes, inputs = _dynamic(like, example)
    with Boundary(RecipeError, "The transformed program cannot be exported again", _REMEDY), torch.no_grad():
        made = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
        made.example_inputs = None
    return made


def _own_tensors(graph_module: Any) -> None:
    import torch

    own: dict[int, Any] = {}
    for place in graph_module.modules():
        for state in (place._parameters, place._buffers):
            for name, tensor in state.items():
                if tensor is not None and id(tensor) not in own:
                    copied = tensor.detach().clone()
                    parameter = isinstance(tensor, torch.nn.Parameter)
                    own[id(tensor)] = torch.nn.Parameter(copied, tensor.requires_grad) if parameter else copied
                state[name] = own.get(id(tensor))


class _Tensors(Mapping[Any, Any]):
    """The tensors that nodes of a graph get, and who uses them: two names may be one tensor."""

    def __init__(self, graph_module: Any) -> None:
        self._names: dict[Any, str] = {}
        self._tensors: dict[Any, Any] = {}
        self._users: dict[int, list[Any]] = {}
        for node in graph_module.graph.nodes:
            if node.op == "get_attr":
                path, _, name = node.target.rpartition(".")
                self._tensors[node] = getattr(graph_module.get_submodule(path), name)
                self._names[node] = node.target
                self._users.setdefault(id(self._tensors[node]), []).extend(node.users)

    def __getitem__(self, node: Any) -> Any:
        return self._tensors[node]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def name(self, node: Any) -> str:
        return self._names[node]

    def users(self, node: Any) -> list[Any]:
        """Of the tensor, by whatever name."""
        return self._users[id(self._tensors[node])]


def _key(layer: Layer, held: _Tensors) -> tuple[Any, ...]:
    """The same for calls that are the same layer."""
    tensors = tuple((name, id(held[tensor])) for name, tensor in layer.tensors.items())
    return (tensors, layer.settings)


def _place(graph_module: Any, layer: Layer, held: _Tensors) -> str:
    """Put the layer where its weight was, or beside it where something else lies there. Returns its name."""
    import torch

    made = layer.make()
    for name, node in layer.tensors.items():
        setattr(made, name, held[node])
    for name, buffer in list(made.named_buffers(recurse=False)):
        if buffer.is_meta:  # num_batches_tracked, which nothing computes with
            setattr(made, name, torch.zeros_like(buffer, device="cpu"))
    made.training = False
    first = held.name(layer.tensors.get("weight") or next(iter(layer.tensors.values())))
    path, _, attribute = first.rpartition(".")
    own = {id(held[node]) for node in layer.tensors.values()}
    if not path or attribute not in STATE or not _is_all_of(graph_module.get_submodule(path), own):
        path = _free(graph_module, first.removesuffix("_weight").removesuffix(".weight"))
    graph_module.add_submodule(path, made)
    return path


def _is_all_of(place: Any, own: set[int]) -> bool:
    """Whether nothing else lies there."""
    state = [*place.named_parameters(recurse=False), *place.named_buffers(recurse=False)]
    others = [name for name, tensor in state if id(tensor) not in own and name != "num_batches_tracked"]
    return not others and not list(place.children())


def _free(graph_module: Any, path: str) -> str:
    path = f"{path}_layer"
    while any(name == path for name, _ in graph_module.named_modules()):
        path += "_"
    return path


def _tidy(graph_module: Any) -> None:
    """Drop what the graph does not use any more; tensors that nothing used were no part of the function."""
    for node in reversed(graph_module.graph.nodes):
        if node.op == "get_attr" and not node.users:
            graph_module.graph.erase_node(node)
    used = {node.target for node in graph_module.graph.nodes if node.op == "get_attr"}
    called = {node.target for node in graph_module.graph.nodes if node.op == "call_module"}
    for name, place, attribute in list(_attributes(graph_module)):
        if name not in used and name.rpartition(".")[0] not in called:
            delattr(place, attribute)
    graph_module.graph.lint()
    graph_module.recompile()


def _attributes(graph_module: Any) -> Iterator[tuple[str, Any, str]]:
    for path, place in graph_module.named_modules(remove_duplicate=False):
        for attribute in [*place._parameters, *place._buffers]:
            yield f"{path}.{attribute}" if path else attribute, place, attribute


def _dynamic(like: Any, example: tuple[Any, ...]) -> tuple[tuple[Any, ...] | None, tuple[Any, ...]]:
    """Which dimensions of the inputs are dynamic, as torch.export takes it, and inputs that leave them so: a size of
    1 would be taken for fixed."""
    values = {node.name: node.meta["val"] for node in like.graph.nodes if node.op == "placeholder"}
    sizes: dict[Any, int] = {}  # of each symbol
    shapes: list[dict[int, Any]] = []
    inputs: list[Any] = []
    for name, tensor in zip(like.graph_signature.user_inputs, example, strict=True):
        shape: dict[int, Any] = {}
        inputs.append(tensor)
        for axis, size in enumerate(values[name].shape):
            if not isinstance(size, int):
                shape[axis], count = _dimension(size.node.expr, tensor.shape[axis], like.range_constraints, sizes)
                repeats = [-(-count // tensor.shape[axis]) if other == axis else 1 for other in range(tensor.ndim)]
                inputs[-1] = inputs[-1].repeat(repeats).narrow(axis, 0, count).contiguous()
        shapes.append(shape)
    return (tuple(shapes) if any(shapes) else None), tuple(inputs)


def _dimension(size: Any, given: int, ranges: Any, sizes: dict[Any, int]) -> tuple[Any, int]:
    """torch.export's word for a dynamic dimension, and a size to export it with."""
    import torch

    if not size.is_symbol:  # computed from others, which torch.export finds out again
        return torch.export.Dim.AUTO, int(size.subs({symbol: sizes.get(symbol, 2) for symbol in size.free_symbols}))
    lower, upper = (int(bound) if bound.is_Integer else None for bound in (ranges[size].lower, ranges[size].upper))
    count = max(2, lower or 0, given)
    sizes.setdefault(size, count if upper is None else min(count, upper))
    if (lower, upper) == (2, None):  # nobody has set a range, torch.export found it
        return torch.export.Dim.AUTO, sizes[size]
    return torch.export.Dim(str(size), min=lower, max=upper), sizes[size]
