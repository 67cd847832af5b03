"""What PyTorch's three program formats have in common."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agents.harness.profile import Profiled, summed, timed
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

    def profile(self, sample: Sequence[Array], runs: int) -> Profiled:
        """By torch.profiler: each operator that the program calls, with the time of all that it calls itself."""
        from torch.profiler import ProfilerActivity, profile

        run = self.bind(sample)
        with profile(activities=[ProfilerActivity.CPU]):  # the first session sets the profiler up
            run()
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as session:
            seconds = timed(run, runs)
        return Profiled("torch.profiler", seconds, summed(_outermost(session.events())))


def _outermost(events: Iterable[Any]) -> Iterator[tuple[str, str, str, float]]:
    """Calls of operators that no other operator made. What holds them is no operator: a TorchScript ``forward``."""
    for event in events:
        caller = event.cpu_parent
        while caller is not None and "::" not in caller.name:
            caller = caller.cpu_parent
        if "::" in event.name and caller is None:
            yield event.name, event.name, "CPU", event.time_range.elapsed_us() / 1e6


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
