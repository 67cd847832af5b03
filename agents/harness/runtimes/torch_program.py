"""What PyTorch's three program formats have in common."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agents.harness.runtimes import check_threads
from agents.harness.tensors import Array, Input


class TorchProgram:
    """A callable over tensors.

    Inside a measured inference: the call with CPU tensors that share memory with the arrays given, in inference mode,
    until the output tensors are returned.
    """

    def __init__(self, function: Callable[..., Any], inputs: Sequence[Input]) -> None:
        import torch

        self._function, self.inputs = function, inputs
        # As long as the program lives: entering it per inference would be measured as the model's time.
        self._mode = torch.inference_mode()
        self._mode.__enter__()

    def bind(self, sample: Sequence[Array]) -> Callable[[], Any]:
        import torch

        return partial(self._function, *map(torch.from_numpy, sample))

    def outputs(self, returned: Any) -> list[Array]:
        from torch.utils import _pytree as pytree

        leaves = [leaf for leaf in pytree.tree_leaves(returned) if leaf is not None]
        return [np.array(leaf) for leaf in leaves]


def check_openmp(threads: int) -> None:
    """Compiled code uses OpenMP's threads, perhaps of another library than PyTorch's: read back from each. Raises
    Failure ``threads-not-pinned``."""
    found = re.findall(r"/\S+/lib(?:gomp|omp|iomp5)\S*\.so\S*", Path("/proc/self/maps").read_text())
    for library in sorted(set(found)):
        check_threads(ctypes.CDLL(library).omp_get_max_threads(), threads)


def restrict_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    check_threads(torch.get_num_threads(), threads)
