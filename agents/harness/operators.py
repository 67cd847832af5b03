"""A user's own operators, loaded into this process between the import of the runtime and the loading of the program.

A runtime that takes them has ``extend(operators)``. It is code that nobody checked, and it runs as the harness does:
the head and the agent have let it through only where their administrators allow that.
"""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

from agents.harness import tensors
from agents.harness.failure import Failure
from agents.harness.job import Operators
from agents.harness.phase import Step

MODULE = "torchfarm_custom_operators"


def load(runtime: Any, name: str, operators: Operators) -> None:
    """Raises Failure ``operators-failed``, or ``operators-unsupported`` where the runtime takes none."""
    hook = getattr(runtime, "extend", None)
    if hook is None:
        raise Failure(
            "operators-unsupported",
            f"This harness cannot load custom operators into {name}.",
            remedy="Measure the model with another runtime.",
            fault="recipe",
        )
    tensors.require([operators.file])
    with Step("operators", f"loading custom operators into {name}"):
        hook(operators)


def load_torch(operators: Operators) -> None:
    """Into PyTorch's dispatcher."""
    import torch

    if operators.kind == "library":
        torch.ops.load_library(str(operators.file))
        return
    module = ModuleType(MODULE)
    module.__file__ = str(operators.file)
    sys.modules[MODULE] = module  # what it registers lives as long as it does
    SourceFileLoader(MODULE, module.__file__).exec_module(module)
