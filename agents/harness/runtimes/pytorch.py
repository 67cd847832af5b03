"""PyTorch: a ``torch.export`` program (``.pt2``), run operator by operator or compiled by TorchInductor.

Option ``mode``. ``eager``: inside a measured inference is the exported graph's Python code calling one ATen operator
after the other on CPU tensors, in inference mode, as an eager ``nn.Module`` does; until the outputs are returned.
``compile``: it is the call of what ``torch.compile`` made of the whole graph for the example's shapes, with Dynamo's
guards before it, which an application pays for as well. Weights are frozen (folded and packed). The compilation itself,
with a C++ compiler on the device and nothing cached, falls into the ``first_inference`` phase; it makes code for the
number of threads that was read back from PyTorch before.

The input checks that torch.export puts before its program (guards and hooks, 40 µs per call on a desktop CPU) are left
out: an ``nn.Module`` has none, and the harness has checked the inputs.
"""

from __future__ import annotations

import os
from typing import Any

from agents.harness.failure import Failure
from agents.harness.job import Operators
from agents.harness.operators import load_torch
from agents.harness.runtimes import Files, Options
from agents.harness.runtimes.torch_program import TorchProgram, restrict_threads
from agents.harness.tensors import Input


class Runtime:
    files = ("model.pt2",)
    distributions = ("torch",)
    extra = "torch"

    def __init__(self, threads: int) -> None:
        # Without it torch.export.load falls back to unpickling, and a .pt2 could run any code here.
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
        import torch

        self._torch = torch
        restrict_threads(threads)

    def extend(self, operators: Operators) -> None:
        load_torch(operators)

    def load(self, files: Files, options: Options) -> TorchProgram:
        compiled = options.get("mode", "eager") == "compile"
        if compiled:
            _check_compiler()
            from torch.ao.quantization.fx import _decomposed  # noqa: F401 - registers what int8 programs are made of
        exported = self._torch.export.load(files[self.files[0]])
        module = exported.module(check_guards=False)
        # .forward passes the hooks by.
        return TorchProgram(self._compiled(module) if compiled else module.forward, self._inputs(exported))

    def _compiled(self, module: Any) -> Any:
        from torch._inductor import config

        # Folding would unpack int4 weights, which lie in bytes, for good.
        config.freezing = all(tensor.dtype != self._torch.uint8 for tensor in module.state_dict().values())
        config.compile_threads = 1  # or it leaves a pool of processes beside the measurement
        module.requires_grad_(False)
        for part in module.modules():
            part.training = False  # it was exported in eval mode, but does not say so
        return self._torch.compile(module.forward, fullgraph=True, dynamic=False)

    def _inputs(self, exported: Any) -> list[Input]:
        users = set(exported.graph_signature.user_inputs)
        placeholders = [node for node in exported.graph.nodes if node.op == "placeholder" and node.name in users]
        return [self._input(node.name, node.meta["val"]) for node in placeholders]

    def _input(self, name: str, example: Any) -> Input:
        if not isinstance(example, self._torch.Tensor):
            return Input(name)
        shape = tuple(size if isinstance(size, int) else None for size in example.shape)
        return Input(name, shape, str(example.dtype).removeprefix("torch."))


def _check_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise Failure(
            "compiler-missing",
            "torch.compile needs a C++ compiler on the device, and there is none.",
            remedy="Install one there (Debian, Ubuntu: apt install g++), or take the recipe aotinductor, which is "
            "compiled where it is built.",
            fault="recipe",
        ) from error
