"""TorchScript: the program that ``torch.jit`` saved, on its own interpreter.

Inside a measured inference: the call of the loaded ScriptModule with CPU tensors, in inference mode, until the output
tensors are returned. The profiling executor specializes the graph during the first calls: that is warm-up. The format
keeps no shapes and dtypes of inputs, only how many there are.

Option ``optimize_for_inference``: applied while loading (a program that was saved after it cannot be loaded).
"""

from __future__ import annotations

from agents.harness.job import Operators
from agents.harness.operators import load_torch
from agents.harness.runtimes import Files, Options
from agents.harness.runtimes.torch_program import TorchProgram, restrict_threads
from agents.harness.tensors import Input


class Runtime:
    files = ("model.ts",)
    distributions = ("torch",)
    extra = "torch"

    def __init__(self, threads: int) -> None:
        import torch

        self._torch = torch
        restrict_threads(threads)

    def extend(self, operators: Operators) -> None:
        load_torch(operators)

    def load(self, files: Files, options: Options) -> TorchProgram:
        module = self._torch.jit.load(files[self.files[0]], map_location="cpu")
        if options.get("optimize_for_inference"):
            module = self._torch.jit.optimize_for_inference(module)
        arguments = module.forward.schema.arguments[1:]  # the first is self
        return TorchProgram(module, [Input(argument.name) for argument in arguments])
