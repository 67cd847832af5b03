"""PyTorch, eager: a ``torch.export`` program (``.pt2``) run operator by operator.

Inside a measured inference: the exported graph's Python code calling one ATen operator after the other on CPU tensors,
in inference mode, as an eager ``nn.Module`` does; until the output tensors are returned. The input checks that
torch.export puts before it (guards and hooks, 40 µs per call on a desktop CPU) are left out: an ``nn.Module`` has none,
and the harness has checked the inputs.
"""

from __future__ import annotations

import os
from typing import Any

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
        exported = self._torch.export.load(files[self.files[0]])
        # .forward passes the hooks by.
        return TorchProgram(exported.module(check_guards=False).forward, self._inputs(exported))

    def _inputs(self, exported: Any) -> list[Input]:
        users = set(exported.graph_signature.user_inputs)
        placeholders = [node for node in exported.graph.nodes if node.op == "placeholder" and node.name in users]
        return [self._input(node.name, node.meta["val"]) for node in placeholders]

    def _input(self, name: str, example: Any) -> Input:
        if not isinstance(example, self._torch.Tensor):
            return Input(name)
        shape = tuple(size if isinstance(size, int) else None for size in example.shape)
        return Input(name, shape, str(example.dtype).removeprefix("torch."))
