"""PyTorch Mobile: a ``.ptl`` program on the lite interpreter, the engine of PyTorch's mobile libraries.

Inside a measured inference: the call of the loaded LiteScriptModule with CPU tensors, in inference mode, until the
output tensors are returned. The format keeps no shapes and dtypes of inputs, only how many there are.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.harness.job import Operators
from agents.harness.operators import load_torch
from agents.harness.runtimes import Files, Options
from agents.harness.runtimes.torch_program import TorchProgram, restrict_threads
from agents.harness.tensors import Input


class Runtime:
    files = ("model.ptl",)
    distributions = ("torch",)
    extra = "torch"

    def __init__(self, threads: int) -> None:
        from torch.jit.mobile import _load_for_lite_interpreter

        self._load = _load_for_lite_interpreter
        restrict_threads(threads)

    def extend(self, operators: Operators) -> None:
        load_torch(operators)

    def load(self, files: Files, options: Options) -> TorchProgram:
        return TorchProgram(self._load(str(files[self.files[0]]), map_location="cpu"), _inputs(files[self.files[0]]))


def _inputs(path: Path) -> list[Input]:
    """The arguments of ``forward``, from the bytecode's own schema: the lite interpreter does not tell them, and
    dies by a segmentation fault when it gets too many."""
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/bytecode.pkl"))
        functions = _Bytecode(io.BytesIO(archive.read(name))).load()[1:]
    schema = next(dict(function[2]) for function in functions if function[0].endswith(".forward"))
    arguments = [dict(argument) for argument in schema["arguments"]]
    return [Input(argument["name"]) for argument in arguments[1:]]  # the first is self


class _Bytecode(pickle.Unpickler):
    """Reads plain tuples, strings and numbers. No class or function that the file names is ever looked up: each
    becomes a tuple of its arguments."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        return lambda *arguments: arguments

    def persistent_load(self, storage: Any) -> None:
        return None
